"""Selects a dense or a sparse kernel for each product: the faster one for its zeros, by the cost table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from .. import kernels
from ..lower.values import Program, Step
from ..weights import Q8, Dense, Facts
from .costs import MARGIN, Costs

_TRAITS = {name: kernels.spec(name).traits for name in kernels.NAMES}
SPARSE = {  # dense kernel: {sparse kernel with the same result: outputs x inputs of a block}
    dense: {name: t.block for name, t in _TRAITS.items() if t.dense == dense}
    for dense in {t.dense for t in _TRAITS.values()} - {""}
}
SPOKEN = {name: t.pattern for name, t in _TRAITS.items() if t.dense}
FEW = 0.1  # share of zeros; below it no sparse kernel gains
MAX_K = 65536  # indices have 16 bits


def select_kernels(program: Program, costs: Callable[[], Costs | None], sparse: bool | str = "auto") -> None:
    """Run products of weights with zeros on a sparse kernel where that is faster, and record the reason.

    Parameters
    ----------
    costs : function
        Returns the table, or None; called only if there are zeros. Without a table all stays dense unless `sparse` is True.
    sparse : "auto", True or False
        "auto" follows the table; True takes a sparse kernel wherever a tenth of the weights is zero; False takes none.
    """
    program.steps = [_chosen(step, costs, sparse, program.facts) for step in program.steps]


def share(w: np.ndarray, block: tuple[int, int]) -> float:
    """The share of `block`s of w [n,k] that hold any nonzero weight."""
    n, k = w.shape
    rows, columns = -(-n // block[0]), -(-k // block[1])
    nonzero = np.zeros((rows * block[0], columns * block[1]), bool)
    nonzero[:n, :k] = w != 0
    return float(nonzero.reshape(rows, block[0], columns, block[1]).any((1, 3)).mean()) if nonzero.size else 1.0


def matrix(step: Step) -> np.ndarray | None:
    """The constant weights [n,k] of a product, if a sparse kernel could skip their zeros; else None."""
    w = step.args.get("w")
    if not _may_be_sparse(w) or w.w.strides[0] == 0:
        return None
    return w.w.reshape(w.w.shape[0], -1)


def _may_be_sparse(w) -> bool:
    return isinstance(w, (Dense, Q8)) and not (isinstance(w, Q8) and w.zero.any())


def _zeros(step: Step) -> float:
    """The share of zeros in the weights of a product; 0 if no sparse kernel could skip them."""
    w = matrix(step)
    return 0.0 if w is None or not w.size else 1 - np.count_nonzero(w) / w.size


def _chosen(step: Step, table: Callable[[], Costs | None], sparse, facts: Facts) -> Step:
    if sparse is False or not _may_be_sparse(step.args.get("w")) or not step.args["out"].size:
        return step
    zeros = facts.of("zeros", step.args["w"], lambda: _zeros(step))
    if zeros < FEW:
        return step
    w = matrix(step)
    sparse_kernels = SPARSE.get(step.kernel)
    if not sparse_kernels or w.shape[1] > MAX_K:
        return _because(step, f"{zeros:.0%} zeros, but {step.kernel} has no sparse kernel")
    costs = table()
    if costs is None:
        if sparse is not True:
            return _because(step, f"{zeros:.0%} zeros, but there is no cost table of sparse kernels for this CPU")
        name = min(sparse_kernels, key=lambda name: share(w, sparse_kernels[name]) * w.size)
        return _because(_on_sparse(step, name), f"{zeros:.0%} zeros: {SPOKEN[name]}, as asked")
    size = (step.args["a"].shape[0], *w.shape[::-1])
    shares = {name: share(w, block) for name, block in sparse_kernels.items()}
    times = {name: costs.seconds(name, *size, shares[name]) for name in sparse_kernels}
    name, seconds = min(times.items(), key=lambda item: np.inf if item[1] is None else item[1])
    dense, limit = _dense(step.kernel, w, size, costs)
    if seconds is None or limit is None:
        return _because(step, f"{zeros:.0%} zeros, but the cost table knows no sparse kernel for {step.kernel}")
    if sparse is True or seconds < MARGIN * limit:
        asked = "" if seconds < MARGIN * limit else ", as asked"
        told = f"{SPOKEN[name]} {seconds * 1e6:.3g} us, dense {limit * 1e6:.3g} us{asked}"
        return _because(_on_sparse(step, name), f"{zeros:.0%} zeros: {told} ({costs.isa} cost table)")
    start = costs.wins_from(name, dense, *size)
    wins = "is never faster here" if start is None else f"is faster from {start:.0%} zeros on"
    blocks = "" if SPARSE[step.kernel][name] == (1, 1) else f", {1 - shares[name]:.0%} in {SPOKEN[name]}"
    told = f"{zeros:.0%} zeros{blocks}, but dense: {SPOKEN[name]} {wins} ({costs.isa} cost table)"
    return _because(step, told)


def _dense(kernel: str, w: np.ndarray, size, costs: Costs) -> tuple[str, float | None]:
    """The dense kernel (for qgemm with its most common accumulation depth), and its seconds."""
    if kernel != "qgemm":
        return kernel, costs.seconds(kernel, *size)
    depths = Counter(kernels.module("qgemm").accumulation_depth(w).tolist())
    times = {T: costs.seconds(f"qgemm.{T}", *size) for T in depths}
    if None in times.values():
        return "qgemm", None
    return f"qgemm.{depths.most_common(1)[0][0]}", sum(times[T] * c for T, c in depths.items()) / len(w)


def _on_sparse(step: Step, name: str) -> Step:
    """The step on the sparse kernel `name`; packing later replaces its weights by the packed arrays."""
    args = {arg.name: step.args.get(arg.name) for arg in kernels.spec(name).args}
    return Step(name, args, step.node, step.op, step.reason)


def _because(step: Step, text: str) -> Step:
    return step.replace(reason="; ".join(filter(None, (step.reason, text))))
