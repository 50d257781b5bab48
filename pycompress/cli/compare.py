"""``pycompress compare``: two models on the same inputs."""

from __future__ import annotations

import numpy as np

from . import inputs, models
from .output import Output


def add(subparsers, common):
    parser = subparsers.add_parser(
        "compare",
        parents=[common],
        help="errors between two models, tensor by tensor",
        description="Run two models on the same inputs and print the error of every tensor that both compute under "
        "the same name, and of the outputs.  Of plans, only the outputs are compared.",
    )
    parser.add_argument("a", metavar="A", help=f"the model to trust: {models.HELP}")
    parser.add_argument("b", metavar="B", help="the model to judge")
    inputs.add_options(parser)
    parser.add_argument("--samples", type=models.count, metavar="N", help="random inputs to try; default 1")
    models.add_shape(parser)
    models.add_threads(parser)
    return parser


def execute(args, out: Output) -> dict:
    a, b = models.Source(args.a), models.Source(args.b)
    shapes = models.shapes_of(args)
    ports, others = (source.ports(shapes, partly=True) for source in (a, b))
    if ports != others:
        raise ValueError(f"the inputs differ: {_said(ports)} and {_said(others)}")
    feeds = inputs.feeds(a, shapes, args, out.warn)
    common, outputs = _names(a, b)
    sessions = [_session(source, common, args.threads) for source in (a, b)]
    sums = {name: Difference() for name, _ in common + outputs}
    with out.progress("running both", len(feeds)) as tick:
        for feed in feeds:
            for name, x, y in _pairs(sessions, common, outputs, feed):
                sums[name].add(x, y)
            tick()
    result = {
        "a": args.a,
        "b": args.b,
        "samples": len(feeds),
        "tensors": {name: sums[name].figures() for name, _ in common},
        "outputs": {name: sums[name].figures() | {"top1": sums[name].top1()} for name, _ in outputs},
    }
    _print(result, out)
    return result


def _said(ports) -> str:
    return ", ".join(f"{name} {dtype.name}{list(shape)}" for name, (dtype, shape) in ports.items())


def _names(a: models.Source, b: models.Source):
    """([(name, name) of common tensors in A's order], [(name in A, name in B) of the outputs])."""
    of_a, of_b = ([p.name for p in s.session(1).get_outputs()] for s in (a, b))
    if len(of_a) != len(of_b):
        raise ValueError(f"the outputs differ: {', '.join(of_a)} and {', '.join(of_b)}")
    outputs = list(zip(of_a, of_a if set(of_a) == set(of_b) else of_b))
    if a.proto is None or b.proto is None:
        return [], outputs
    shared = set(_floats(b)) - set(of_a) - set(of_b)
    return [(name, name) for name in _floats(a) if name in shared], outputs


def _floats(source: models.Source) -> list[str]:
    """The float32 tensors that the nodes of a model compute."""
    import onnx

    known = onnx.shape_inference.infer_shapes(source.proto).graph
    typed = {p.name: p.type.tensor_type.elem_type for p in known.value_info}
    made = [name for node in source.proto.graph.node if node.op_type != "Constant" for name in node.output]
    return [name for name in made if typed.get(name) == onnx.TensorProto.FLOAT]


def _session(source: models.Source, common, threads: int):
    """A session whose outputs are also the common tensors."""
    if not common:
        return source.session(threads)
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    for name, _ in common:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    widened = models.Source.__new__(models.Source)
    widened.text, widened.path, widened.plan, widened.proto = source.text, None, None, proto
    return widened.session(threads)


def _pairs(sessions, common, outputs, feed):
    """(name in A, A's array, B's array) of each tensor, one by one so that few are held."""
    names = common + outputs
    arrays = (session.run([pair[i] for pair in names], feed) for i, session in enumerate(sessions))
    for (name, _), x, y in zip(names, *arrays):
        if x.shape != y.shape:
            raise ValueError(f"tensor {name!r}: shapes {list(x.shape)} and {list(y.shape)}")
        yield name, x, y


class Difference:
    """How far one array is from another, summed over samples."""

    def __init__(self):
        self.count = self.rows = self.same = 0
        self.worst = self.total = self.noise = self.signal = self.other = self.both = 0.0
        self.low, self.high = np.inf, -np.inf
        self.scores = True  # whether the arrays look like class scores

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        self.scores &= a.ndim == 2 and a.shape[1] > 1
        if not a.size:
            return
        if self.scores:
            self.rows += len(a)
            self.same += int((a.argmax(1) == b.argmax(1)).sum())
        a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        off = np.abs(b - a)
        self.count += a.size
        self.worst = max(self.worst, float(off.max()))
        self.total += float(off.sum())
        self.noise += float(off @ off)
        self.signal += float(a @ a)
        self.other += float(b @ b)
        self.both += float(a @ b)
        self.low, self.high = min(self.low, float(a.min())), max(self.high, float(a.max()))

    def figures(self) -> dict[str, float]:
        span, norm = self.high - self.low, np.sqrt(self.signal * self.other)
        ratio = self.signal / self.noise if self.noise else np.inf
        return {
            "max": self.worst,
            "mean": self.total / max(self.count, 1),
            "max_of_range": self.worst / (span if 0 < span < np.inf else 1.0),
            "sqnr_db": float(10 * np.log10(ratio)) if ratio else -np.inf,
            "cosine": float(self.both / norm) if norm else float(not self.noise),
        }

    def top1(self) -> float | None:
        """The share of rows whose best class is the same."""
        return self.same / self.rows if self.scores and self.rows else None


def _print(result: dict, out: Output) -> None:
    rows = [
        (
            name,
            f"{e['max']:.3g}",
            f"{e['mean']:.3g}",
            f"{e['max_of_range']:.2e}",
            f"{e['sqnr_db']:.1f}",
            f"{e['cosine']:.6f}",
            f"{e['top1']:.1%}" if e.get("top1") is not None else "-",
        )
        for name, e in (result["tensors"] | result["outputs"]).items()
    ]
    out.line(f"{result['b']} against {result['a']}, {result['samples']} sample(s); outputs last")
    out.table(("tensor", "max error", "mean error", "max / range", "SQNR dB", "cosine", "same best class"), rows)
