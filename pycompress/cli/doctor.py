"""``pycompress doctor``: checks each implementation of each kernel that this CPU can run against its reference."""

from __future__ import annotations

import platform
from importlib.util import find_spec

import numpy as np

from .. import kernels, native, peers
from ..cpu import cpu_info
from .output import Output

# Parameters of the examples: sizes on a tile's edge, beyond it, and small.
SIZES = (
    native.SIZES,
    {"m": 13, "n": 35, "k": 29, "b": 2, "ih": 9, "iw": 7, "c": 19, "op": 1, "mode": 1},
    {"m": 1, "n": 5, "k": 3, "b": 1, "ih": 5, "iw": 5, "c": 3, "op": 1, "mode": 1},
)
TOLERANCE = 1e-4  # of the largest value, for floats: sums of a few hundred products in another order


def add(subparsers, common):
    return subparsers.add_parser(
        "doctor",
        parents=[common],
        help="check this installation: kernels, instruction sets, engines",
        description="Check each implementation of each kernel that this CPU can run against its reference (in Numba if that "
        "is installed, otherwise the scalar C kernel), and say which implementation runs.  Integers must be equal.  The exit "
        "code is 1 if one is wrong.",
    )


def execute(args, out: Output) -> dict:
    reference = "numba" if _has_numba() else "scalar C"
    checks = []
    names = [name for name in native.names() if can_make(name)]
    with out.progress("checking kernels", len(names)) as tick:
        for name in names:
            checks += check(name, reference)
            tick()
    bad = [row for row in checks if not row["ok"]]
    out.failed = bool(bad)
    result = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu": cpu_info(),
        "engines": peers.installed(),
        "reference": reference,
        "checks": checks,
        "ok": not bad,
    }
    _print(result, out)
    return result


def _has_numba() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def can_make(name: str) -> bool:
    """Whether there are examples for the kernel: NumPy has no bfloat16 of its own."""
    needs = any(arg.types == ("bf16",) for arg in kernels.spec(name).args)
    return not needs or find_spec("ml_dtypes") is not None


def check(name: str, reference: str) -> list[dict]:
    """A row per implementation of the kernel `name`."""
    kernel = getattr(native, name)
    worst = {isa: 0.0 for isa in kernel.impls()}
    why = dict.fromkeys(worst, "")
    for case, arguments in enumerate(examples(name)):
        spec = kernel.spec
        outs = [i for i, arg in enumerate(spec.args) if arg.name in spec.outputs]
        expected = _results(getattr(kernels, name) if reference == "numba" else kernel, arguments, outs, reference)
        for isa in worst:
            for want, got in zip(expected, _results(kernel, arguments, outs, isa)):
                error = difference(want, got)
                worst[isa] = max(worst[isa], error)
                limit = TOLERANCE if want.dtype.kind == "f" else 0.0
                if not error <= limit:
                    why[isa] = why[isa] or f"example {case}: off by {error:.3g}"
    return [
        {
            "kernel": name,
            "isa": isa,
            "picked": i == _picked(kernel),
            "error": worst[isa],
            "ok": not why[isa],
            "why": why[isa],
        }
        for i, isa in enumerate(worst)
    ]


def _picked(kernel) -> int:
    """The place in the kernel's list of the implementation that dispatch takes."""
    chosen = kernel.impl()
    return next(i for i, impl in enumerate(kernel.impls().values()) if impl == chosen)


def examples(name: str):
    """Random arguments of `name`, in a few sizes."""
    for i, sizes in enumerate(SIZES):
        yield kernels.module(name).example(np.random.default_rng(i), **native.example_sizes(name, sizes))


def _results(call, arguments, outs: list[int], isa: str) -> list[np.ndarray]:
    arguments = [x.copy() if i in outs else x for i, x in enumerate(arguments)]
    if isinstance(call, native.Kernel):
        call(*arguments, isa="scalar" if isa == "scalar C" else isa)
    else:
        call(*arguments)
    return [arguments[i] for i in outs]


def difference(want: np.ndarray, got: np.ndarray) -> float:
    """The largest difference; of floats, as a share of the largest finite value; inf where NaN or infinity differ."""
    if not want.size:
        return 0.0
    if want.dtype.kind != "f":
        return float(np.abs(want.astype(np.float64) - got.astype(np.float64)).max())
    finite = np.isfinite(want)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    want, got = want[finite].astype(np.float64), got[finite].astype(np.float64)
    return float(np.abs(want - got).max() / max(np.abs(want).max(), 1e-30))


def _print(result: dict, out: Output) -> None:
    cpu = result["cpu"]
    out.line(f"Python {result['python']}, numpy {result['numpy']}, {cpu['model']}")
    out.line(f"instruction sets of this CPU: {', '.join(cpu['isas'])}; kernels use: {', '.join(cpu['used'])}")
    out.line(f"cores: {cpu['cores']}; threads of a run: {cpu['threads']}")
    for name, version in result["engines"].items():
        out.line(f"{name}: {version or 'not installed'}")
    out.line(f"reference: {result['reference']}\n")
    out.table(
        ("kernel", "isa", "runs", "error", "verdict"),
        [
            (c["kernel"], c["isa"], "<--" if c["picked"] else "", f"{c['error']:.1e}", "ok" if c["ok"] else c["why"])
            for c in result["checks"]
        ],
    )
    bad = sum(not c["ok"] for c in result["checks"])
    out.line(f"\n{len(result['checks'])} implementations, {bad} wrong")
