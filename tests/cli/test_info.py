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
    node = onnx.helper.make_node("RandomUniformLike", ["x"], ["y"], name="chance")
    ports = [onnx.helper.make_tensor_value_info(n, t, [2, 2]) for n, t in (("x", 1), ("y", 1))]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    r = command("info", tmp_path / "m.onnx", "--json")
    assert r["macs"] is None and "RandomUniformLike" in r["macs_unknown"]
    assert r["unsupported"] == [
        {"node": "chance", "op": "RandomUniformLike", "why": "operator 'RandomUniformLike' is not supported"}
    ]
    text = command("info", tmp_path / "m.onnx")
    assert "unknown (" in text and "node that is not supported" in text


def test_models_with_subgraphs_are_described_with_all_that_they_hold(tmp_path, command):
    helper = onnx.helper
    port = helper.make_tensor_value_info("x", 1, [4])
    weights = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w")
    branch = helper.make_graph([helper.make_node("Add", ["x", "w"], ["b"])], "b", [],
                               [helper.make_tensor_value_info("b", 1, [4])], [weights])  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch)
    inputs = [helper.make_tensor_value_info("c", 9, [1]), port]
    outputs = [helper.make_tensor_value_info("y", 1, None), helper.make_tensor_sequence_value_info("q", 1, None)]
    nodes = [node, helper.make_node("SplitToSequence", ["x"], ["q"], "split")]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    r = command("info", tmp_path / "m.onnx", "--json")
    assert r["operators"] == {"Add": 2, "If": 1, "SplitToSequence": 1} and r["weights"]["float32"]["elements"] == 8
    assert [(x["node"], x["op"]) for x in r["unsupported"]] == [("split", "SplitToSequence")]
    assert r["outputs"][1] == {"name": "q", "dtype": "sequence", "shape": None}
    assert "output y: float32[...]" in command("info", tmp_path / "m.onnx")


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


def test_shape_selects_programs_of_a_plan(tmp_path, command, refused):
    model = pycompress.zoo.mobilenetv1(width=0.25, resolution=None, classes=4)
    shapes = [(1, 3, 32, 32), (1, 3, 64, 64)]
    pycompress.compile(model, input_shapes=shapes).save(tmp_path / "p.plan.safetensors")
    assert len(command("info", tmp_path / "p.plan.safetensors", "--json")["programs"]) == 2
    (one,) = command("info", tmp_path / "p.plan.safetensors", "--shape", "1x3x64x64", "--json")["programs"]
    assert one["inputs"][0]["shape"] == [1, 3, 64, 64]
    assert "no program for" in refused("info", tmp_path / "p.plan.safetensors", "--shape", "3x3x32x32")


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


def test_weights_of_4_bits_are_told_as_such(tmp_path, command):
    rng = np.random.default_rng(0)
    codes = onnx.helper.make_tensor("codes", onnx.TensorProto.INT4, (64, 256), rng.integers(1, 8, 64 * 256))
    scale = onnx.numpy_helper.from_array(np.ones((2, 256), np.float32), "scale")
    packed = onnx.numpy_helper.from_array(rng.integers(0, 256, (32, 8, 16)).astype(np.uint8), "packed")
    scales = onnx.numpy_helper.from_array(np.ones((32, 8), np.float32), "scales")
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["codes", "scale"], ["w"], axis=0, block_size=32),
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="mm"),
        onnx.helper.make_node(
            "MatMulNBits", ["h", "packed", "scales"], ["y"], name="nb", domain="com.microsoft",
            N=32, K=256, bits=4, block_size=32, accuracy_level=4,
        ),
    ]  # fmt: skip
    ports = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [3, 64]), ("y", [3, 32]))]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:], [codes, scale, packed, scales])
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    pycompress.compile(model, int4_activations="dynamic").save(tmp_path / "m.plan.safetensors")
    weights = command("info", tmp_path / "m.onnx", "--json")["weights"]
    assert weights["int4"] == {"tensors": 1, "elements": 64 * 256, "bytes": 64 * 128, "zeros": 0, "sparsity": 0.0}
    assert (weights["uint4"]["elements"], weights["uint4"]["bytes"]) == (32 * 256, 32 * 128)
    weights = command("info", tmp_path / "m.plan.safetensors", "--json")["weights"]
    assert weights["u4"] == {"tensors": 2, "elements": 64 * 256 + 32 * 256, "bytes": 64 * 128 + 32 * 128}
    pycompress.Plan.load(tmp_path / "m.plan.safetensors").save(tmp_path / "slim", slim=True)
    weights = command("info", tmp_path / "slim", "--json")["weights"]
    assert weights["u4"] == {"tensors": 1, "elements": 64 * 256 + 32 * 256, "bytes": 64 * 128 + 32 * 128}


def test_a_slim_plan_is_described_as_the_one_with_notes(files, tmp_path, command):
    pycompress.Plan.load(files / "net.plan.safetensors").save(tmp_path / "slim", slim=True)
    whole, slim = (command("info", path, "--json") for path in (files / "net.plan.safetensors", tmp_path / "slim"))
    for key in ("programs", "kernel_versions", "isas", "provenance"):
        assert whole[key] == slim[key]
    assert whole["programs"][0]["macs"] > 0 and slim["bytes"] < whole["bytes"]
    assert "million multiply-accumulates" in command("info", tmp_path / "slim")
    assert "GMAC/s" in command("profile", tmp_path / "slim", "--runs", "1")
