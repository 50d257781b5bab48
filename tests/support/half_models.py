"""A small network, and float models converted to float16 or bfloat16, as onnxconverter-common and torch's exporter make them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def to_half(model: onnx.ModelProto, kind: int = TensorProto.FLOAT16) -> onnx.ModelProto:
    """A copy in which every float tensor is of `kind`: weights, inputs, outputs and all between."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    tensors = [*made.graph.initializer, *(a.t for n in made.graph.node for a in n.attribute if a.HasField("t"))]
    for t in tensors:
        if t.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):
                t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(dtype), t.name))
    for port in (*made.graph.input, *made.graph.output, *made.graph.value_info):
        if port.type.tensor_type.elem_type == TensorProto.FLOAT:
            port.type.tensor_type.elem_type = kind
    for node in made.graph.node:
        for a in node.attribute:
            if node.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
                a.i = kind
    return made


def network(rng=None, norm=True, channels=8) -> onnx.ModelProto:
    """x [1,3,6,6] to y [1,6]: convolution, batch norm, depthwise, 1x1, pooling, Gemm, MatMul of a transposed constant."""
    rng, c = rng or np.random.default_rng(0), channels
    w = {
        "w0": (c, 3, 3, 3), "w1": (c, 1, 3, 3), "w2": (24, c, 1, 1), "b2": (24,), "w3": (50, 24), "b3": (50,),
        "w4": (6, 50), "scale": (24,), "shift": (24,), "mean": (24,),
    }  # fmt: skip
    arrays = {name: (rng.standard_normal(shape) / 3).astype(np.float32) for name, shape in w.items()}
    arrays["var"] = rng.uniform(0.5, 2, 24).astype(np.float32)
    node = helper.make_node
    last = "n" if norm else "c"
    nodes = [
        node("Conv", ["x", "w0"], ["a"], pads=[1] * 4),
        node("Relu", ["a"], ["r"]),
        node("Conv", ["r", "w1"], ["d"], pads=[1] * 4, group=c),
        node("Conv", ["d", "w2", "b2"], ["c"], name="point"),
        *([node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"])] if norm else []),
        node("GlobalAveragePool", [last], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["g"], transB=1, name="gemm"),
        node("Transpose", ["w4"], ["t"], perm=[1, 0]),
        node("MatMul", ["g", "t"], ["y"], name="matmul"),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6])],
        [numpy_helper.from_array(x, n) for n, x in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
