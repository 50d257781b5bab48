import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pycompress.compress.model.affine import fold_affine

node = helper.make_node
C = 6
ROW = np.linspace(-1, 2, C).reshape(C, 1, 1)


def model(nodes, shape=("n", 4, 9, 7), rank=4, **constants):
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((C, 4, 3, 3)), "bias": rng.standard_normal(C), **constants}
    tensors = [
        numpy_helper.from_array(np.asarray(v, None if k[0] == "i" else np.float32), k) for k, v in constants.items()
    ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)
    made = helper.make_model(
        helper.make_graph(nodes, "net", [given], [answer], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def answer(made, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(made.SerializeToString(), options).run(None, {"input": x})[0]


def folded(made, x, exclude=frozenset()):
    """The operators after folding; the answer has to stay."""
    wanted = answer(made, x)
    fold_affine(made, exclude)
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_allclose(answer(made, x), wanted, atol=2e-5 * np.abs(wanted).max())
    return [n.op_type for n in made.graph.node]


IMAGE = np.random.default_rng(1).standard_normal((2, 4, 9, 7)).astype("f4")
FIRST = node("Conv", ["input", "w", "bias"], ["a"], "first", pads=[1, 0, 1, 0])


@pytest.mark.parametrize("op", ["Mul", "Div", "Add", "Sub"])
@pytest.mark.parametrize("constant", [np.float32(0.7), ROW, ROW[None], [[[[2.5]]]]])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_constant_after_a_convolution_becomes_part_of_it(op, constant, swapped):
    if swapped and op == "Div":
        pytest.skip("a constant divided by the result is not affine")
    operands = ["k", "a"] if swapped else ["a", "k"]
    assert folded(model([FIRST, node(op, operands, ["y"], "f")], k=constant), IMAGE) == ["Conv"]


def test_chains_of_constants_are_folded_whole():
    chain = [
        FIRST,
        node("Mul", ["a", "k"], ["b"], "m"),
        node("Add", ["b", "o"], ["c"], "s"),
        node("Relu", ["c"], ["y"], "r"),
    ]
    assert folded(model(chain, k=ROW, o=0.5), IMAGE) == ["Conv", "Relu"]
    assert folded(model(chain, k=ROW, o=0.5), IMAGE, {"s"}) == ["Conv", "Add", "Relu"]
    assert folded(model(chain, k=ROW, o=0.5), IMAGE, {"first"}) == ["Conv", "Mul", "Add", "Relu"]


def test_what_is_no_constant_per_channel_or_is_read_elsewhere_is_not_folded():
    assert folded(model([FIRST, node("Mul", ["a", "k"], ["y"], "m")], k=np.ones((1, 1, 1, 5))), IMAGE) == [
        "Conv",
        "Mul",
    ]
    twice = [FIRST, node("Mul", ["a", "k"], ["b"], "m"), node("Add", ["a", "b"], ["y"], "s")]
    assert folded(model(twice, k=2), IMAGE) == ["Conv", "Mul", "Add"]
    zero = [FIRST, node("Div", ["a", "k"], ["b"], "d"), node("Relu", ["b"], ["y"], "r")]
    made = model(zero, k=0)
    fold_affine(made)
    assert [n.op_type for n in made.graph.node] == ["Conv", "Div", "Relu"]


def test_weights_that_others_share_stay():
    nodes = [FIRST, node("Mul", ["a", "k"], ["b"], "m"), node("Conv", ["input", "w"], ["c"], "other", pads=[1, 0, 1, 0]),
             node("Max", ["b", "c"], ["y"], "s")]  # fmt: skip
    assert folded(model(nodes, k=ROW), IMAGE) == ["Conv", "Conv", "Max"]


def test_a_batch_norm_of_its_own_becomes_a_depthwise_convolution():
    params = {"g": np.linspace(0.5, 2, 4), "b": np.arange(4), "m": np.arange(4) / 3, "v": np.linspace(0.2, 3, 4)}
    norm = node("BatchNormalization", ["input", *params], ["n"], "n", epsilon=1e-3)
    made = model([norm, node("Relu", ["n"], ["y"], "r")], **params)
    assert folded(made, IMAGE) == ["Conv", "Relu"]
    assert next(a.i for a in made.graph.node[0].attribute if a.name == "group") == 4
    flat = model([norm, node("Relu", ["n"], ["y"], "r")], ("n", 4), 2, **params)
    assert folded(flat, IMAGE[:, :, 0, 0].copy()) == ["BatchNormalization", "Relu"]


def test_borders_of_zeros_become_pads_of_the_convolution():
    pad = node("Pad", ["input", "i"], ["p"], "p")
    after = node("Conv", ["p", "w"], ["y"], "c", pads=[0, 1, 2, 0], strides=[2, 1])
    made = model([pad, after], i=np.array([0, 0, 1, 2, 0, 0, 3, 0]))
    assert folded(made, IMAGE) == ["Conv"]
    assert [list(a.ints) for a in made.graph.node[0].attribute if a.name == "pads"] == [[1, 3, 5, 0]]


@pytest.mark.parametrize(
    "pads, more, attributes",
    [
        ([0, 0, 1, 1, 0, 0, 1, 1], ["k"], {}),
        ([0, 0, -1, 1, 0, 0, 1, 1], [], {}),
        ([1, 0, 1, 1, 0, 0, 1, 1], [], {}),
        ([0, 0, 1, 1, 0, 0, 1, 1], [], {"mode": "reflect"}),
    ],
)
def test_other_borders_stay(pads, more, attributes):
    pad = node("Pad", ["input", "i", *more], ["p"], "p", **attributes)
    made = model([pad, node("Conv", ["p", "w"], ["y"], "c")], i=np.array(pads), k=0.5)
    assert folded(made, IMAGE) == ["Pad", "Conv"]


def test_a_product_of_matrices_and_a_row_become_one_gemm():
    w, x = np.random.default_rng(2).standard_normal((5, C)), np.ones((3, 5), np.float32)
    nodes = [node("MatMul", ["input", "v"], ["a"], "m"), node("Add", ["k", "a"], ["y"], "s")]
    assert folded(model(nodes, ("n", 5), 2, v=w, k=np.arange(C)), x) == ["Gemm"]
    assert folded(model(nodes, ("n", 2, 5), 3, v=w, k=np.arange(C)), x.reshape(-1)[:10].reshape(1, 2, 5)) == [
        "MatMul",
        "Add",
    ]
    assert folded(model(nodes, ("n", 5), 2, v=w, k=np.ones((3, 1))), x) == ["MatMul", "Add"]
