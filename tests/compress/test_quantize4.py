import json
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress
from pycompress import zoo
from pycompress.compress.model import graph as g
from pycompress.compress.model.prepare import prepare
from pycompress.compress.quantization.int4 import METADATA
from pycompress.compress.quantization.round import fitted4, scaled4
from pycompress.compress.quantize import quantize
from pycompress.rounding import round_groups
from pycompress.zoo import photos

SIZE = 48


def answer(model, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"input": x})[0]


def samples(count, seed=0):
    return [photos.preprocess(c) for c in photos.crops(photos.CALIBRATION, count, seed, SIZE)]


def chain(depth=3, n=48, form="Conv"):
    """Layers of n x n, whose inputs are alike, with a Relu between; the first and last are no different."""
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((n // 4, n)) + 0.3
    nodes, tensors, x = [], [], "input"
    for i in range(depth):
        w = (rng.standard_normal((n, n)) / np.sqrt(n)).astype("f4")
        y = "output" if i == depth - 1 else f"h{i}"
        if form == "Conv":
            w, node = w[:, :, None, None], helper.make_node("Conv", [x, f"w{i}"], [f"y{i}"], name=f"c{i}")
        elif form == "Gemm":
            node = helper.make_node("Gemm", [x, f"w{i}"], [f"y{i}"], name=f"c{i}", transB=1)
        else:
            w, node = np.ascontiguousarray(w.T), helper.make_node("MatMul", [x, f"w{i}"], [f"y{i}"], name=f"c{i}")
        tensors.append(numpy_helper.from_array(w, f"w{i}"))
        nodes += [node, helper.make_node("Relu", [f"y{i}"], [y], name=f"r{i}")]
        x = y
    shape = ["b", n, 2, 2] if form == "Conv" else ["b", n]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = (rng.standard_normal((96, 4, n // 4)) @ mix).astype("f4")
    data = data.transpose(0, 2, 1).reshape(96, n, 2, 2) if form == "Conv" else data[:, 0]
    return model, data


def bits(model):
    return json.loads(g.metadata(model)[METADATA])["bits"]


def four_bit(model):
    """For each node with 4-bit weights: codes less their zero points, scales [n,groups,...], and the group."""
    values, made, found = g.constants(model), g.producers(model), {}
    for node in model.graph.node:
        dequantize = made.get(node.input[1]) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        if dequantize is None or values[dequantize.input[0]].data_type not in (TensorProto.INT4, TensorProto.UINT4):
            continue
        zero = 0
        if len(dequantize.input) > 2:
            zero = numpy_helper.to_array(values[dequantize.input[2]]).astype(int)
        cast = made[dequantize.input[1]]
        scale = numpy_helper.to_array(values[cast.input[0]])
        assert cast.op_type == "Cast" and scale.dtype == np.float16
        axis = g.attribute(dequantize, "axis")
        q = numpy_helper.to_array(values[dequantize.input[0]]).astype(int)
        found[node.name] = (q, scale.astype("f4"), zero, axis, g.attribute(dequantize, "block_size", 0))
    return found


def in_float(model):
    """`model` with float weights in the place of 4-bit ones."""
    own = onnx.ModelProto()
    own.CopyFrom(model)
    nodes = {n.name: n for n in own.graph.node}
    for name, (q, scale, zero, axis, block) in four_bit(model).items():
        if block:
            scale, zero = (
                np.repeat(np.broadcast_to(v, scale.shape), block, axis).take(range(q.shape[axis]), axis)
                for v in (scale, zero)
            )
        else:
            scale, zero = (
                np.broadcast_to(v, scale.shape).reshape([-1 if i == axis else 1 for i in range(q.ndim)])
                for v in (scale, zero)
            )
        nodes[name].input[1] = g.add_constant(own, f"{name}.float", ((q - zero) * scale).astype("f4"))
    made = g.producers(own)
    g.set_nodes(
        own,
        [
            n
            for n in own.graph.node
            if n.op_type != "Cast" and not (n.op_type == "DequantizeLinear" and n.input[1] in made)
        ],
    )
    g.drop_unused(own)
    return own


def error(model, quantized, x):
    wanted = answer(model, x)
    return np.square(answer(quantized, x) - wanted).mean() / wanted.var()


@pytest.mark.parametrize("form", ["Conv", "Gemm", "MatMul"])
@pytest.mark.parametrize("group", [32, 64, None])
@pytest.mark.parametrize("zero_points", [False, True])
def test_codes_are_in_range_and_mean_the_same_everywhere(form, group, zero_points):
    model, data = chain(form=form)
    quantized = quantize(model, data[:8], weights=4, group_size=group, first_last=4, zero_points=zero_points)
    onnx.checker.check_model(quantized, full_check=True)
    assert g.opset(quantized) >= 21 and set(bits(quantized).values()) == {4}
    layers = four_bit(quantized)
    assert len(layers) == 3
    for q, scale, _, _, block in layers.values():
        low = 0 if zero_points else -8
        assert low <= q.min() and q.max() <= low + 15 and (scale != 0).all()
        assert scale.size == 48 * (2 if group == 32 else 1) and block == (32 if group == 32 else 0)
    wanted = answer(in_float(quantized), data[-16:])
    step = 0.03 * np.abs(wanted).max()  # of an activation's grid, and ORT rounds MatMul's inputs to 8 bits once more
    assert np.abs(answer(quantized, data[-16:]) - wanted).max() < step
    assert np.abs(pycompress.InferenceSession(quantized).run(None, {"input": data[-16:]})[0] - wanted).max() < step


def test_fitted_rounding_beats_nearest_on_samples_that_calibration_did_not_see():
    model, data = chain()
    made = {r: quantize(model, data[:64], weights=4, first_last=4, rounding=r) for r in ("plain", "gptq")}
    assert error(model, made["gptq"], data[64:]) < 0.5 * error(model, made["plain"], data[64:])


def test_networks_keep_ends_depthwise_and_wide_kernels_at_eight():
    model = zoo.mobilenetv2(width=0.35, resolution=SIZE, classes=10)
    for ends in (8, 4):
        quantized = quantize(model, samples(2), weights=4, rounding="plain", first_last=ends)
        values, taken = g.constants(prepare(model)), bits(quantized)
        for node in prepare(model).graph.node:
            if node.name in taken:
                dims = values[node.input[1]].dims
                able = len(dims) == 2 or list(dims[2:]) == [1, 1]
                last = node.op_type == "Gemm" and ends == 8
                assert taken[node.name] == (4 if able and not last else 8)
        assert set(four_bit(quantized)) == {name for name, b in taken.items() if b == 4}
        assert "pycompress.accumulate" in g.metadata(quantized)


@pytest.mark.parametrize("group", [32, None])
@pytest.mark.parametrize("zero_points", [False, True])
def test_no_layer_of_a_network_runs_in_float(group, zero_points):
    model = zoo.mobilenetv1(width=0.5, resolution=SIZE, classes=10)
    options = dict(weights=4, group_size=group, rounding="plain", zero_points=zero_points, first_last=4)
    plan = pycompress.compile(quantize(model, samples(2), **options), strict=True)
    kernels = {row["kernel"] for row in pycompress.InferenceSession(plan).explain()}
    assert {"q4gemm", "qgemm", "qdwconv"} <= kernels and not kernels & {"sgemm", "hgemm", "sconv", "dwconv"}


def test_mixed_gives_four_bits_to_the_layers_whose_rounding_matters_least():
    model, data = chain(4)
    tensors = g.constants(model)
    w0, w1 = (numpy_helper.to_array(tensors[name]).copy() for name in ("w0", "w1"))
    w0[[0, 32]], w1[:, [0, 32]] = 0, 30  # always zero, and what it meets sets the scale of its group
    for name, w in (("w0", w0), ("w1", w1)):
        tensors[name].CopyFrom(numpy_helper.from_array(w, name))
    taken = bits(quantize(model, data[:16], weights="mixed", first_last=4, rounding="plain"))
    assert sorted(taken.values()) == [4, 4, 8, 8] and taken["c1"] == 8
    taken = bits(quantize(model, data[:16], weights="mixed", share=0.25, first_last=4, rounding="plain"))
    assert sorted(taken.values()) == [4, 8, 8, 8]


def test_mixed_weighs_damage_by_the_bytes_that_four_bits_save():
    wide, narrow = 96, 32
    rng = np.random.default_rng(2)
    sizes = [(narrow, narrow), (wide, narrow), (wide, wide), (narrow, wide)]
    nodes = [helper.make_node("Gemm", [f"x{i}", f"w{i}"], [f"x{i + 1}"], f"c{i}", transB=1) for i in range(4)]
    tensors = [
        numpy_helper.from_array(rng.standard_normal(s).astype("f4") / s[1] ** 0.5, f"w{i}") for i, s in enumerate(sizes)
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", narrow]) for n in ("x0", "x4")]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = rng.standard_normal((8, narrow)).astype("f4")
    for share in (0.3, 0.5, 0.9):
        taken = bits(quantize(model, data, weights="mixed", share=share, first_last=4, rounding="plain"))
        saved = sum(n * k for i, (n, k) in enumerate(sizes) if taken[f"c{i}"] == 4)
        assert saved >= 0.95 * share * sum(n * k for n, k in sizes)
        assert taken["c2"] == 4  # as damaging as the others, and by far the largest


def test_few_different_samples_are_pointed_out():
    model, data = chain()
    with pytest.warns(pycompress.CalibrationWarning, match="fitted to 2 different samples; give at least 32"):
        quantize(model, [data[:1], data[1:2], data[:1]], weights=4, first_last=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pycompress.CalibrationWarning)
        quantize(model, [data[:1]], weights=4, first_last=4, rounding="plain")
        quantize(model, [data[i : i + 1] for i in range(32)], weights=4, first_last=4)


def test_scales_fitted_to_codes_lower_the_error_that_the_fit_is_about():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 20)) @ rng.standard_normal((20, 80)) + 0.3 * rng.standard_normal((400, 80))
    h, w = np.cov(x.T).astype("f4"), rng.standard_normal((24, 80))
    for symmetric in (True, False):
        q = round_groups(w, 32, symmetric, h)
        better = scaled4(q, w, h)
        first, second, last = (
            ((d := one.dense() - w) @ h * d).sum() for one in (q, better, fitted4(w, h, 32, symmetric))
        )
        assert last < second < first
        assert np.array_equal(better.scale, better.scale.astype("f2").astype("f4")) and (better.w == q.w).all()


def test_a_dict_names_the_layers():
    model, data = chain()
    quantized = quantize(model, data[:8], weights={"c0": 4, "c1": 8})
    assert bits(quantized) == {"c0": 4, "c1": 8, "c2": 8}
    assert list(four_bit(quantized)) == ["c0"]


def test_eight_bits_need_no_new_opset():
    model, data = chain()
    quantized = quantize(model, data[:4])
    assert g.opset(quantized) == 17 and METADATA not in g.metadata(quantized)


def test_pruned_weights_stay_zero():
    model, data = chain()
    pruned = pycompress.prune(model, 0.5, exclude=[])
    for rounding in ("plain", "gptq"):
        quantized = quantize(pruned, data[:8], weights=4, first_last=4, rounding=rounding)
        for name, (q, *_) in four_bit(quantized).items():
            assert not q[numpy_helper.to_array(g.constants(pruned)[name.replace("c", "w")]) == 0].any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weights": 3}, "weights must be 8, 4, 'mixed' or a dict"),
        ({"weights": True}, "weights must be"),
        ({"weights": {"c0": 2}}, "weights must be"),
        ({"weights": {"nothing": 4}}, "no node 'nothing' with weights"),
        ({"group_size": 48}, "group_size must be 32, 64, 128 or None, got 48"),
        ({"rounding": "up"}, "rounding must be gptq or plain"),
        ({"share": 1}, r"share must be in \(0, 1\)"),
        ({"share": "half"}, r"share must be in \(0, 1\)"),
        ({"first_last": 2}, "first_last must be 8 or 4"),
    ],
)
def test_bad_arguments_are_named(options, message):
    model, data = chain()
    with pytest.raises(ValueError, match=message):
        quantize(model, data[:2], **({"weights": 4} | options))


def test_layers_that_cannot_have_four_bits_are_named():
    model = zoo.mobilenetv1(width=0.25, resolution=SIZE, classes=10)
    names = [n.name for n in prepare(model).graph.node if n.op_type == "Conv"]
    with pytest.raises(ValueError, match=f"node '{names[0]}' cannot have 4 bits: its kernel has more than one cell"):
        quantize(model, samples(1), weights={names[0]: 4})
    with pytest.raises(ValueError, match=f"node '{names[1]}' cannot have 4 bits: depthwise"):
        quantize(model, samples(1), weights={names[1]: 4})
    model, data = chain(1)
    with pytest.raises(ValueError, match="no layer can have 4 bits: 'c0': (first|classifier)"):
        quantize(model, data[:2], weights=4)
