"""Measures blocks and networks with our engine on this machine, and how well a table of blocks predicts networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..compress.quantize import quantize
from ..peers.interleave import interleave
from ..session import InferenceSession, SessionOptions
from .blocks import FLOAT, Block, Network, alone
from .space import Choice, Space, descend
from .table import Table

Progress = Callable[[int, int], object]
FRONT, TAIL = "pcx.front", "pcx.tail"  # nodes around a block in its model
IMAGE_CHANNELS = 4  # at most, of a network's input
BATCH = 64  # blocks whose sessions are open at once
SMALL = 6  # codes: the sums of one of 127 and 15 negative ones are within the bounds, also if scales shrink by a fifth
DEPTH = 4  # of int16 accumulation: what `quantize` chooses for most layers
NETWORKS = 16  # that the correction is fitted to
ENOUGH = 8  # networks, to fit three numbers to them
REFERENCE = Block("mb", 14, 32, 32, 3, 1, 96, activation="relu")  # measured with every batch, to see the clock change


def measure(models: Mapping[str, onnx.ModelProto], *, threads: int = 1, runs: int = 60, rounds: int = 6) -> dict:
    """Seconds of the fastest run of each model, measured in turns.

    Parameters
    ----------
    models : {name: ModelProto}
        With declared shapes.
    threads : int
    runs, rounds : int
        Counted runs of each, spread over the rounds.

    Returns
    -------
    dict
        Seconds by name.
    """
    calls = {}
    for name, model in models.items():
        session = InferenceSession(model, SessionOptions(intra_op_num_threads=threads))
        feed = _feed(model, np.random.default_rng(0))
        calls[name] = lambda session=session, feed=feed: session.run(None, feed)
    # one thread leaves nothing spinning behind, so that blocks of runs need no rest between them
    rest = 0.0 if threads == 1 else 0.03
    timings = interleave(calls, runs=runs, rounds=rounds, rest=rest)
    return {name: timing.best for name, timing in timings.items()}


def whole(network: Network, precision: str) -> onnx.ModelProto:
    """`network` as it is timed: with random weights, quantized on random images if `precision` is "int8"."""
    model = network.onnx(batchnorm=False)
    return model if precision == "float" else _int8(model, network.bits())


def fill(
    table: Table, blocks: Sequence[Block], *, runs: int = 20, rounds: int = 5, progress: Progress | None = None
) -> int:
    """Measure the blocks that `table` lacks; a block's time is that of its steps, without the conversion of its ends.

    Parameters
    ----------
    table : Table
        It is changed. It must be of this machine.
    blocks : sequence of Block
    runs, rounds : int
        Of each block; the median of the runs, and the fastest of the rounds.
    progress : callable, optional
        Called with the blocks done and the blocks of all.

    Returns
    -------
    int
        How many were measured.
    """
    wanted = table.missing(blocks)
    if wanted:
        table.check_machine()
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        opened = [_opened(block, table.precision, table.threads) for block in part]
        opened.append(_reference(table.precision, table.threads))
        best = np.full(len(opened), np.inf)
        for _ in range(rounds):  # in turns, so that a slow moment of the machine does not fall on one block alone
            best = np.minimum(best, [_steps(session.profile(feed, runs)) for session, feed in opened])
        table.reference = table.reference or float(best[-1])
        scaled = best[:-1] * (table.reference / best[-1])
        table.blocks.update(zip((block.key for block in part), map(float, scaled)))
        if progress:
            progress(start + len(part), len(wanted))
    return len(wanted)


def correct(table: Table, space: Space, *, count: int = NETWORKS, seed: int = 1, runs: int = 60) -> None:
    """Fit what turns sums of blocks into measured seconds, on `count` random networks of `space`.

    Least squares of relative errors. The sums alone are wrong: a run has costs of its own, and weights that are read once
    per run come from a farther cache than those of a block that is timed again and again.

    Raises
    ------
    ValueError
        If a block of these networks is not in the table.
    """
    networks = sample(space, count, seed)
    seconds = measure(
        {str(i): whole(n, table.precision) for i, n in enumerate(networks)}, threads=table.threads, runs=runs
    )
    raw, held = np.array([table.raw(n) for n in networks]), np.array([n.weight_bytes for n in networks])
    measured = np.array([seconds[str(i)] for i in range(count)])
    table.intercept, table.slope, table.per_byte = fitted(raw, held, measured)
    table.fitted = [(float(x), float(y), float(z)) for x, y, z in zip(raw, held, measured)]


def fitted(raw: np.ndarray, held: np.ndarray, measured: np.ndarray) -> tuple[float, float, float]:
    """The (intercept, slope, seconds per byte) that turn sums of blocks and bytes of weights into measured seconds.

    Bytes cost nothing where networks are too few to tell, or would cost less than that.
    """
    if np.ptp(raw) < 0.02 * raw.max():  # the networks are alike: nothing tells an intercept from a slope
        return 0.0, float(np.median(measured / raw)), 0.0
    for columns in ((np.ones_like(raw), raw, held), (np.ones_like(raw), raw))[len(raw) < ENOUGH :]:
        found = np.linalg.lstsq(np.stack(columns, 1) / measured[:, None], np.ones(len(raw)), rcond=None)[0]
        if len(found) == 2 or found[2] >= 0:
            break
    intercept, slope, per_byte = (*map(float, found), 0.0)[:3]
    return intercept, slope, per_byte


def sample(space: Space, count: int, seed: int) -> list[Network]:
    """`count` random networks, of small ones as many as of large ones: the middle of each part of a sorted sample."""
    rng = np.random.default_rng(seed)
    drawn = sorted((space.network(space.random(rng)) for _ in range(8 * count)), key=lambda n: n.macs)
    return [drawn[8 * i + rng.integers(8)] for i in range(count)]


@dataclass(frozen=True)
class Report:
    """Predictions beside measurements.

    Attributes
    ----------
    predicted, measured : tuple of float
        Seconds of each network.
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @property
    def error(self) -> float:
        """The mean of the relative errors."""
        return float(np.mean([abs(p / m - 1) for p, m in zip(self.predicted, self.measured)]))

    @property
    def tau(self) -> float:
        """How alike the two order the networks, from -1 to 1 (Kendall)."""
        return kendall(self.predicted, self.measured)


def report(table: Table, networks: Sequence[Network], *, runs: int = 60) -> Report:
    """Measure `networks`, and compare with what the table predicts."""
    seconds = measure(
        {str(i): whole(n, table.precision) for i, n in enumerate(networks)}, threads=table.threads, runs=runs
    )
    return Report(tuple(table.predict(n) for n in networks), tuple(seconds[str(i)] for i in range(len(networks))))


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b of two rankings; NaN if one of them holds a single value.

    Examples
    --------
    >>> kendall([1, 2, 3], [10, 30, 20])
    0.3333333333333333
    """
    x, y = (np.sign(np.subtract.outer(v, v))[np.triu_indices(len(v), 1)] for v in (a, b))
    pairs = float(np.sqrt((x != 0).sum() * (y != 0).sum()))
    return float((x * y).sum()) / pairs if pairs else float("nan")


def fastest(space: Space, table: Table) -> Choice:
    """The choice with the lowest predicted latency, found by descent; blocks that the table lacks are measured."""

    def cost(choice: Choice) -> float:
        network = space.network(choice)
        if table.missing(network.blocks):
            fill(table, network.blocks, runs=10, rounds=3)
        return table.raw(network)

    return descend(space, space.smallest(), cost)


def check_reachable(space: Space, table: Table, limit: float) -> Choice:
    """The fastest choice, if it is within `limit` seconds; takes seconds, as only a few blocks are measured.

    Raises
    ------
    ValueError
        If no network of the space is as fast as that.
    """
    choice = fastest(space, table)
    network = space.network(choice)
    if table.fitted:
        seconds = table.predict(network)
    else:
        seconds = measure({"": whole(network, table.precision)}, threads=table.threads)[""]
    if seconds > limit:
        raise ValueError(
            f"the space has no network within {spoken(limit)}: the fastest one found takes {spoken(seconds)} "
            f"({table.precision}, {table.threads} thread{'s' * (table.threads > 1)}, {table.cpu}); "
            "allow more, or give the space smaller values"
        )
    return choice


def spoken(seconds: float) -> str:
    """A readable time: 143 us, 2.35 ms."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


@lru_cache(maxsize=4)
def _reference(precision: str, threads: int) -> tuple[InferenceSession, dict]:
    return _opened(replace(REFERENCE, bits=FLOAT if precision == "float" else 8), precision, threads)


def _opened(block: Block, precision: str, threads: int) -> tuple[InferenceSession, dict]:
    model = _framed(alone(block), block)
    if precision == "int8":
        model = _int8(model, {n.name: 4 for n in model.graph.node if block.bits == 4 and _has_4_bits(n, model)})
    session = InferenceSession(model, SessionOptions(intra_op_num_threads=threads))
    feed = _feed(model, np.random.default_rng(0))
    session.run(None, feed)
    return session, feed


def _framed(model: onnx.ModelProto, block: Block) -> onnx.ModelProto:
    """The block's model with pooling around it, so that images have the engine's own layout there, as in a network."""
    graph, result = model.graph, model.graph.output[0]
    if block.inputs > IMAGE_CHANNELS:  # else it reads the network's input, which has the caller's layout
        names = {port.name: f"{FRONT}.{i}" for i, port in enumerate(graph.input)}
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
        for i, (name, made) in enumerate(names.items()):
            graph.node.insert(i, helper.make_node("MaxPool", [name], [made], name=made, kernel_shape=[1, 1]))
    if block.kind != "classifier":
        graph.node.append(helper.make_node("GlobalAveragePool", [result.name], [TAIL], name=TAIL))
        graph.output[0].CopyFrom(helper.make_tensor_value_info(TAIL, TensorProto.FLOAT, [1, block.out, 1, 1]))
    return model


def _steps(rows: Sequence[Mapping]) -> float:
    """Seconds of the steps of a block, without those that convert its inputs and outputs."""
    return sum(row["seconds"] for row in rows if not _converts(row))


def _converts(row: Mapping) -> bool:
    if row["op"] in ("", "QuantizeLinear") or row["node"].startswith((FRONT, TAIL)):
        return True
    return row["kernel"] == "permute" and row["op"] != "Concat"


def _has_4_bits(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether ``quantize`` can give this node 4 bits: those that `Network.bits` names."""
    if node.op_type == "Gemm":
        return True
    if node.op_type != "Conv" or ".se." in node.name:
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return list(attributes["kernel_shape"]) == [1, 1] and attributes.get("group", 1) == 1


def _int8(model: onnx.ModelProto, bits: Mapping[str, int]) -> onnx.ModelProto:
    """`model` quantized as fast as possible: the codes do not matter, only which kernels run."""
    _make_easy(model, bits)
    return quantize(
        model,
        [_feed(model, np.random.default_rng(1))],
        weights=dict(bits) or 8,
        rounding="plain",
        bias_correction=False,
        method="minmax",
        equalize=False,
        interleave=False,
        accumulate=DEPTH,
        quantize_outputs=True,
        judge=False,
    )


def _make_easy(model: onnx.ModelProto, but: Iterable[str]) -> None:
    """Give layers weights that are codes, and fit int16 accumulation: one large one per output among negative ones.

    Not those of the nodes `but`, which get 4 bits: their small weights would be zeros, and run on sparse kernels.
    """
    layers = {n.input[1]: n for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.name not in but}
    for tensor in model.graph.initializer:
        if tensor.name in layers:
            w = np.random.default_rng(0).integers(-SMALL, 0, list(tensor.dims)).astype(np.float32)
            node = layers[tensor.name]
            columns = node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute)
            (w.T if columns else w.reshape(len(w), -1))[:, 0] = 127
            tensor.CopyFrom(numpy_helper.from_array(w / 127, tensor.name))


def _feed(model: onnx.ModelProto, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: rng.standard_normal(shape, np.float32) for name, shape in _shapes(model)}


def _shapes(model: onnx.ModelProto) -> Iterator[tuple[str, list[int]]]:
    for port in model.graph.input:
        yield port.name, [d.dim_value or 1 for d in port.type.tensor_type.shape.dim]
