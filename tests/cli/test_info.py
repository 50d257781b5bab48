import numpy as np
import onnx

import pycompress


def test_a_model_s_inputs_operators_weights_and_work(files, command):
    r = command("info", files / "net.onnx", "--json")
    model = onnx.load(files / "net.onnx")
    assert r["inputs"] == [{"name": "input", "dtype": "float32", "shape": [1, 3, 48, 48]}]
    assert r["opset"] == {"ai.onnx": 17}
    assert sum(r["operators"].values()) == len(model.graph.node) == r["nodes"]
    elements = sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    assert r["weights"]["float32"]["elements"] == elements
    assert r["weights"]["float32"]["bytes"] == 4 * elements
    assert r["bytes"] == (files / "net.onnx").stat().st_size


def test_multiply_accumulates_are_those_of_the_convolutions(files, command):
    model = onnx.shape_inference.infer_shapes(onnx.load(files / "net.onnx"))
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    weights = {t.name: list(t.dims) for t in model.graph.initializer}
    macs = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            macs += int(np.prod(shapes[node.output[0]])) * int(np.prod(weights[node.input[1]][1:]))
        elif node.op_type == "Gemm":
            macs += int(np.prod(weights[node.input[1]]))
    assert command("info", files / "net.onnx", "--json")["macs"] == macs


def test_a_model_that_cannot_be_planned_is_still_described(tmp_path, command):
    node = onnx.helper.make_node("NonZero", ["x"], ["y"], name="nz")
    ports = [onnx.helper.make_tensor_value_info(n, t, [2, 2]) for n, t in (("x", 1), ("y", 7))]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    r = command("info", tmp_path / "m.onnx", "--json")
    assert r["macs"] is None and "NonZero" in r["macs_unknown"]
    assert "unknown (" in command("info", tmp_path / "m.onnx")


def test_a_plan_s_programs_kernels_and_labels(files, command):
    r = command("info", files / "images.plan.safetensors", "--json")
    (program,) = r["programs"]
    assert program["inputs"] == [{"name": "input", "dtype": "u8", "shape": [1, 48, 48, 3]}]
    assert sum(program["kernels"].values()) == program["steps"]
    assert set(program["kernels"]) <= set(r["kernel_versions"])
    assert r["labels"] == 10 and r["provenance"]["graph"] == "mobilenetv2"
    assert r["weights"]["f32"]["bytes"] > 0
    text = command("info", files / "images.plan.safetensors")
    assert "program 0" in text and "10 names" in text


def test_open_dimensions_come_from_shape(command):
    r = command("info", "zoo:mobilenetv1,width=0.25,resolution=None", "--json", "--shape", "1x3x64x64")
    assert r["macs"] > 0
    assert command("info", "zoo:mobilenetv1,width=0.25,resolution=None", "--json")["macs"] is None


def test_layers_with_zeros_are_listed_with_the_pattern_found(files, tmp_path, command):
    assert command("info", files / "net.onnx", "--json")["sparse_layers"] == []
    onnx.save(pycompress.prune(files / "net.onnx", None, pattern="2:4"), tmp_path / "p.onnx")
    r = command("info", tmp_path / "p.onnx", "--json")
    assert {x["pattern"] for x in r["sparse_layers"] if x["inputs"] >= 16} == {"2:4"}
    assert r["plan_bytes"] > 0 and r["bytes"] == (tmp_path / "p.onnx").stat().st_size
    text = command("info", tmp_path / "p.onnx")
    assert "2:4" in text and "as a plan: " in text
