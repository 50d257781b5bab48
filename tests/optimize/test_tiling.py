import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress import zoo
from pycompress._pcx import lib
from pycompress.optimize import tiling


def run(model, x, threads=1):
    options = pc.SessionOptions()
    options.intra_op_num_threads = threads
    session = pc.InferenceSession(pc.compile(model), options)
    return session.run(None, {session.get_inputs()[0].name: x})[0], session.explain()


def banded(monkeypatch, size):
    monkeypatch.setattr(tiling, "LARGE", 1)
    monkeypatch.setattr(tiling, "TILE", size)


def images(resolution, count=1):
    return np.random.default_rng(0).standard_normal((count, 3, resolution, resolution), np.float32)


@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("size", [1, 3000, 20000])
def test_tiles_do_not_change_a_byte(monkeypatch, precision, size):
    model = zoo.mobilenetv2(width=0.35, resolution=48, classes=10)
    if precision == "int8":
        model = pc.quantize(model, images(48, 4))
    x = images(48)
    wanted, whole = run(model, x)
    banded(monkeypatch, size)
    for threads in (1, 2, 3):
        got, cut = run(model, x, threads)
        np.testing.assert_array_equal(got, wanted)
    assert len(cut) > len(whole)
    assert sum(r["macs"] for r in cut) == sum(r["macs"] for r in whole)
    assert any("lines 0 to" in r["reason"] for r in cut)


def test_batches_are_not_cut_from_a_depthwise_convolution_on(monkeypatch):
    model = zoo.mobilenetv2(width=0.35, resolution=48, classes=10, batch=None)
    x = images(48, 3)
    wanted = np.concatenate([run(model, x[i : i + 1])[0] for i in range(3)])
    banded(monkeypatch, 3000)
    session = pc.InferenceSession(model)
    np.testing.assert_array_equal(session.run(None, {"input": x})[0], wanted)


@pytest.mark.parametrize("kernel,stride,pads,dilation", [
    (3, 1, (1, 1, 1, 1), 1), (3, 2, (0, 0, 1, 1), 1), (5, 2, (2, 2, 2, 2), 1), (5, 1, (4, 4, 0, 0), 1),
    (3, 1, (2, 2, 2, 2), 2), (2, 3, (0, 0, 0, 0), 1), (3, 1, (7, 1, 9, 1), 1),
])  # fmt: skip
@pytest.mark.parametrize("size", [1, 700])
def test_every_window_meets_its_lines(monkeypatch, kernel, stride, pads, dilation, size):
    rng, c = np.random.default_rng(0), 8
    weights = {
        "e": rng.standard_normal((c, 3, 1, 1), np.float32),
        "d": rng.standard_normal((c, 1, kernel, kernel), np.float32),
        "p": rng.standard_normal((5, c, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "e"], ["1"]),
        helper.make_node("Conv", ["1", "d"], ["2"], group=c, strides=[stride] * 2, pads=pads, dilations=[dilation] * 2),
        helper.make_node("Conv", ["2", "p"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 13, 11))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5, "h", "w"))],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    x = rng.standard_normal((1, 3, 13, 11), np.float32)
    wanted, whole = run(model, x)
    banded(monkeypatch, size)
    got, cut = run(model, x)
    np.testing.assert_array_equal(got, wanted)
    assert len(cut) > len(whole)


@pytest.mark.parametrize("rows", [(1, 7 * 9 * 8), (7, 9 * 8), (2 * 7 * 9, 4), (7 * 9, 8)])
@pytest.mark.parametrize("depthwise_first", [True, False])
def test_rows_of_a_product_that_are_no_pixels_wait_for_the_whole_image(monkeypatch, rows, depthwise_first):
    rng, (h, w, c) = np.random.default_rng(0), (7, 9, 8)
    weights = {"d": rng.standard_normal((c, 1, 3, 3), np.float32)}
    depthwise = dict(group=c, pads=[1, 1, 1, 1])
    if depthwise_first:
        shape_in, shape_out = (1, c, h, w), (rows[0], 6)
        weights |= {"p": rng.standard_normal((rows[1], 6), np.float32), "s": np.array(rows)}
        nodes = [
            helper.make_node("Conv", ["x", "d"], ["1"], **depthwise),
            helper.make_node("Transpose", ["1"], ["2"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", ["2", "s"], ["3"]),
            helper.make_node("MatMul", ["3", "p"], ["y"]),
        ]
    else:
        shape_in, shape_out = (rows[0], 5), (1, c, h, w)
        weights |= {"p": rng.standard_normal((5, rows[1]), np.float32), "s": np.array([1, h, w, c])}
        nodes = [
            helper.make_node("MatMul", ["x", "p"], ["1"]),
            helper.make_node("Reshape", ["1", "s"], ["2"]),
            helper.make_node("Transpose", ["2"], ["3"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["3", "d"], ["y"], **depthwise),
        ]
    graph = helper.make_graph(
        nodes,
        "flattened",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_out)],
        [numpy_helper.from_array(v, name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    x = rng.standard_normal(shape_in, np.float32)
    wanted, whole = run(model, x)
    banded(monkeypatch, 300)
    got, cut = run(model, x)
    np.testing.assert_array_equal(got, wanted)
    assert (len(cut) > len(whole)) == (rows == (h * w, c))


def test_tiles_pass_on_a_few_lines_at_a_time(monkeypatch):
    model = zoo.mobilenetv2(width=0.35, resolution=96, classes=10)
    whole = pc.compile(model)
    banded(monkeypatch, 1 << 15)
    assert lib.pcx_plan_arena(pc.compile(model).handle, 0) < lib.pcx_plan_arena(whole.handle, 0)
