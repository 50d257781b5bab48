import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import pycompress as pc  # noqa: E402
from pycompress import zoo  # noqa: E402
from pycompress.train import Twin  # noqa: E402

every = pytest.mark.parametrize("name", zoo.names())


def images(count=2, size=48):
    return np.random.default_rng(0).standard_normal((count, 3, size, size), np.float32)


def answer(model, x):
    return pc.InferenceSession(model).run(None, {"input": x})[0]


def build(name="mobilenetv2", **options):
    return zoo.build(name, **{"width": 0.25, "resolution": 48, "batch": None, "classes": 10, **options})


@every
@pytest.mark.parametrize("batchnorm", [True, False])
def test_networks_become_twins_and_onnx_again(name, batchnorm):
    x, model = images(), build(name, batchnorm=batchnorm)
    twin = Twin(model).eval()
    with torch.no_grad():
        mine = twin(torch.from_numpy(x)).numpy()
    expected = answer(model, x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(mine, expected, atol=1e-5 * scale, rtol=1e-5)
    np.testing.assert_allclose(answer(twin.onnx(), x), expected, atol=1e-6 * scale)


def steps(twin, count=3, rate=0.05):
    """Trains a few steps on noise; returns the losses."""
    x, labels = torch.from_numpy(images(8)), torch.arange(8) % 4
    optimizer, losses = torch.optim.SGD(twin.parameters(), rate), []
    twin.train()
    for _ in range(count):
        loss = torch.nn.functional.cross_entropy(twin(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    twin.eval()
    return losses


@every
def test_a_trained_twin_leaves_as_the_network_it_has_become(name):
    x, twin = images(), Twin(build(name))
    before = twin.eval()(torch.from_numpy(x)).detach()
    losses = steps(twin)
    assert losses[-1] < losses[0]
    after = twin(torch.from_numpy(x)).detach()
    assert (after - before).abs().max() > 1e-3
    np.testing.assert_allclose(answer(twin.onnx(), x), after.numpy(), atol=1e-5 * after.abs().max(), rtol=1e-5)


def test_statistics_follow_the_data_unless_they_are_frozen():
    twin = Twin(build())
    name = "t_stem__bn__running_mean"
    before = getattr(twin, name).clone()
    twin.frozen_statistics = True
    steps(twin, 1, 0.0)
    assert torch.equal(getattr(twin, name), before)
    twin.frozen_statistics = False
    steps(twin, 1, 0.0)
    assert not torch.equal(getattr(twin, name), before)


def test_layers_say_what_they_are():
    layers = {layer.node: layer for layer in Twin(build()).layers}
    assert layers["stem.conv"].kind == "conv" and not layers["stem.conv"].pointwise
    assert layers["blocks.1.depthwise.conv"].kind == "depthwise"
    assert layers["blocks.1.expand.conv"].pointwise and layers["blocks.1.expand.conv"].rows == 0
    assert layers["classifier"].kind == "linear" and layers["classifier"].weight == "classifier.weight"
    assert layers["classifier"].parameter.shape == (10, 1280)


def test_every_parameter_is_in_one_group():
    twin = Twin(build())
    groups = twin.groups()
    assert sum(map(len, groups.values())) == len(list(twin.parameters()))
    assert len(groups["weights"]) == len(twin.layers)
    assert all(p.ndim == 1 for p in groups["norms"] + groups["biases"])


def test_masked_weights_stay_exactly_zero_and_masks_survive_saving():
    twin = Twin(build())
    layer = next(layer for layer in twin.layers if layer.pointwise)
    twin.masks[layer.weight] = torch.rand_like(layer.parameter) < 0.3
    steps(twin)
    again = Twin(build())
    again.load_state_dict(twin.state_dict())
    assert list(again.masks) == [layer.weight]
    for one in (twin, again):
        from onnx import numpy_helper

        (tensor,) = [t for t in one.onnx().graph.initializer if t.name == layer.weight]
        assert np.array_equal(numpy_helper.to_array(tensor) != 0, twin.masks[layer.weight].numpy() > 0)
    again.load_state_dict(Twin(build()).state_dict())
    assert not again.masks


def test_masks_that_do_not_fit_are_refused():
    twin = Twin(build())
    with pytest.raises(KeyError, match="no weight 'nothing'"):
        twin.masks["nothing"] = torch.ones(1)
    with pytest.raises(ValueError, match="has shape"):
        twin.masks["classifier.weight"] = torch.ones(3)
    with pytest.raises(ValueError, match="0 and 1 only"):
        twin.masks["classifier.weight"] = torch.full((10, 1280), 0.5)


def test_intermediate_tensors_can_be_kept():
    twin = Twin(build()).eval()
    _, kept = twin(torch.from_numpy(images()), keep=["stem.act.out", "input"])
    assert kept["stem.act.out"].shape == (2, 8, 24, 24) and kept["input"].shape[0] == 2
    with pytest.raises(KeyError, match="no tensor 'nowhere'"):
        twin(torch.from_numpy(images()), keep=["nowhere"])


def test_a_copy_trains_apart():
    import copy

    twin = Twin(build())
    other = copy.deepcopy(twin)
    before = twin.layers[0].parameter.detach().clone()
    steps(other, 1)
    assert torch.equal(twin.layers[0].parameter, before)
    assert not torch.equal(other.layers[0].parameter, before)


def test_a_model_for_one_image_trains_on_batches():
    assert Twin(build(batch=1))(torch.zeros(3, 3, 48, 48)).shape == (3, 10)


def test_pretrained_weights_load():
    try:
        model = zoo.efficientnet_lite0(pretrained=True, resolution=64, batch=None)
    except ModuleNotFoundError:
        pytest.skip("the package with EfficientNet-Lite0's weights is not installed")
    x = images(2, 64)
    with torch.no_grad():
        mine = Twin(model).eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(mine, answer(model, x), atol=1e-5 * np.abs(mine).max())


def test_a_model_for_one_image_may_put_other_things_than_images_first():
    nodes = [("Reshape", ["x", "tokens"], "t", {}), ("Relu", ["t"], "r", {}), ("Reshape", ["r", "image"], "y", {})]
    model = graph(*nodes, shape=(1, 4, 6, 6), tokens=np.array([4, 9, 4]), image=np.array([1, 4, 9, -1]))
    x = images(1, 6)[:, [0, 1, 2, 0]]
    np.testing.assert_array_equal(Twin(model)(torch.from_numpy(x)).numpy(), answer_of(model, x))


def test_what_compression_makes_becomes_a_twin():
    x, model = images(4), build(batchnorm=False)
    for made in (pc.factorize(model, ratio=0.5), pc.prune(model, calibration=x, sparsity=0.5)):
        with torch.no_grad():
            mine = Twin(made).eval()(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(mine, answer(made, x), atol=2e-5 * np.abs(mine).max())


def graph(*nodes, shape=("n", 4, 6, 6), **constants):
    """A model of `nodes` (operator, inputs, output, attributes) from x to y."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made = [helper.make_node(op, i, [o], name=f"{op}_{o}", **more) for op, i, o, more in nodes]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    values = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    return helper.make_model(
        helper.make_graph(made, "g", ports[:1], ports[1:], values), opset_imports=[onnx.helper.make_opsetid("", 21)]
    )


f32, i64 = np.float32, np.int64
CASES = {
    "asymmetric pads": [("Conv", ["x", "w"], "y", {"pads": [0, 1, 2, 1], "strides": [2, 2]})],
    "same lower": [("Conv", ["x", "w"], "y", {"auto_pad": "SAME_LOWER", "strides": [2, 2]})],
    "average": [("AveragePool", ["x"], "y", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]})],
    "average counted": [("AveragePool", ["x"], "y", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1})],
    "maximum": [("MaxPool", ["x"], "y", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]})],
    "maximum of windows that begin inside": [("MaxPool", ["x"], "y", {"kernel_shape": [2, 3], "pads": [1, 0, 1, 2], "strides": [2, 3], "ceil_mode": 1})],
    "average of windows that begin inside": [("AveragePool", ["x"], "y", {"kernel_shape": [2, 3], "pads": [1, 0, 1, 2], "strides": [2, 3], "ceil_mode": 1})],
    "mean, squeeze, gemm": [
        ("ReduceMean", ["x", "spatial"], "m", {}), ("Squeeze", ["m", "spatial"], "s", {}), ("Gemm", ["s", "v", "b"], "y", {"alpha": 2.0, "beta": 0.5}),
    ],
    "reshape, matmul, add": [
        ("ReduceMean", ["x", "spatial"], "m", {}), ("Reshape", ["m", "flat"], "s", {}), ("MatMul", ["s", "v"], "t", {}), ("Add", ["t", "b"], "y", {}),
    ],
    "swish": [("Sigmoid", ["x"], "s", {}), ("Mul", ["s", "x"], "y", {})],
    "hard sigmoid": [("HardSigmoid", ["x"], "y", {})],
    "pad, transpose": [("Pad", ["x", "pads"], "p", {}), ("Transpose", ["p"], "y", {"perm": [0, 2, 3, 1]})],
    "concat, softmax": [("Concat", ["x", "x"], "c", {"axis": 1}), ("Softmax", ["c"], "y", {"axis": 1})],
    "computed shape": [
        ("Shape", ["x"], "n", {}), ("Slice", ["n", "zero", "one"], "b", {}), ("Concat", ["b", "rest"], "t", {"axis": 0}), ("Reshape", ["x", "t"], "y", {}),
    ],
    "relu, clip": [("Relu", ["x"], "r", {}), ("Clip", ["r", "", "six"], "y", {})],
    "transposed": [("ConvTranspose", ["x", "up", "k"], "y", {"strides": [2, 2], "pads": [0, 1, 1, 1], "output_padding": [1, 0]})],
    "layer norm": [("LayerNormalization", ["x", "g6", "b6"], "y", {"epsilon": 1e-3})],
    "instance norm": [("InstanceNormalization", ["x", "g", "k"], "y", {})],
    "group norm": [("GroupNormalization", ["x", "g", "k"], "y", {"num_groups": 2})],
    "norm of each image": [
        ("ReduceL2", ["x", "spatial"], "n", {"keepdims": 1}), ("Div", ["x", "n"], "d", {}), ("ReduceMax", ["d", "one"], "y", {"keepdims": 0}),
    ],
    "depth to space": [("DepthToSpace", ["x"], "d", {"blocksize": 2, "mode": "CRD"}), ("SpaceToDepth", ["d"], "s", {"blocksize": 3}), ("DepthToSpace", ["s"], "y", {"blocksize": 3})],
    "twice as large": [("Resize", ["x", "", "twice"], "y", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})],
    "larger by sizes": [("Resize", ["x", "", "", "nine"], "y", {"mode": "linear", "coordinate_transformation_mode": "align_corners", "keep_aspect_ratio_policy": "stretch"})],
    "smaller": [("Resize", ["x", "", "", "cells"], "y", {"mode": "linear", "axes": [2, 3], "antialias": 1})],
    "cubic": [("Resize", ["x", "", "twice"], "y", {"mode": "cubic", "exclude_outside": 1})],
    "reflected": [("Pad", ["x", "ends", "", "spatial"], "y", {"mode": "reflect"})],
    "repeated edge": [("Pad", ["x", "ends", "", "spatial"], "y", {"mode": "edge"})],
    "attention": [("Einsum", ["x", "x"], "e", {"equation": "nchw,nchv->nhwv"}), ("Tile", ["e", "times"], "y", {})],
    "padded as its size asks": [
        ("Shape", ["x"], "n", {}), ("Gather", ["n", "at"], "h", {}), ("Cast", ["h"], "f", {"to": 1}), ("Div", ["f", "four"], "q", {}), ("Ceil", ["q"], "c", {}),
        ("Cast", ["c"], "i", {"to": 7}), ("Mul", ["i", "four64"], "t", {}), ("Sub", ["t", "h"], "d", {}), ("Div", ["d", "two"], "half", {}),
        ("Unsqueeze", ["half", "zero"], "u", {}), ("Concat", ["u", "u", "u", "u"], "p", {"axis": 0}), ("Pad", ["x", "p", "", "spatial"], "y", {}),
    ],
    "windows": [("Reshape", ["x", "parts"], "p", {}), ("Relu", ["p"], "r", {}), ("Reshape", ["r", "whole"], "y", {})],
    "masked": [("Greater", ["x", "six"], "m", {}), ("Not", ["m"], "o", {}), ("Where", ["o", "x", "six"], "kept", {}), ("IsNaN", ["kept"], "none", {}), ("Where", ["none", "six", "kept"], "y", {})],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operators_do_what_the_engine_does(case):
    rng = np.random.default_rng(1)
    used = {i for _, inputs, _, _ in CASES[case] for i in inputs}
    given = {
        "w": rng.standard_normal((5, 4, 3, 3)).astype(f32), "v": rng.standard_normal((4, 7)).astype(f32), "b": rng.standard_normal(7).astype(f32),
        "spatial": np.array([2, 3]), "flat": np.array([0, -1]), "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2]), "zero": np.array([0]),
        "one": np.array([1]), "rest": np.array([-1]), "six": f32(0.6), "at": np.int64(2), "four": f32(4), "four64": np.int64(4), "two": np.int64(2),
        "up": rng.standard_normal((4, 5, 3, 3)).astype(f32), "k": rng.standard_normal(4 if "norm" in case else 5).astype(f32),
        "g": rng.standard_normal(4).astype(f32), "g6": rng.standard_normal(6).astype(f32), "b6": rng.standard_normal(6).astype(f32),
        "twice": np.array([1, 1, 2, 2], f32), "nine": np.array([3, 4, 9, 11]), "cells": np.array([4, 3]), "ends": np.array([1, 2, 0, 3]),
        "times": np.array([1, 2, 1, 1]), "parts": np.array([-1, 4, 9]), "whole": np.array([3, 4, 6, 6]),
    }  # fmt: skip
    if case == "computed shape":
        used.discard("b")
    model = graph(*CASES[case], **{n: v for n, v in given.items() if n in used})
    x = rng.standard_normal((3, 4, 6, 6)).astype(f32)
    mine = Twin(model)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(mine, answer_of(model, x), atol=1e-5)


def answer_of(model, x):
    return pc.InferenceSession(model).run(None, {"x": x})[0]


def test_equal_parts_are_as_many_as_the_outputs():
    model = graph(("Split", ["x"], "a", {"axis": 1}), ("Sub", ["a", "b"], "y", {}))
    model.graph.node[0].output.append("b")
    model.opset_import[0].version = 17
    x = images(2, 6)[:, [0, 1, 2, 0]]
    np.testing.assert_array_equal(Twin(model)(torch.from_numpy(x)).numpy(), answer_of(model, x))


def test_what_cannot_be_trained_is_named():
    with pytest.raises(NotImplementedError, match=r"node 'Det_y' \(Det\): training does not support this operator"):
        Twin(graph(("Det", ["x"], "y", {})))
    with pytest.raises(NotImplementedError, match="node 'GridSample_y'"):
        Twin(graph(("GridSample", ["x", "s"], "y", {}), s=np.zeros((3, 2, 2, 2), f32)))


def test_weights_that_are_not_finite_do_not_leave():
    twin = Twin(build())
    with torch.no_grad():
        twin.layers[0].parameter[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="'stem.conv.weight' is not finite"):
        twin.onnx()
