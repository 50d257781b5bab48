import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from channelled import (
    RNG,
    SIZE,
    agree,
    conv,
    image,
    kept,
    network,
    node,
    ort_outputs,
    ours,
    pinned,
    report,
    shape,
    takes_any_half,
)
from pycompress import zoo
from pycompress.compress.model import graph as g
from pycompress.compress.pruning.channels import prune_channels
from pycompress.compress.quantize import quantize
from pycompress.errors import ModelError


@pytest.mark.parametrize("name", zoo.names())
def test_a_network_without_channels_is_the_network_with_zeros_for_what_reads_them(name):
    model = zoo.build(name, width=0.5, resolution=SIZE, classes=20)
    pruned = takes_any_half(model, image())
    assert len(pruned.SerializeToString()) < 0.5 * len(model.SerializeToString())


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("name", zoo.names())
def test_networks_lose_the_share_of_channels_that_was_asked_for(name, scope):
    model = zoo.build(name, width=0.5, resolution=SIZE, classes=20, batch=None)
    pruned = prune_channels(model, 0.4, scope=scope)
    onnx.checker.check_model(pruned, full_check=True)
    told = report(pruned)
    assert told["verified"] == "run" and told["scope"] == scope
    total, left = (sum(group[k] for group in told["groups"]) for k in ("total", "kept"))
    assert abs(1 - left / total - 0.4) < 0.06
    assert all(x["kept"] % 8 == 0 or x["kept"] == x["total"] for x in told["groups"])
    assert all(x["kept"] >= x["total"] / 8 for x in told["groups"])
    assert "stem.conv" in pinned(pruned) and "classifier" in pinned(pruned)
    assert ours(pruned, image(2, 3, SIZE, SIZE))[0].shape == (2, 20)


def test_nothing_goes_at_sparsity_0():
    model = zoo.mobilenetv3_small(width=0.5, resolution=SIZE, classes=20)
    pruned = prune_channels(model, 0)
    assert all(group["kept"] == group["total"] for group in report(pruned)["groups"])
    agree(ort_outputs(model, image()), ort_outputs(pruned, image()))


def test_groups_that_cannot_stay_a_multiple_stay_whole_and_others_keep_one_at_least():
    weights = {"a": (12, 3, 1, 1), "b": (6, 12, 1, 1), "c": (4, 6, 1, 1)}
    nodes = [conv("input", "x", "a"), conv("x", "y", "b"), conv("y", "output", "c")]
    assert kept(prune_channels(network(nodes, **weights), 0.99, exclude=(), scope="layer")) == {"x": 8, "y": 6}
    assert kept(prune_channels(network(nodes, **weights), 0.99, exclude=(), multiple=1)) == {"x": 2, "y": 1}


def test_the_channels_with_the_smallest_weights_go():
    w = RNG(1).standard_normal((8, 3, 1, 1)).astype(np.float32)
    w[[1, 4, 6]] *= 0.01
    model = network([conv("input", "x", "a"), conv("x", "output", "b")], a=w, b=(4, 8, 1, 1))
    pruned = prune_channels(model, 3 / 8, exclude=(), multiple=1, scope="layer")
    np.testing.assert_array_equal(numpy_helper.to_array(g.constants(pruned)["a"]), w[[0, 2, 3, 5, 7]])


RESIDUAL = [
    conv("input", "s", "w0"),
    node("Relu", "s", "s1"),
    conv("s1", "a", "w1"),
    node("Add", "a", "a1", "s1"),
    node("HardSwish", "a1", "a2"),
    conv("a2", "b", "w2", "b2"),
    node("Add", "a2", "b1", "b"),
    conv("b1", "output", "w3"),
]


def residual():
    return network(RESIDUAL, w0=(16, 3, 1, 1), w1=(16, 16, 1, 1), w2=(16, 16, 1, 1), b2=(16,), w3=(5, 16, 1, 1))


def test_summands_of_a_chain_of_residual_sums_lose_the_same_channels():
    pruned = takes_any_half(residual(), image(1, 3, 16, 16))
    assert shape(pruned, "w1") == shape(pruned, "w2") == (8, 8, 1, 1) and shape(pruned, "b2") == (8,)
    assert kept(prune_channels(residual(), 0.5, exclude=())) == {"s": 8, "a": 8, "b": 8}


def excite(gate, pool):
    nodes = [
        conv("input", "x", "w0"),
        pool,
        conv("p", "r", "w1", "b1"),
        node("Relu", "r", "r1"),
        conv("r1", "e", "w2", "b2"),
        node(gate, "e", "e1"),
        node("Mul", "x", "m", "e1"),
        conv("m", "output", "w3"),
    ]
    weights = {
        "w0": (16, 3, 3, 3),
        "w1": (8, 16, 1, 1),
        "b1": (8,),
        "w2": (16, 8, 1, 1),
        "b2": (16,),
        "w3": (5, 16, 1, 1),
    }
    return network(nodes, axes=np.array([2, 3]), **weights)


@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
@pytest.mark.parametrize("pool", [node("GlobalAveragePool", "x", "p"), node("ReduceMean", "x", "p", axes=[2, 3])])
def test_a_gate_follows_what_it_scales_and_its_inner_channels_are_their_own(gate, pool):
    pruned = takes_any_half(excite(gate, pool), image(1, 3, 16, 16))
    assert shape(pruned, "w1") == (4, 8, 1, 1) and shape(pruned, "w2") == (8, 4, 1, 1)
    groups = report(prune_channels(excite(gate, pool), 0.5, exclude=(), multiple=4))["groups"]
    assert [group["layers"] for group in groups] == [["x", "e"], ["r"]]


def test_concatenated_channels_are_found_where_they_lie():
    nodes = [
        conv("input", "x", "w0"),
        conv("input", "y", "w1"),
        node("Concat", "x", "z", "y", "input", "x", axis=1),
        node("BatchNormalization", "z", "n", "gamma", "beta", "mean", "var"),
        conv("n", "output", "w2"),
    ]
    vectors = {k: np.linspace(0.5, 2, 31, dtype=np.float32) for k in ("gamma", "beta", "mean", "var")}
    model = network(nodes, w0=(8, 3, 1, 1), w1=(12, 3, 1, 1), w2=(5, 31, 1, 1), **vectors)
    pruned = takes_any_half(model, image(1, 3, 16, 16))
    assert shape(pruned, "w2") == (5, 17, 1, 1) and shape(pruned, "gamma") == (17,)


def test_layers_that_share_weights_share_channels():
    nodes = [
        conv("input", "x", "w0", "b0"),
        node("Relu", "x", "x1"),
        conv("x1", "y", "w", "b"),
        node("Relu", "y", "y1"),
        conv("y1", "z", "w", "b"),
        conv("z", "output", "w2"),
    ]
    model = network(nodes, w0=(8, 3, 1, 1), b0=(8,), w=(8, 8, 3, 3), b=(8,), w2=(5, 8, 1, 1))
    pruned = takes_any_half(model, image(1, 3, 16, 16))
    assert shape(pruned, "w") == (4, 4, 3, 3)
    samples = [image(1, 3, 16, 16, seed=i)["input"] for i in range(4)]
    assert kept(prune_channels(model, 0.5, exclude=(), multiple=1, calibration=samples)) == {"x": 4, "y": 4, "z": 4}


def test_a_constant_read_whole_elsewhere_pins_its_channels():
    nodes = [conv("input", "x", "w0", "b"), conv("x", "y", "w1"), node("Cast", "b", "output", to=1)]
    model = network(nodes, w0=(8, 3, 1, 1), b=(8,), w1=(5, 8, 1, 1))
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5, 16, 16]))
    with pytest.raises(ModelError, match="node 'output' .Cast.* reads 'b' whole"):
        prune_channels(model, 0.5, exclude=())


def test_a_depthwise_convolution_with_multiplier_2_loses_both_outputs_of_a_channel():
    nodes = [
        conv("input", "x", "w0"),
        conv("x", "d", "w1", "b1", group=8, pads=[1, 1, 1, 1]),
        node("Relu", "d", "e"),
        conv("e", "output", "w2"),
    ]
    model = network(nodes, w0=(8, 3, 1, 1), w1=(16, 1, 3, 3), b1=(16,), w2=(5, 16, 1, 1))
    pruned = takes_any_half(model, image(1, 3, 16, 16))
    assert shape(pruned, "w1") == (8, 1, 3, 3) and g.attribute(pruned.graph.node[1], "group") == 4


def test_grouped_convolutions_keep_their_channels():
    nodes = [conv("input", "x", "w0"), conv("x", "y", "w1", group=2), conv("y", "z", "w2"), conv("z", "output", "w3")]
    model = network(nodes, w0=(8, 3, 1, 1), w1=(8, 4, 1, 1), w2=(8, 8, 1, 1), w3=(5, 8, 1, 1))
    pruned = prune_channels(model, 0.5, multiple=1)
    assert kept(pruned) == {"z": 4}
    assert "grouped" in pinned(pruned)["y"] and "grouped" in pinned(pruned)["x"]


@pytest.mark.parametrize(
    "mixes",
    [
        node("Split", "x", "y", axis=1),
        node("Softmax", "x", "y", axis=1),
        node("DepthToSpace", "x", "y", blocksize=2),
        node("ReduceMax", "x", "y", axes=[1]),
        node("Slice", "x", "y", "zero", "half", "one"),
        node("Reshape", "x", "y", "apart"),
        node("LRN", "x", "y", size=3),
        node("MatMul", "x", "y", "m"),
        node("Transpose", "x", "y", perm=[0, 2, 3, 1]),
    ],
    ids=lambda n: n.op_type,
)
def test_what_is_not_understood_pins_its_channels(mixes):
    constants = {
        "half": [4],
        "zero": [0],
        "one": [1],
        "apart": [1, 4, 2, 16, 16],
    }
    if mixes.op_type == "Split":
        mixes.output.append("unread")
    nodes = [conv("input", "w", "w0"), conv("w", "x", "w1"), mixes, node("ReduceSum", "y", "output")]
    if mixes.op_type == "Transpose":  # reads along another axis
        nodes[-1:] = [conv("y", "z", "w2"), node("ReduceSum", "z", "output")]
    constants = {k: np.array(v) for k, v in constants.items()}
    model = network(nodes, w0=(8, 3, 1, 1), w1=(8, 8, 1, 1), m=(16, 4), w2=(4, 16, 1, 1), **constants)
    pruned = prune_channels(model, 0.5, exclude=(), multiple=1)
    assert kept(pruned) == {"w": 4} and "x" in pinned(pruned)
    ort_outputs(pruned, image(1, 3, 16, 16))


PASSAGES = {
    "Flatten": [node("Flatten", "x", "y")],
    "Reshape": [node("Reshape", "x", "y", "flat")],
    "counted": [node("Reshape", "x", "y0", "counted"), node("Flatten", "y0", "y")],
    "Shape": [
        node("Shape", "x", "s"),
        node("Gather", "s", "s0", "index"),
        node("Unsqueeze", "s0", "s1", "zero"),
        node("Concat", "s1", "s2", "rest", axis=0),
        node("Reshape", "x", "y", "s2"),
    ],
    "pools": [
        node("MaxPool", "x", "p", kernel_shape=[2, 2]),
        node("AveragePool", "p", "q", kernel_shape=[3, 3]),
        node("Pad", "q", "r", "pads"),
        node("Resize", "r", "t", "", "scales"),
        node("ReduceMean", "t", "u", axes=[2], keepdims=0),
        node("Transpose", "u", "v", perm=[0, 2, 1]),
        node("Clip", "v", "v1", "low"),
        node("PRelu", "v1", "v2", "slope"),
        node("ReduceMax", "v2", "y", axes=[1], keepdims=0),
    ],
    "squeezed": [
        node("GlobalMaxPool", "x", "p"),
        node("Squeeze", "p", "q", "sides"),
        node("MatMul", "q", "r", "square"),
        node("Add", "r", "s", "offset"),
        node("Unsqueeze", "s", "t", "sides"),
        node("Mul", "t", "u", "x"),
        node("GlobalAveragePool", "u", "v"),
        node("Flatten", "v", "y"),
    ],
    "Concat": [
        node("Concat", "x", "p", "x", axis=2),
        node("InstanceNormalization", "p", "q", "slope", "offset"),
        node("Flatten", "q", "y"),
    ],
    "ConvTranspose": [node("ConvTranspose", "x", "p", "up", "offset"), node("Flatten", "p", "y")],
}


@pytest.mark.parametrize("name", PASSAGES)
@pytest.mark.parametrize("batch", [2, "batch"])
def test_channels_pass(name, batch):
    size = 3 if name in ("Flatten", "Reshape", "counted", "Shape") else 6
    inner = {"pools": 8, "squeezed": 8, "Concat": 8 * 72, "ConvTranspose": 8 * 36}.get(name, 8 * 9)
    nodes = [conv("input", "x", "w0"), *PASSAGES[name], node("Gemm", "y", "output", "w", transB=1)]
    f = np.float32
    constants = {
        "flat": np.array([0, -1]), "counted": np.array([-1, 8, 9]), "index": np.array(0), "zero": np.array([0]),
        "rest": np.array([-1]), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "scales": np.array([1, 1, 2, 2], f),
        "low": np.array(-0.5, f), "slope": np.linspace(1, 2, 8, dtype=f), "offset": np.linspace(2, 3, 8, dtype=f),
        "sides": np.array([2, 3]), "square": (8, 8), "up": (8, 8, 1, 1),
    }  # fmt: skip
    model = network(nodes, (batch, 3, size, size), w0=(8, 3, 1, 1), w=(5, inner), **constants)
    pruned = takes_any_half(model, image(2, 3, size, size))
    assert shape(pruned, "w") == (5, inner // 2)


def test_old_models_and_constant_nodes_are_read():
    w = numpy_helper.from_array(RNG(0).standard_normal((8, 3, 1, 1)).astype(np.float32))
    nodes = [
        helper.make_node("Constant", [], ["w0"], value=w),
        conv("input", "x", "w0"),
        node("Squeeze", "x", "y", axes=[3]),
        node("ReduceMean", "y", "z", axes=[2], keepdims=0),
        node("Gemm", "z", "output", "w1", "b1"),
    ]
    model = network(nodes, (1, 3, 4, 1), opset=11, w1=(8, 5), b1=(5,))
    takes_any_half(model, image(1, 3, 4, 1))


def test_weights_of_other_floats_keep_their_type():
    nodes = [
        node("Cast", "input", "i", to=TensorProto.FLOAT16),
        conv("i", "x", "w0"),
        conv("x", "y", "w1"),
        node("Cast", "y", "output", to=TensorProto.FLOAT),
    ]
    w0, w1 = (RNG(0).standard_normal(s).astype(np.float16) for s in ((8, 3, 1, 1), (4, 8, 1, 1)))
    pruned = prune_channels(network(nodes, w0=w0, w1=w1), 0.5, exclude=(), multiple=1)
    assert g.constants(pruned)["w0"].data_type == TensorProto.FLOAT16 and shape(pruned, "w0") == (4, 3, 1, 1)


def test_excluded_nodes_keep_the_channels_they_make():
    model = zoo.mobilenetv2(width=0.35, resolution=SIZE, classes=10)
    pruned = prune_channels(model, 0.5, exclude=["blocks.2.expand.conv"])
    assert pinned(pruned)["blocks.2.depthwise.conv"] == "node 'blocks.2.expand.conv' is excluded"
    assert "stem.conv" in kept(pruned) and "blocks.2.expand.conv" not in kept(pruned)


def test_arguments_and_models_that_do_not_fit_are_refused():
    model = residual()
    for sparsity in (-0.1, 1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="sparsity must be in"):
            prune_channels(model, sparsity)
    with pytest.raises(ValueError, match="scope must be"):
        prune_channels(model, 0.5, scope="all")
    with pytest.raises(ValueError, match="multiple must be"):
        prune_channels(model, 0.5, multiple=0)
    with pytest.raises(ValueError, match="no node 'nowhere'"):
        prune_channels(model, 0.5, exclude=["nowhere"])
    with pytest.raises(ModelError, match="nothing to prune.*graph output"):
        prune_channels(network([conv("input", "output", "w")], w=(8, 3, 1, 1)), 0.5, exclude=())
    with pytest.raises(ModelError, match="nothing to prune.*'s' is excluded"):
        prune_channels(model, 0.5, exclude=["s"])
    with pytest.raises(ValueError, match="no samples"):
        prune_channels(model, 0.5, exclude=(), calibration=[])
    quantized = quantize(zoo.mobilenetv1(width=0.25, resolution=SIZE, classes=10), [image()["input"]])
    with pytest.raises(ModelError, match="node 'input.quantize' .QuantizeLinear.: the model is quantized"):
        prune_channels(quantized, 0.5)


def test_the_model_given_stays_as_it_is():
    model = residual()
    before = model.SerializeToString()
    prune_channels(model, 0.5, exclude=(), calibration=[image(1, 3, 16, 16)["input"]] * 3)
    assert model.SerializeToString() == before
