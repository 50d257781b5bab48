"""At which sparsity a layer becomes faster with a sparse kernel on this machine: measured before pruning or training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from . import kernels, native
from . import lower as lowering
from .compiler import InputShapes, input_shapes_of
from .cpu import cpu_info
from .errors import ModelError
from .formats.onnx_model import ModelSource
from .lower.values import Step
from .optimize import optimize
from .optimize.costs import Costs, Shape, curves, selected_isas
from .optimize.select_kernels import SPARSE, matrix
from .pack import given, pack_for

DENSITIES = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
DEPTHS = (8, 4, 2, 1, 0)  # accumulation depths of dense int8 products; a larger one is faster and needs coarser weights
DENSE = ("sgemm", *(f"qgemm.{T}" for T in DEPTHS))
TYPICAL = {"sgemm": "sgemm", "qgemm": "qgemm.4"}  # what a sparse kernel is compared with
ROUNDS, BLOCK = 3, 0.004  # BLOCK: seconds of one block of calls


class AdviceRow(TypedDict):
    """What was measured of a product; see `Advice`."""

    node: str
    op: str
    shape: Shape
    seconds: dict[str, float | None]
    wins_from: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Advice:
    """What was measured.

    Attributes
    ----------
    costs : Costs
        All times; ``costs.save`` writes them, ``pycompress.compile(costs=...)`` reads them.
    rows : list of dict
        One per product of the model: ``node``, ``op``, ``shape`` (m, k, n), ``seconds`` for each dense kernel, and
        ``wins_from``: for each sparse kernel the lowest sparsity (of blocks) at which it is faster than the dense kernel in
        `TYPICAL`, or None.
    others : dict
        How many steps of which kernel have weights, but no sparse kernel.
    """

    costs: Costs
    rows: list[AdviceRow]
    others: dict[str, int]


def advise(
    model: ModelSource,
    *,
    input_shapes: InputShapes | None = None,
    base_dir: str | os.PathLike | None = None,
    seconds: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Advice:
    """Measure every matrix product and 1x1 convolution of `model` dense and sparse, in float and int8, on one thread.

    The measured weights are random: only the shapes matter, so the model need not be pruned or trained.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
    input_shapes : dict or sequence, optional
        As for ``pycompress.compile``.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.
    seconds : float, optional
        How long each kernel is measured, in each of three rounds; default 0.004.
    progress : callable, optional
        Called with the number of shapes measured and their total.

    Returns
    -------
    Advice

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelError
        As ``pycompress.compile``; or if no layer is a product with constant weights.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> advice = pycompress.advise(model, seconds=1e-5)  # too short for good figures
    >>> sorted(advice.rows[0]["wins_from"])
    ['bspmm', 'qspmm', 'spmm']
    >>> advice.costs.save("costs.json")
    >>> plan = pycompress.compile(model, costs="costs.json")
    """
    found, others = products(model, input_shapes=input_shapes, base_dir=base_dir)
    if not found:
        raise ModelError("there is nothing to advise on: no layer is a matrix product or 1x1 convolution")
    costs = measure({shape for _, shape in found}, seconds, progress)
    rows: list[AdviceRow] = [
        {
            "node": step.node,
            "op": step.op,
            "shape": shape,
            "seconds": {kernel: costs.seconds(kernel, *shape) for kernel in DENSE},
            "wins_from": {
                kernel: costs.wins_from(kernel, TYPICAL[dense], *shape)
                for dense, sparse in SPARSE.items()
                for kernel in sparse
            },
        }
        for step, shape in found
    ]
    return Advice(costs, rows, others)


def products(model, *, input_shapes=None, base_dir=None) -> tuple[list[tuple[Step, Shape]], dict[str, int]]:
    """The products of a model with their (m, k, n), and how many other steps of each kernel have weights."""
    loaded = lowering.load(model, base_dir=base_dir)
    program = lowering.lower(loaded, input_shapes_of(loaded, input_shapes, {}))
    optimize(program)
    found, others = [], {}
    for step in program.steps:
        if _is_product(step):
            found.append((step, (step.args["a"].shape[0], *matrix(step).shape[::-1])))
        elif step.args.get("w") is not None:
            others[step.kernel] = others.get(step.kernel, 0) + 1
    return found, others


def _is_product(step) -> bool:
    return step.kernel in SPARSE and matrix(step) is not None and matrix(step).size > 0 and step.args["a"].shape[0] > 0


def measure(shapes: Iterable[Shape], seconds: float | None = None, progress=None) -> Costs:
    """The cost table of products of the given shapes (m, k, n), dense and at `DENSITIES`."""
    shapes = sorted(shapes)
    found: dict[str, list] = {}
    for i, shape in enumerate(shapes):
        rng = np.random.default_rng(0)
        calls = {(kernel, 1.0): call(kernel, *shape, 1.0, rng) for kernel in DENSE}
        for kernel in (kernel for sparse in SPARSE.values() for kernel in sparse):
            calls |= {(kernel, d): call(kernel, *shape, d, rng) for d in DENSITIES}
        best = dict.fromkeys(calls, np.inf)
        for _ in range(ROUNDS):
            for key, function in calls.items():
                best[key] = min(best[key], _block(function, seconds or BLOCK))
        for (kernel, density), taken in best.items():
            found.setdefault(kernel, []).append((*shape, density, taken))
        if progress:
            progress(i + 1, len(shapes))
    return Costs(selected_isas(), cpu_info()["model"], {kernel: curves(rows) for kernel, rows in found.items()})


def _block(function, seconds: float) -> float:
    """The fastest call of a block."""
    best, end = np.inf, time.perf_counter() + seconds
    function()
    while True:
        start = time.perf_counter()
        function()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            return best


def call(name: str, m: int, k: int, n: int, density: float, rng: np.random.Generator) -> Callable[[], None]:
    """One call of the kernel `name`, as a cost table calls it, on random data, ready to be timed."""
    kernel, _, depth = name.partition(".")
    if kernel in ("qgemm", "qspmm"):
        w = kernels.module("qgemm").weights_for(rng, n, k, int(depth)) if depth else _int8(rng, n, k)
        tail = kernels.module("qgemm").epilogue(rng, m, n)
        a = rng.integers(0, 256, (m, k)).astype(np.uint8)
        args = {"a": a, "azp": np.broadcast_to(np.array([128], np.int32), (m,)), **tail}
    else:
        w = rng.standard_normal((n, k), np.float32)
        bias, params = rng.standard_normal(n, np.float32), np.zeros(2, np.float32)
        args = {
            "a": rng.standard_normal((m, k), np.float32), "bias": bias, "act": 1, "act_params": params,
            "out": np.empty((m, n), np.float32),
        }  # fmt: skip
    blocks = {name: block for sparse in SPARSE.values() for name, block in sparse.items()}
    w = w * _mask(rng, n, k, blocks[kernel], density) if kernel in blocks else w
    function = getattr(native, kernel)
    return function.ready(**args, **given(pack_for(kernel, w, m), function.spec.by_name))


def _mask(rng, n: int, k: int, block: tuple[int, int], density: float) -> np.ndarray:
    """Which weights are not zero: whole blocks, the share `density` of them."""
    rows, columns = -(-n // block[0]), -(-k // block[1])
    kept = np.zeros(rows * columns, bool)
    kept[rng.permutation(kept.size)[: max(1, round(density * kept.size))]] = True
    return np.kron(kept.reshape(rows, columns), np.ones(block, bool))[:n, :k]


def _int8(rng, n: int, k: int) -> np.ndarray:
    """Weights as the quantizer rounds normally distributed ones: in each row the largest pair just fits int16."""
    w = rng.standard_normal((n, k + k % 2), np.float32)
    pairs = np.abs(w.reshape(n, -1, 2).sum(2)).max(1, keepdims=True)
    return np.clip(np.rint(w * (127 / np.maximum(pairs, np.abs(w).max(1, keepdims=True)))), -127, 127)[:, :k].astype(
        np.int8
    )
