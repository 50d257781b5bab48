"""A program of a user: never run, only checked by mypy --strict in test_types.py.

Each `type: ignore` marks a mistake that must be seen: mypy reports those that it does not need.
"""

import numpy as np
import onnx
from typing_extensions import assert_type

import pycompress as pc
import pycompress.ort as ort
from pycompress import layers, native

Array = np.ndarray

x = np.zeros((1, 3, 32, 32), np.float32)
model = pc.zoo.mobilenetv2(width=0.5, resolution=32)
assert_type(model, onnx.ModelProto)

# Passes keep their signatures under their decorators.
pruned = pc.prune(model, 0.5, pattern="1x4", calibration=[x], progress=lambda done, total: None)
assert_type(pruned, onnx.ModelProto)
pc.prune(model, "half")  # type: ignore[arg-type]
pc.prune(model, 0.5, scop="layer")  # type: ignore[call-arg]
pc.prune(model)  # type: ignore[call-arg]
assert_type(pc.quantize("model.onnx", ({"input": x} for _ in range(3)), weights=4), onnx.ModelProto)
pc.quantize(model)  # type: ignore[call-arg]
pc.quantize(model, [x], group_size="32")  # type: ignore[arg-type]
assert_type(pc.factorize(model, rank={"fc": 8}), onnx.ModelProto)
assert_type(pc.recertify(model), onnx.ModelProto)
assert_type(pc.cast(model, "bfloat16"), onnx.ModelProto)
assert_type(pc.sensitivity(model, [x], of="quantize", bits=(8,))[0]["errors"], dict[float, float])
assert_type(pc.tune(model, [x], min_snr=30, evaluate=None), pc.Tuned)
pc.tune(model)  # type: ignore[call-arg]
verdict = pc.verdict(model)
assert_type(verdict, pc.Verdict | None)
print(verdict.snr)  # type: ignore[union-attr]

# Plans and sessions.
plan = pc.compile(
    model, input_shapes=[(1, 3, 32, 32), (2, 3, 32, 32)], preprocess=pc.Preprocess(mean=127, std=(1, 2, 3))
)
assert_type(plan, pc.Plan)
assert_type(plan.labels, list[str] | None)
pc.compile(model, strict="yes")  # type: ignore[arg-type]
options = pc.SessionOptions(intra_op_num_threads=2)
assert_type(options.graph_optimization_level, ort.GraphOptimizationLevel)
with pc.InferenceSession(plan, options, providers=["CPUExecutionProvider"]) as session:
    assert_type(session, pc.InferenceSession)
    assert_type(session.run(None, {"input": x}), list[Array])
    assert_type(session.get_inputs()[0].shape, list[int | str | None])
    assert_type(session.explain()[0]["kernel"], str)
    assert_type(session.profile({"input": x})[0]["seconds"], float)
    session.run(3, {"input": x})  # type: ignore[arg-type]
assert_type(pc.advise(model).rows[0]["wins_from"], dict[str, float | None])
assert_type(pc.cpu_info()["kernels"], dict[str, str])
assert_type(pc.get_num_threads(), int)

# Without a model.
W = np.zeros((8, 16), np.float32)
for layer in (layers.HalfLinear.from_dense(W), layers.LowRankLinear.from_dense(W, rank=2)):
    assert_type(layer(W), Array)
assert_type(layers.SparseLinear.from_dense(W).density, float)
assert_type(layers.QuantizedLinear.from_dense(W, bits=4), layers.QuantizedLinear)
layers.QuantizedLinear.from_dense(W, bits="4")  # type: ignore[arg-type]
indices = np.zeros(1, np.int32)
assert_type(pc.spmm((np.array([0, 1]), indices, np.ones(1), (1, 1)), np.ones((1, 2))), Array)
assert_type(native.sgemm, native.Kernel)
assert_type(native.softmax(x=x, out=x, isa="avx2"), None)
assert_type(native.names(), tuple[str, ...])
assert_type(native.aligned((3, 4), np.float32), Array)

# Under onnxruntime's names.
drop_in = ort.InferenceSession("model.onnx")
assert_type(drop_in.run(["logits"], {"input": [1.0, 2.0]}), list[Array])
value = ort.OrtValue.ortvalue_from_numpy(x)
assert_type(value.shape(), list[int])
binding = drop_in.io_binding()
assert_type(binding, ort.IOBinding)
binding.bind_ortvalue_input("input", value)
assert_type(binding.copy_outputs_to_cpu(), list[Array])
assert_type(ort.get_available_providers(), list[str])
