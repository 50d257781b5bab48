import numpy as np
from onnx import helper

import pycompress as pc
from oracle import as_model
from pycompress.compress.calibration.engine import runner


def test_equal_weights_that_nobody_looks_for_give_the_same_answers_for_all_shapes():
    w = np.random.default_rng(0).standard_normal((64, 64)).astype("f4")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    model = as_model(nodes, {"x": np.zeros((1, 64), "f4"), "w": w, "v": w.copy()}, ["y"], ("w", "v"), opset=17)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    run, session = runner(model), pc.InferenceSession(model)
    for n in (1, 3, 1, 40):
        x = np.random.default_rng(n).standard_normal((n, 64)).astype("f4")
        np.testing.assert_array_equal(run(["y"], {"x": x})[0], session.run(None, {"x": x})[0])
