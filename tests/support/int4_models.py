"""Models with 4-bit weights in the making, and what runs them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import pycompress as pc

XS, YS, ZERO = np.float32(0.02), np.float32(0.11), np.uint8(100)


class Graph:
    """A model of one input x in the making."""

    def __init__(self, rng):
        self.rng, self.nodes, self.constants = rng, [], []

    def constant(self, x, kind=None) -> str:
        name = f"c{len(self.constants)}"
        x = np.asarray(x)
        tensor = numpy_helper.from_array(x, name)
        self.constants.append(tensor if kind is None else helper.make_tensor(name, kind, x.shape, x.reshape(-1)))
        return name

    def op(self, kind, *inputs, domain="", **attributes) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def qdq(self, x, scale=XS, zero=ZERO) -> str:
        given = self.constant(np.float32(scale)), self.constant(zero)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *given), *given)

    def weights(self, shape, kind="INT4", axis=0, block=0, zeros=False, half=False, signed=False) -> str:
        """4-bit weights through DequantizeLinear; axis None: one scale."""
        low = -8 if kind == "INT4" else 0
        codes = self.rng.integers(low, low + 16, shape)
        if axis is None:
            size, given = (), {}
        elif block:
            size, given = (
                [-(-d // block) if i == axis else d for i, d in enumerate(shape)],
                {"axis": axis, "block_size": block},
            )
        else:
            size, given = (shape[axis],), {"axis": axis}
        scale = self.rng.uniform(0.01, 0.05, size).astype(np.float16 if half else np.float32)
        if signed:
            scale = scale * self.rng.choice([-1, 1], size).astype(scale.dtype)
        inputs = [self.constant(codes, getattr(TensorProto, kind)), self.constant(scale)]
        if zeros or kind == "UINT4":
            inputs.append(self.constant(self.rng.integers(low, low + 16, size), getattr(TensorProto, kind)))
        w = self.op("DequantizeLinear", *inputs, **given)
        return self.op("Cast", w, to=TensorProto.FLOAT) if half else w

    def model(self, shape, output, kind=TensorProto.FLOAT) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, kind, None)], self.constants,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(model, x, cpu=None, threads=1, **options):
    """(the output, {kernel of each node's product}, all reasons)."""
    session = pc.InferenceSession(pc.compile(model, cpu=cpu, **options), pc.SessionOptions(threads))
    rows = session.explain()
    kernels = {
        r["kernel"] for r in rows if r["kernel"] in ("q4gemm", "qgemm", "qconv", "qdwconv", "sgemm", "sconv", "dwconv")
    }
    return session.run(None, {"x": x})[0], kernels, "\n".join(r["reason"] for r in rows)


def everywhere(model, x, **options):
    """As `run`, the same bytes on every instruction set, for two threads, and from a saved plan."""
    got, kernels, reasons = run(model, x, **options)
    for other in ({"cpu": "scalar"}, {"threads": 2}):
        assert run(model, x, **other, **options)[0].tobytes() == got.tobytes()
    return got, kernels, reasons


def expected(model, x):
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


def floats(rng, *shape):
    return rng.standard_normal(shape, np.float32)


def tolerance(form):
    """Others round weights of float16 scales to float16."""
    return 1e-2 if form.get("half") else 1e-4


FORMS = [
    {"axis": None}, {"axis": "n"}, {"axis": "n", "zeros": True}, {"axis": "n", "kind": "UINT4", "half": True},
    {"axis": "k", "block": 32}, {"axis": "k", "block": 32, "half": True}, {"axis": "k", "block": 32, "kind": "UINT4"},
    {"axis": "k", "block": 64, "zeros": True}, {"axis": "k", "block": 128}, {"axis": "k", "block": 96, "half": True},
]  # fmt: skip


def product(g, op, x, n, k, form):
    """A product of x with 4-bit weights [n,k] in one of the `FORMS`; a bias where the operator has one."""
    form = dict(form)
    shape, at = {"MatMul": ((k, n), "kn"), "Gemm": ((n, k), "nk"), "Conv": ((n, k, 1, 1), "nk")}[op]
    form["axis"] = form["axis"] and at.index(form["axis"])
    w = g.weights(shape, **form)
    if op == "MatMul":
        return g.op(op, x, w)
    return g.op(op, x, w, g.constant(floats(g.rng, n)), **({"transB": 1} if op == "Gemm" else {}))
