"""Small models of the kinds that people have; what a fuzzer changes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

import pycompress as pc

HEAD = '<ir_version: 10, opset_import: ["" : 20]>'
MODELS = {
    "convolutions": """g (float[1,3,13,13] x) => (float[1,5] y) {
        a = Conv <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (x, w8_3_3_3, b8)
        b = Clip (a, zero, six)
        c = Conv <group = 8, kernel_shape = [3,3], dilations = [2,2], pads = [2,2,2,2]> (b, w8_1_3_3)
        d = BatchNormalization <epsilon = 0.001> (c, s8, b8, b8, v8)
        e = Add (b, d)
        f = MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (e)
        h = ConvTranspose <kernel_shape = [2,2], strides = [2,2]> (f, w8_4_2_2)
        i = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (h, , scales)
        j = Pad <mode = "reflect"> (i, pads)
        k = AveragePool <kernel_shape = [3,3], count_include_pad = 1, pads = [1,1,1,1]> (j)
        l = GlobalAveragePool (k)
        m = Flatten <axis = 1> (l)
        y = Gemm <transB = 1, alpha = 0.5> (m, w5_4, b5)
    }""",
    "attention": """g (float[2,6,8] x, int64[2,3] i) => (float[2,6,8] y, float z) {
        n = LayerNormalization <axis = -1> (x, s8, b8)
        q = MatMul (n, w8_8)
        q4 = Reshape (q, split)
        t = Transpose <perm = [0,2,1,3]> (q4)
        u = Transpose <perm = [0,2,3,1]> (q4)
        a = MatMul (t, u)
        s = Softmax <axis = -1> (a)
        o = MatMul (s, t)
        p = Transpose <perm = [0,2,1,3]> (o)
        r = Reshape (p, joined)
        h = Gelu (r)
        y = Add (h, x)
        e = Gather <axis = 0> (w5_4, i)
        m = ReduceMean <keepdims = 0> (e)
        c = Cast <to = 1> (m)
        z = Sqrt (c)
    }""",
    "movement": """g (float[2,6,8] x, int64[2,4] k) => (float[2,3,16] y, int64[2,4] z, bool[2,6,8] b) {
        s = Slice (x, starts, ends, axes)
        t, u = Split <axis = 2, num_outputs = 2> (s)
        c = Concat <axis = 2> (t, u, t, u)
        v = Unsqueeze (c, axes)
        w = Squeeze (v, axes)
        d = Expand (w, wide)
        y = Where (cond, d, d)
        b = Greater (x, zero)
        m = Mul (k, k)
        a = ArgMax <axis = 1, keepdims = 1> (k)
        n = Sub (m, a)
        z = CumSum (n, one)
    }""",
    "recurrent": """g (float[5,1,4] x) => (float[5,1,1,3] y, float[1,1,3] h) {
        y, h = LSTM <hidden_size = 3, direction = "forward"> (x, w1_12_4, w1_12_3, b1_24)
    }""",
}
VALUES = {
    "zero": np.float32(0), "six": np.float32(6), "one": np.int64(1), "cond": np.array([True] * 16),
    "scales": np.array([1, 1, 2, 2], np.float32), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    "split": np.array([0, 0, 2, 4], np.int64), "joined": np.array([2, 6, -1], np.int64),
    "starts": np.array([1], np.int64), "ends": np.array([4], np.int64), "axes": np.array([1], np.int64),
    "wide": np.array([2, 3, 16], np.int64),
}  # fmt: skip


def _model(text: str) -> onnx.ModelProto:
    """The model of `text`; a name like w8_3 that nothing computes is a random float[8,3], v8 a positive one."""
    model = parser.parse_model(HEAD + text)
    made = {name for node in model.graph.node for name in node.output} | {port.name for port in model.graph.input}
    rng = np.random.default_rng(0)
    for name in sorted({name for node in model.graph.node for name in node.input if name} - made):
        if name in VALUES:
            x = np.asarray(VALUES[name])
        else:
            x = rng.standard_normal([int(d) for d in name[1:].split("_")]).astype(np.float32)
            x = abs(x) + 1 if name[0] == "v" else x
        model.graph.initializer.append(numpy_helper.from_array(x, name))
    return model


def models() -> dict[str, onnx.ModelProto]:
    """The models, and the first one quantized to 8 bits, and with half the bits."""
    found = {name: _model(text) for name, text in MODELS.items()}
    plain = found["convolutions"]
    samples = [np.random.default_rng(i).standard_normal((1, 3, 13, 13)).astype(np.float32) for i in range(4)]
    found["int8"] = pc.quantize(plain, samples)
    found["half"] = pc.cast(plain, "float16")
    return found


def networks() -> dict[str, onnx.ModelProto]:
    """Whole networks, narrow ones: in float, with batches of any size, and on 8 bits."""
    plain = pc.zoo.build("mobilenetv1", width=0.1, resolution=32, classes=4, batch=None)
    samples = [np.random.default_rng(i).standard_normal((1, 3, 32, 32)).astype(np.float32) for i in range(2)]
    squeezed = pc.zoo.build("mobilenetv3_small", width=0.1, resolution=32, classes=4)
    return {"network": plain, "network of codes": pc.quantize(squeezed, samples, judge=False)}


def plans(of: dict[str, onnx.ModelProto]) -> dict[str, bytes]:
    """The plans of models, as files; and the trained network of this package."""
    made = {name: pc.compile(model) for name, model in of.items() if "network" not in name}
    made["pixels"] = pc.compile(of["int8"], preprocess={"mean": 127, "std": 128})
    made["batches"] = pc.compile(of["network"], input_shapes=[(1, 3, 32, 32), (3, 3, 32, 32)])
    files = {name: b"".join(map(bytes, plan._chunks())) for name, plan in made.items()}
    return files | {"trained": pc.zoo.tiny().read_bytes()}
