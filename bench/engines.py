"""Calls to measure: our kernels without Python around them, and ONNX Runtime models of one node."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pycompress import native


def ours(name: str, isa: str, arguments: list):
    """A function of no arguments that runs the kernel once, on this thread, its weights prepared."""
    return getattr(native, name).ready(*arguments, isa=isa)


def isas(name: str) -> list[str]:
    """The kernel's implementations on this CPU, without scalar where there is a better one."""
    found = list(getattr(native, name).impls())
    return found[:-1] or found


def picked(name: str) -> str:
    """The implementation that dispatch takes."""
    kernel = getattr(native, name)
    chosen = kernel.impl()
    return next(isa for isa, impl in kernel.impls().items() if impl == chosen)


def one_node(layer, quantized: bool):
    """ONNX Runtime on one Conv or QLinearConv as `layer` has it, one thread."""
    import onnxruntime

    rng = np.random.default_rng(0)
    k = max(layer.kernel, 1)
    x = rng.standard_normal((1, layer.c, layer.h, layer.w), np.float32)
    w = rng.standard_normal((layer.n, layer.c // layer.groups, k, k), np.float32)
    b = rng.standard_normal(layer.n, np.float32)
    options = dict(
        kernel_shape=[k, k], strides=[layer.stride] * 2, group=layer.groups, pads=list(layer.pads), dilations=[1, 1]
    )
    if quantized:
        x = rng.integers(0, 256, x.shape).astype(np.uint8)
        constants = {
            "sx": np.float32(0.02), "zx": np.uint8(128), "w": rng.integers(-64, 65, w.shape).astype(np.int8),
            "sw": np.full(layer.n, 0.01, np.float32), "zw": np.zeros(layer.n, np.int8),
            "sy": np.float32(0.1), "zy": np.uint8(128), "b": (100 * b).astype(np.int32),
        }  # fmt: skip
        node = helper.make_node("QLinearConv", ["x", *constants], ["y"], **options)
    else:
        constants = {"w": w, "b": b}
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **options)
    kind = TensorProto.UINT8 if quantized else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, (1, layer.n, *layer.out))],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session_options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x})
