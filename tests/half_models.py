"""Float models turned into models of half floats, as onnxconverter-common and torch's exporter make them."""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


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
