"""Every kernel at a network's layer shapes, beside NumPy, SciPy and ONNX Runtime on one thread.

    pytest bench/bench_kernels.py [--network mobilenetv2] [-k product] [--benchmark-json FILE]

A group is a layer.  ``picked`` in the extra information marks the implementation that dispatch takes, ``gmacs`` is
billions of multiply-accumulates per second in the fastest round.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.sparse
from engines import isas, one_node, ours, picked
from threadpoolctl import threadpool_limits

from pycompress import native
from pycompress.kernels import module

SPARSITY = 0.8
KERNELS = native.names()


def measure(benchmark, call, group: str, macs: int = 0, **extra) -> None:
    """Run `call` for about a fifth of a second."""
    benchmark.group = group
    call()
    start = time.perf_counter()
    call()
    rounds = int(min(max(0.2 / max(time.perf_counter() - start, 1e-7), 5), 500))
    benchmark.pedantic(call, rounds=rounds, warmup_rounds=2)
    benchmark.extra_info |= extra
    if macs:
        benchmark.extra_info["gmacs"] = round(macs / benchmark.stats.stats.min / 1e9, 1)


def rng():
    return np.random.default_rng(0)


def of_kernels(*names: str):
    return [(name, isa) for name in names if name in KERNELS for isa in isas(name)]


@pytest.mark.parametrize("kernel,isa", of_kernels("sgemm", "qgemm"))
def test_product(benchmark, product, kernel, isa):
    m = product.out[0] * product.out[1]
    arguments = module(kernel).example(rng(), m, product.n, product.c)
    measure(
        benchmark, ours(kernel, isa, arguments), f"product {product}", product.macs, picked=isa == picked(kernel)
    )  # fmt: skip


def test_product_by_numpy(benchmark, product):
    a = rng().standard_normal((product.out[0] * product.out[1], product.c), np.float32)
    w = rng().standard_normal((product.c, product.n), np.float32)
    out = np.empty((len(a), product.n), np.float32)
    with threadpool_limits(1):
        measure(benchmark, lambda: np.matmul(a, w, out=out), f"product {product}", product.macs)


def test_product_by_scipy_csr(benchmark, product):
    """A weight of which four fifths are zero; gmacs counts the others."""
    dense = rng().standard_normal((product.n, product.c), np.float32)
    dense[rng().random(dense.shape) < SPARSITY] = 0
    w = scipy.sparse.csr_matrix(dense)
    columns = np.ascontiguousarray(rng().standard_normal((product.c, product.out[0] * product.out[1]), np.float32))
    macs = w.nnz * columns.shape[1]
    measure(benchmark, lambda: w @ columns, f"product {product}", macs, sparsity=SPARSITY)


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_product_by_onnxruntime(benchmark, product, quantized):
    pytest.importorskip("onnxruntime")
    measure(benchmark, one_node(product, quantized), f"product {product}", product.macs)


@pytest.mark.parametrize("kernel,isa", of_kernels("dwconv", "qdwconv"))
def test_depthwise(benchmark, depthwise, kernel, isa):
    k, s = depthwise.kernel, depthwise.stride
    arguments = module(kernel).example(
        rng(), 1, depthwise.h, depthwise.w, depthwise.c, kernel=(k, k), stride=(s, s), pads=depthwise.pads
    )
    measure(
        benchmark, ours(kernel, isa, arguments), f"depthwise {depthwise}", depthwise.macs, picked=isa == picked(kernel)
    )  # fmt: skip


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_depthwise_by_onnxruntime(benchmark, depthwise, quantized):
    pytest.importorskip("onnxruntime")
    measure(benchmark, one_node(depthwise, quantized), f"depthwise {depthwise}", depthwise.macs)


@pytest.mark.parametrize("kernel,isa", of_kernels("sconv", "qconv"))
def test_convolution(benchmark, convolution, kernel, isa):
    layer, k, s = convolution, convolution.kernel, convolution.stride
    arguments = module(kernel).example(
        rng(), 1, layer.h, layer.w, layer.c, layer.n, kernel=(k, k), stride=(s, s), pads=layer.pads
    )
    measure(benchmark, ours(kernel, isa, arguments), f"convolution {layer}", layer.macs, picked=isa == picked(kernel))


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_convolution_by_onnxruntime(benchmark, convolution, quantized):
    pytest.importorskip("onnxruntime")
    measure(benchmark, one_node(convolution, quantized), f"convolution {convolution}", convolution.macs)


# The rest, at the sizes of a block of 56 x 56 x 96: what NumPy does for each.
ROWS, CHANNELS = 56 * 56, 96
REST = {
    "unary": (dict(m=ROWS, n=CHANNELS, op=5), lambda a: a[0] * np.clip(a[0] / 6 + 0.5, 0, 1)),
    "binary": (dict(shape=(ROWS, CHANNELS)), lambda a: a[0] + a[1]),
    "pool": (dict(b=1, ih=56, iw=56, c=CHANNELS, mode=1, k=(3, 3), s=(2, 2)), None),
    "reduce": (dict(outer=1, r=ROWS, inner=CHANNELS), lambda a: a[0].mean(1)),
    "softmax": (dict(outer=64, r=1000, inner=1), None),
    "quantize": (dict(outer=1, c=1, inner=ROWS * CHANNELS), lambda a: np.clip(np.rint(a[0] / a[1][0]), 0, 255)),
    "dequantize": (dict(outer=1, c=1, inner=ROWS * CHANNELS), lambda a: (a[0] - np.float32(3)) * a[2][0]),
    "permute": (dict(shape=(1, CHANNELS, 56, 56), axes=(0, 2, 3, 1)), None),
    "normalize": (dict(m=224 * 224, c=3), lambda a: a[0] * a[1] + a[2]),
    "layernorm": (dict(m=ROWS, n=CHANNELS), None),
    "qbinary": (dict(shape=(ROWS, CHANNELS)), None),
    "lut": (dict(m=ROWS, n=CHANNELS), lambda a: a[1][0][a[0]]),
}


def rest(name: str) -> list:
    """Arguments of the kernel `name`: those of its example that it knows, at the sizes above."""
    from inspect import signature

    example = module(name).example
    known = signature(example).parameters
    return example(rng(), **{k: v for k, v in REST[name][0].items() if k in known})


@pytest.mark.parametrize("kernel,isa", of_kernels(*REST))
def test_rest(benchmark, kernel, isa):
    measure(benchmark, ours(kernel, isa, rest(kernel)), kernel, picked=isa == picked(kernel))


@pytest.mark.parametrize("kernel", [name for name in REST if name in KERNELS and REST[name][1]])
def test_rest_by_numpy(benchmark, kernel):
    arguments = rest(kernel)
    measure(benchmark, lambda: REST[kernel][1](arguments), kernel)
