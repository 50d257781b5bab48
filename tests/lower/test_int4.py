"""4-bit weights: INT4 and UINT4 through DequantizeLinear, and MatMulNBits."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import pycompress as pc
from oracle import theirs
from pycompress.kernels import module

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


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv"])
def test_every_form_meets_codes_on_integers(op, form):
    g = Graph(np.random.default_rng(1))
    n, k = 130, 96
    x = floats(g.rng, *{"Gemm": (7, k), "MatMul": (2, 7, k), "Conv": (2, k, 3, 5)}[op])
    zero = np.int8(-20) if form.get("zeros") else np.uint8(100)
    model = g.model(x.shape, product(g, op, g.qdq("x", zero=zero), n, k, form))
    got, kernels, reasons = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"}
    assert ("group" if form.get("block", k) < k else "per channel") in reasons and "4-bit weights" in reasons
    np.testing.assert_allclose(got, expected(model, x), 1e-4, tolerance(form))


@pytest.mark.parametrize("form", FORMS[1:6], ids=str)
def test_onnxruntime_answers_the_same(form):
    g = Graph(np.random.default_rng(2))
    x = floats(g.rng, 5, 96)
    model = g.model(x.shape, product(g, "Gemm", g.qdq("x"), 100, 96, form))
    np.testing.assert_allclose(run(model, x)[0], theirs(model, {"x": x})[0], 1e-4, tolerance(form))


def contract(a, za, sa, q4, bias, sy, zy):
    """Codes that the contract of q4gemm answers with, in numpy: exact sums of groups, then float32 step by step."""
    total = np.zeros((len(a), len(q4.w)), np.float32)
    for i in range(q4.scale.shape[1]):
        part = slice(i * q4.group, (i + 1) * q4.group)
        sums = (a[:, part].astype(np.int64) - 128) @ (q4.w[:, part].astype(np.int64) - q4.zero[:, i : i + 1]).T
        total += q4.scale[:, i] * sums.astype(np.float32)
    colsum = q4.dense().astype(np.float64).sum(1).astype(np.float32)
    v = (total - np.float32(za - 128) * colsum) * np.float32(np.float64(sa) / sy) + (bias / np.float64(sy)).astype(
        np.float32
    )
    return np.clip(np.rint(np.clip(v, -zy, 255 - zy)) + zy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("relu", [False, True])
def test_codes_are_those_of_the_contract_and_within_one_step_of_float64(relu):
    g = Graph(np.random.default_rng(3))
    n, k, group = 70, 160, 32
    scale = g.rng.uniform(0.005, 0.02, (n, k // group)).astype(np.float16)
    codes, bias = g.rng.integers(-8, 8, (n, k)), floats(g.rng, n)
    w = g.op("DequantizeLinear", g.constant(codes, TensorProto.INT4), g.constant(scale), axis=1, block_size=group)
    y = g.op("Gemm", g.qdq("x"), g.op("Cast", w, to=TensorProto.FLOAT), g.constant(bias), transB=1)
    y = g.op("Relu", y) if relu else y
    y = g.op("QuantizeLinear", y, g.constant(YS), g.constant(np.uint8(90)))
    x = floats(g.rng, 50, k)
    model = g.model(x.shape, y, TensorProto.UINT8)
    got, kernels, reasons = everywhere(model, x)
    assert kernels == {"q4gemm"} and "to uint8" in reasons
    a = np.clip(np.rint(x / XS) + 100, 0, 255).astype(np.uint8)
    q4 = pc.weights.Q4((codes + 8).astype(np.uint8), scale.astype(np.float32), np.full(scale.shape, 8, np.uint8), group)
    want = contract(a, 100, XS, q4, bias.astype(np.float64), YS, 90)
    want = np.maximum(want, 90) if relu else want
    np.testing.assert_array_equal(got, want)
    real = (a.astype(np.float64) - 100) * np.float64(XS) @ q4.dense().astype(np.float64).T + bias
    exact = np.clip(np.rint((np.maximum(real, 0) if relu else real) / np.float64(YS)) + 90, 0, 255)
    difference = np.abs(got - exact)
    assert difference.max() <= 1 and np.count_nonzero(difference) < 5


def test_sums_activations_and_tables_join_the_product():
    g = Graph(np.random.default_rng(4))
    x = g.qdq("x")
    y = g.qdq(g.op("Conv", x, g.weights((64, 64, 1, 1), axis=1, block=32), g.constant(floats(g.rng, 64))), 0.1)
    y = g.qdq(g.op("Add", x, y), np.float32(0.09))
    z = g.qdq(g.op("Conv", y, g.weights((48, 64, 1, 1), axis=1, block=32)), 0.3)
    z = g.qdq(g.op("HardSwish", z), np.float32(0.1), np.uint8(10))
    z = g.op("GlobalAveragePool", z)
    x = floats(g.rng, 1, 64, 6, 6)
    model = g.model(x.shape, z)
    got, kernels, reasons = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"} and "added to" in reasons and "as a table" in reasons
    np.testing.assert_allclose(got, expected(model, x), atol=0.1)


def test_a_bias_that_is_added_afterwards_joins_the_product():
    g = Graph(np.random.default_rng(5))
    y = g.op("MatMul", g.qdq("x"), g.weights((64, 40), axis=0, block=32))
    y = g.qdq(g.op("Relu", g.op("Add", g.constant(floats(g.rng, 40)), y)), YS, np.uint8(0))
    x = floats(g.rng, 9, 64)
    model = g.model(x.shape, y)
    session = pc.InferenceSession(pc.compile(model))
    assert [r["kernel"] for r in session.explain()][:2] == ["quantize", "q4gemm"]
    assert "binary" not in [r["kernel"] for r in session.explain()]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected(model, x), atol=1.01 * YS)


def test_turned_weights_stay_at_four_bits():
    g = Graph(np.random.default_rng(6))
    w = g.op("Transpose", g.weights((24, 64), axis=1, block=32, zeros=True), perm=[1, 0])
    x = floats(g.rng, 3, 64)
    model = g.model(x.shape, g.op("MatMul", g.qdq("x"), w))
    got, kernels, _ = run(model, x)
    assert kernels == {"q4gemm"}
    np.testing.assert_allclose(got, expected(model, x), 1e-4, 1e-4)


@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv"])
def test_float_activations_stay_float_unless_asked_for(op):
    g = Graph(np.random.default_rng(7))
    k = 96
    x = floats(g.rng, *{"Gemm": (7, k), "MatMul": (2, 7, k), "Conv": (1, k, 3, 5)}[op])
    model = g.model(x.shape, product(g, op, "x", 50, k, {"axis": "k", "block": 32}))
    want = expected(model, x)
    for wish, words in (("file", "dynamic"), ("float", "keeps its activations")):
        got, kernels, reasons = run(model, x, int4_activations=wish)
        assert kernels == {"sgemm"} and "weights have 4 bits" in reasons and words in reasons
        np.testing.assert_allclose(got, want, 1e-4, 1e-4)
        with pytest.raises(pc.ModelError, match="strict"):
            pc.compile(model, strict=True, int4_activations=wish)
    got, kernels, _ = everywhere(model, x, strict=True, int4_activations="dynamic")
    assert kernels == {"q4gemm"}
    rows = x.transpose(0, 2, 3, 1).reshape(-1, k) if op == "Conv" else x.reshape(-1, k)
    back = np.empty((len(rows), k), np.uint8), np.empty(len(rows), np.float32), np.empty(len(rows), np.int32)
    module("dynquant").dynquant(np.ascontiguousarray(rows), *back)
    rounded = (back[0].astype(np.int32) - back[2][:, None]).astype(np.float32) * back[1][:, None]
    rounded = rounded.reshape(1, 3, 5, k).transpose(0, 3, 1, 2) if op == "Conv" else rounded.reshape(x.shape)
    np.testing.assert_allclose(got, expected(model, rounded), 1e-4, 1e-4)
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_rows_are_rounded_once_for_all_products_of_one_kind():
    g = Graph(np.random.default_rng(8))
    parts = [g.op("MatMul", "x", g.weights((64, 16), axis=0, block=32)) for _ in range(3)]
    x = floats(g.rng, 4, 64)
    model = g.model(x.shape, g.op("Concat", *parts, axis=1))
    session = pc.InferenceSession(pc.compile(model, int4_activations="dynamic"))
    assert [r["kernel"] for r in session.explain()].count("dynquant") == 1
    assert np.abs(session.run(None, {"x": x})[0] - expected(model, x)).max() < 0.1


def test_an_unknown_wish_is_refused():
    g = Graph(np.random.default_rng(9))
    with pytest.raises(ValueError, match="int4_activations must be one of"):
        pc.compile(g.model((1, 2), g.op("Relu", "x")), int4_activations="fast")


WIDENED = {
    "small": ("qgemm", (32, 16, 1, 1), {}),
    "3x3": ("qconv", (24, 64, 3, 3), {}),
    "depthwise": ("qdwconv", (64, 1, 3, 3), {"group": 64}),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("what", WIDENED)
def test_codes_are_widened_to_eight_bits_where_there_is_no_kernel_of_four(what, zeros, signed):
    kernel, shape, attributes = WIDENED[what]
    g = Graph(np.random.default_rng(10))
    x = floats(g.rng, 1, shape[1] * attributes.get("group", 1), 7, 7)
    y = g.op(
        "Conv",
        g.qdq("x"),
        g.weights(shape, zeros=zeros, signed=signed),
        g.constant(floats(g.rng, shape[0])),
        **attributes,
    )
    model = g.model(x.shape, y)
    got, kernels, _ = everywhere(model, x, strict=True)
    assert kernels == {kernel}
    np.testing.assert_allclose(got, expected(model, x), 1e-4, 1e-3)  # the bias counts steps of input times weight


UNFIT = {
    "3x3 in blocks": ((24, 64, 3, 3), {"axis": 1, "block": 32}, "have no kernel"),
    "blocks of 16": ((24, 64, 1, 1), {"axis": 1, "block": 16}, "no multiple of 32"),
    "blocks of outputs": ((64, 64, 1, 1), {"axis": 0, "block": 32}, "another axis"),
    "scales of inputs": ((24, 64, 1, 1), {"axis": 1}, "another axis"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_has_no_kernel_runs_in_float_and_says_why(what):
    shape, form, words = UNFIT[what]
    g = Graph(np.random.default_rng(11))
    x = floats(g.rng, 1, shape[1], 5, 5)
    model = g.model(x.shape, g.op("Conv", g.qdq("x"), g.weights(shape, **form), pads=[shape[2] // 2] * 4))
    got, kernels, reasons = run(model, x)
    assert kernels <= {"sgemm", "sconv"} and words in reasons
    np.testing.assert_allclose(got, expected(model, x), 1e-4, 1e-4)
    with pytest.raises(pc.ModelError, match="strict"):
        pc.compile(model, strict=True)


def test_blocked_weights_that_are_moved_are_what_they_stand_for():
    g = Graph(np.random.default_rng(12))
    w = g.weights((64, 6), axis=0, block=32, zeros=True)
    y = g.op("Add", g.op("Reshape", w, g.constant(np.array([6, 64]))), "x")
    y = g.op(
        "Pad",
        g.op("Concat", y, g.op("Reshape", w, g.constant(np.array([6, 64]))), axis=1),
        g.constant(np.array([1, 0, 0, 2])),
    )
    x = floats(g.rng, 6, 64)
    model = g.model(x.shape, y)
    np.testing.assert_allclose(run(model, x)[0], expected(model, x), 1e-6, 1e-6)


# ---- MatMulNBits ----


def nbits(g, x, n, k, block=32, zeros=False, bias=False, half=False, **attributes):
    blocks = -(-k // block)
    inputs = [x, g.constant(g.rng.integers(0, 256, (n, blocks, block // 2)).astype(np.uint8))]
    inputs.append(g.constant(g.rng.uniform(0.01, 0.05, (n, blocks)).astype(np.float16 if half else np.float32)))
    if zeros or bias:
        inputs.append(g.constant(g.rng.integers(0, 256, (n, -(-blocks // 2))).astype(np.uint8)) if zeros else "")
    if bias:
        inputs += ["", g.constant(floats(g.rng, n))]
    return g.op(
        "MatMulNBits", *inputs, domain="com.microsoft", **{"N": n, "K": k, "bits": 4, "block_size": block} | attributes
    )


@pytest.mark.parametrize("zeros,bias", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("block", [16, 32, 64, 256])
def test_matmulnbits_is_onnxruntimes(block, zeros, bias):
    g = Graph(np.random.default_rng(13))
    x = floats(g.rng, 2, 5, 96)
    model = g.model(x.shape, nbits(g, "x", 40, 96, block, zeros, bias))
    want = theirs(model, {"x": x})[0]
    got, kernels, reasons = run(model, x)
    assert kernels == {"sgemm"} and "weights have 4 bits" in reasons
    np.testing.assert_allclose(got, want, 1e-4, 1e-4)
    got, kernels, reasons = run(model, x, int4_activations="dynamic")
    assert kernels == ({"sgemm"} if block == 16 else {"q4gemm"})
    assert ("no multiple of 32" if block == 16 else "4-bit weights") in reasons
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_accuracy_level_4_allows_integers():
    g = Graph(np.random.default_rng(14))
    x = floats(g.rng, 33, 100)
    model = g.model(x.shape, nbits(g, "x", 40, 100, 64, zeros=True, accuracy_level=4))
    want = theirs(model, {"x": x})[0]
    got, kernels, reasons = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"} and "group 64" in reasons
    assert np.abs(got - want).max() < 0.03 * np.abs(want).max()
    assert run(model, x, int4_activations="float")[1] == {"sgemm"}


def test_matmulnbits_on_codes_that_the_file_has():
    g = Graph(np.random.default_rng(15))
    x = floats(g.rng, 8, 64)
    model = g.model(x.shape, nbits(g, g.qdq("x"), 40, 64))
    got, kernels, _ = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"}
    np.testing.assert_allclose(got, theirs(model, {"x": x})[0], 1e-4, 1e-4)


def test_a_bias_computed_at_run_time_is_added():
    g = Graph(np.random.default_rng(16))
    x = floats(g.rng, 1, 64)
    model = g.model(x.shape, nbits(g, "x", 64, 64))
    model.graph.node[0].input.extend(["", "", "flat"])
    model.graph.node.insert(0, helper.make_node("Reshape", ["x", "s"], ["flat"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([64]), "s"))
    np.testing.assert_allclose(run(model, x)[0], theirs(model, {"x": x})[0], 1e-4, 1e-4)


def changed(**attributes):
    def change(node, constants):
        for name, value in attributes.items():
            node.attribute.remove(next(a for a in node.attribute if a.name == name))
            node.attribute.append(helper.make_attribute(name, value))

    return change


def given(index, x):
    def change(node, constants):
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = "other"
        constants.append(numpy_helper.from_array(x, "other"))

    return change


REFUSED = {
    "'bits'": changed(bits=8),
    "'block_size'": changed(block_size=48),
    "B must be uint8": changed(block_size=64),
    "'K'": changed(K=63),
    "'accuracy_level'": lambda node, _: node.attribute.append(helper.make_attribute("accuracy_level", 7)),
    "'transposed'": lambda node, _: node.attribute.append(helper.make_attribute("transposed", 1)),
    "'g_idx'": given(4, np.zeros(64, np.int32)),
    "zero_points of type float32": given(3, np.zeros((40, 2), np.float32)),
    "zero_points must have 40": given(3, np.zeros(39, np.uint8)),
    "scales must be": given(2, np.zeros(79, np.float32)),
    "scales must be finite": given(2, np.full(80, np.nan, np.float32)),
    "bias": given(5, np.zeros(39, np.float32)),
    "input 1 'B' must be known": lambda node, _: node.input.__setitem__(1, "x"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_matmulnbits_does_not_do_here_is_refused_by_name(words):
    g = Graph(np.random.default_rng(17))
    model = g.model((2, 64), nbits(g, "x", 40, 64))
    REFUSED[words](model.graph.node[0], model.graph.initializer)
    with pytest.raises(pc.ModelError, match="MatMulNBits") as error:
        pc.compile(model)
    assert words in str(error.value)


# ---- plans ----


def test_a_saved_plan_holds_nibbles_and_half_scales_and_answers_the_same(tmp_path):
    g = Graph(np.random.default_rng(18))
    y = g.qdq("x")
    for _ in range(2):
        y = g.qdq(g.op("Conv", y, g.weights((256, 256, 1, 1), axis=1, block=32, half=True)), 0.2, np.uint8(128))
    x = floats(g.rng, 1, 256, 9, 9)
    model = g.model(x.shape, y)
    plan = pc.compile(model)
    plan.save(tmp_path / "p.plan.safetensors")
    loaded = pc.InferenceSession(tmp_path / "p.plan.safetensors")
    want = pc.InferenceSession(plan).run(None, {"x": x})[0]
    assert loaded.run(None, {"x": x})[0].tobytes() == want.tobytes()
    groups = 2 * 256 * 8
    assert (tmp_path / "p.plan.safetensors").stat().st_size < 2 * 256 * 128 + groups * 2 + 30_000


def test_equal_codes_of_other_scales_are_other_weights():
    g = Graph(np.random.default_rng(19))
    w = g.weights((64, 16), axis=0, block=32)
    dequantize = g.nodes[-1]
    twice = g.constant(2 * numpy_helper.to_array(g.constants[1]))
    other = g.op("DequantizeLinear", dequantize.input[0], twice, axis=0, block_size=32)
    x = g.qdq("x")
    a, b = g.op("MatMul", x, w), g.op("MatMul", x, other)
    x = floats(g.rng, 4, 64)
    model = g.model(x.shape, g.op("Concat", a, b, axis=1))
    got, kernels, _ = run(model, x)
    assert kernels == {"q4gemm"}
    np.testing.assert_array_equal(got[:, 16:], 2 * got[:, :16])


def test_large_images_run_in_bands():
    g = Graph(np.random.default_rng(20))
    y = g.qdq(g.op("Conv", g.qdq("x"), g.weights((64, 64, 1, 1), axis=1, block=32)), 0.2, np.uint8(128))
    y = g.op("Conv", y, g.weights((64, 1, 3, 3)), group=64, pads=[1, 1, 1, 1])
    y = g.qdq(y, 0.3, np.uint8(128))
    x = floats(g.rng, 1, 64, 192, 192)
    got, kernels, reasons = run(g.model(x.shape, y), x, strict=True)
    assert kernels == {"q4gemm", "qdwconv"} and "lines 0 to" in reasons
    small = run(g.model((1, 64, 60, 192), y), np.ascontiguousarray(x[:, :, :60]), strict=True)
    assert "lines 0 to" not in small[2]
    np.testing.assert_array_equal(got[:, :, :58], small[0][:, :, :58])
