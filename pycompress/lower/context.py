"""The state of one lowering, and the helpers that operators share."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..dtypes import word
from ..errors import ModelError
from ..formats.onnx_model import Model
from ..kernels import spec
from .node import Node
from .values import Buffer, Coded, Quant, Step, Value, root, storage

ACT = {
    "none": 0,
    "relu": 1,
    "clip": 2,
    "leaky": 3,
    "hardsigmoid": 4,
    "hardswish": 5,
    "sigmoid": 6,
    "silu": 7,
    "tanh": 8,
}
NO_PARAMS = np.zeros(2, np.float32)
SIGN_FLIP = np.arange(256, dtype=np.uint8)[None] ^ 0x80  # int8 <-> its storage as uint8 + 128
DIMS = 6  # dimensions of the strided kernels


class Lowering:
    """The steps and buffers of one program while it is built."""

    def __init__(self, model: Model, int4_activations: str = "file"):
        self.model, self.int4_activations = model, int4_activations
        self.steps: list[Step] = []
        self.buffers: dict[int, Buffer] = {}
        self.env: dict[str, Value] = {}
        self.node: Node | None = None
        self.opsets = model.opsets  # of the nodes that are being lowered
        self.depth = 0  # of nested subgraphs, and of definitions by other operators
        self.trips = 0  # of loops, so far
        self.certain = True  # whether the results of the nodes are used, whatever is decided at run time
        self.joined: dict[int, tuple] = {}  # by id of the buffer's array: joined codes, their parts, the axis
        self.coded: dict[int, Coded] = {}
        self.quantized: dict[int, Quant] = {}
        self.turned: dict[int, tuple[Value, Value]] = {}  # codes of images in channel-last order, by id of their value
        self.rounded: dict[tuple, tuple] = {}  # float activations as codes, by id of their value and operator
        self.in_float: dict[str, str] = {}  # by node: why its integer weights run as floats
        self._floats: dict[int, np.ndarray] = {}
        self._bytes = 0
        self.folded = 0  # bytes of the constants computed so far

    # ---- steps and memory ----

    def step(self, kernel: str, *, reason: str = "", **args) -> None:
        """Append a call of `kernel` for the current node."""
        node = self.node
        if len(self.steps) >= self.model.limits.steps:
            raise ModelError(f"{self.where()}: the plan would have more than {self.model.limits.steps} steps")
        if fault := spec(kernel).fault:
            args[fault] = 1 if self.certain and not (node and node.bounded) else None
        self.steps.append(Step(kernel, args, node.name if node else "", node.op if node else "", reason))

    def new(self, shape, dtype: str = "f32", like: np.ndarray | None = None) -> np.ndarray:
        """A new run-time array; with `like`, its dimensions have the same memory order."""
        shape = tuple(int(d) for d in shape)
        kind = storage(dtype)
        self._bytes += self.tensor_bytes(shape, dtype)
        if self._bytes > 64 * self.model.limits.arena_bytes:
            raise ModelError(f"{self.where()}: the tensors together are beyond the limits")
        array = np.empty(math.prod(shape), kind)  # never touched
        self.buffers[id(array)] = Buffer(array)
        if like is None:
            return array.reshape(shape)
        order = memory_order(like)
        return array.reshape([shape[i] for i in order]).transpose(np.argsort(order))

    def tensor_bytes(self, shape, dtype) -> int:
        """The bytes of a tensor; a tensor beyond the limits is refused."""
        each = storage(dtype).itemsize
        extent = math.prod(
            d or 1 for d in shape
        )  # without zeros: numpy limits the product of the other dimensions, too
        if len(shape) > self.model.limits.rank or extent * each > self.model.limits.arena_bytes:
            raise ModelError(f"{self.where()}: a tensor of shape {tuple(shape)} is beyond the limits")
        return math.prod(shape) * each

    def rows_fit(self, count: int) -> None:
        """Refuse more indices along one axis than the limits allow."""
        if count > self.model.limits.rows:
            raise ModelError(f"{self.where()}: {count} rows of one axis are beyond the limits")

    def where(self) -> str:
        """A description of the current node for messages."""
        return f"node {self.node.name!r} ({self.node.op})" if self.node else "the graph"

    def is_runtime(self, x: np.ndarray) -> bool:
        """Whether `x` is a view of a buffer rather than constant data."""
        return id(root(x)) in self.buffers

    # ---- values ----

    def value(self, data: np.ndarray, dtype: str | None = None, quant: Quant | None = None) -> Value:
        """A run-time value for `data`; `dtype` is needed only where it differs from the storage (i8)."""
        return Value(dtype or word(data.dtype), data.shape, data, True, quant)

    def data(self, value: Value) -> np.ndarray:
        """The data of `value` in its storage type; dequantized first if only codes exist."""
        if value.data is not None:
            return value.data
        key = id(value)
        if key not in self._floats:
            self._floats[key] = self._dequantize(value)
            self._floats[-key] = value  # keeps `value` alive, so that its id is not reused
        return self._floats[key]

    def f32(self, value: Value) -> np.ndarray:
        """The data of a float32 value; any other type is refused."""
        if value.dtype != "f32":
            self.node.refuse(f"works on float32, got {value.dtype}")
        return self.data(value)

    def codes(self, value: Value) -> np.ndarray:
        """The data of a u8 or i8 value as uint8; i8 is stored with 128 added."""
        if value.dtype not in ("u8", "i8"):
            self.node.refuse(f"works on uint8 or int8, got {value.dtype}")
        data = self.data(value)
        return data.view(np.uint8) ^ 0x80 if value.dtype == "i8" and not value.runtime else data

    def _dequantize(self, value: Value) -> np.ndarray:
        q = value.quant
        codes, zero = q.value.data, q.zero
        if q.block:
            scale, zero = (
                np.repeat(v, q.block, q.axis).take(range(codes.shape[q.axis]), q.axis) for v in (q.scale, zero)
            )
            return (codes.astype(np.int32) - zero).astype(np.float32) * scale
        if not q.value.runtime:
            shape = axis_shape(q.scale, q.value.shape, q.axis)
            real = np.asarray(
                (codes.astype(np.int32) - zero.reshape(shape)).astype(np.float32) * q.scale.reshape(shape)
            )
            self.quantized[id(real)] = q
            if q.scale.size == 1 and q.value.dtype in ("u8", "i8"):
                shift = 128 if q.value.dtype == "i8" else 0
                self.coded[id(real)] = Coded(
                    real, np.ascontiguousarray(self.codes(q.value)), int(zero[0]) + shift, q.scale[0]
                )
            return real
        zero = np.ascontiguousarray(zero + 128 if q.value.biased else zero, np.int32)
        return self.dequantized(codes, zero, q.scale, q.axis)

    def dequantized(self, codes: np.ndarray, zero: np.ndarray, scale: np.ndarray, axis: int) -> np.ndarray:
        """Dequantize stored codes to float32; zero points i32[count] are as stored, scales f32[count] lie along `axis`."""
        out = self.new(codes.shape, "f32", like=codes)
        source, target = self.blocks(codes, axis, len(scale)), self.blocks(out, axis, len(scale))
        if source is None or target is None:
            codes = self.contiguous(codes)
            out = self.new(codes.shape, "f32")
            source, target = self.blocks(codes, axis, len(scale)), self.blocks(out, axis, len(scale))
        self.step("dequantize", x=source, zero=zero, scale=scale, out=target, reason="codes to float")
        return out

    def blocks(self, x: np.ndarray, axis: int, count: int) -> np.ndarray | None:
        """`x` as dense [outer,c,inner] with c along `axis` (1 if count is 1); None if its strides do not allow it."""
        order = memory_order(x)
        dense = x.transpose(order)
        if not dense.flags.c_contiguous:
            return None
        if count == 1:
            return dense.reshape(1, 1, dense.size)
        at = order.index(axis)
        outer, inner = (int(np.prod(d, dtype=int)) for d in (dense.shape[:at], dense.shape[at + 1 :]))
        return dense.reshape(outer, count, inner)

    # ---- moving data ----

    def copy(self, source: np.ndarray, target: np.ndarray) -> None:
        """Copy between arrays of the same logical shape and item size."""
        for s, t in together([source[..., None].view(np.uint8), target[..., None].view(np.uint8)], keep_last=True):
            self.step("permute", x=s, out=t, reason="copy into another order")

    def contiguous(self, x: np.ndarray) -> np.ndarray:
        """`x` in C order: `x` itself or a copy."""
        if x.flags.c_contiguous:
            return x
        if not self.is_runtime(x):
            return np.ascontiguousarray(x)
        out = self._blank(x)
        self.copy(x, out)
        return out

    def _blank(self, x: np.ndarray) -> np.ndarray:
        return self.new(x.shape, word(x.dtype))

    def nhwc(self, x: np.ndarray) -> np.ndarray:
        """A logical NCHW array as [n,h,w:ld,c] with dense channels: a view or a copy."""
        x = x.transpose(0, 2, 3, 1)
        n, h, w, c = x.shape
        size = x.dtype.itemsize
        pixel = x.strides[2] if w > 1 else x.strides[1] if h > 1 else x.strides[0] if n > 1 else c * size
        dense = (
            (c == 1 or x.strides[3] == size)
            and (w == 1 or x.strides[2] == pixel)
            and (h == 1 or x.strides[1] == pixel * w)
            and (n == 1 or x.strides[0] == pixel * w * h)
            and pixel >= c * size
        )
        if dense and x.size:  # set the strides of dimensions of extent 1 as the kernel expects them
            return _at(x, 0, x.shape, (pixel * w * h, pixel * w, pixel, size))
        return self.contiguous(x)

    def image(self, shape, dtype: str = "f32") -> tuple[np.ndarray, np.ndarray]:
        """A new NHWC array for a logical NCHW `shape`: ([n,h,w,c], its NCHW view)."""
        n, c, h, w = shape
        out = self.new((n, h, w, c), dtype)
        return out, out.transpose(0, 3, 1, 2)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """`x[..., n]` as [m:ld,n]: a view or a copy."""
        flat = reshaped(x, (-1, x.shape[-1]) if x.size else (int(np.prod(x.shape[:-1])), x.shape[-1]))
        if flat is not None and (flat.shape[1] == 1 or flat.strides[1] == flat.itemsize):
            return flat
        x = self.contiguous(x)
        return x.reshape(int(np.prod(x.shape[:-1], dtype=int)), x.shape[-1])

    # ---- elementwise ----

    def flat_pair(self, x: np.ndarray, dtype: str = "f32") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x as [m:ld,n], a new output as [m,n], that output in x's shape) for elementwise kernels."""
        order = memory_order(x)
        dense = x.transpose(order)
        if dense.ndim == 0:
            dense = dense.reshape(1)
        two = reshaped(dense, (1, -1)) if dense.flags.c_contiguous else reshaped(dense, (-1, dense.shape[-1]))
        if two is None or (two.shape[1] > 1 and two.strides[1] != two.itemsize):
            x = self.contiguous(x)
            two = x.reshape(1, -1)
        out = self.new(x.shape, dtype, like=x)
        flat = out.transpose(memory_order(x)).reshape(two.shape)
        return two, flat, out

    def unary(self, x: np.ndarray, op: int, params=NO_PARAMS) -> np.ndarray:
        """One float function of each element; `op` as in kernels/unary.py."""
        two, flat, out = self.flat_pair(x)
        self.step("unary", x=two, op=op, params=np.asarray(params, np.float32), out=flat)
        return out

    def elementwise(self, kernel: str, operands: dict[str, np.ndarray], dtype: str, **args) -> np.ndarray:
        """A kernel over six strided dimensions on broadcast operands."""
        shape = self.node.broadcast(*(x.shape for x in operands.values()))
        full = [x for x in operands.values() if x.shape == shape and self.is_runtime(x)]
        like = max(full, key=lambda x: x.ndim) if full else None
        out = self.new(shape, dtype, like=like)
        for *parts, target in together([*operands.values(), out]):
            self.step(kernel, **dict(zip(operands, parts)), **args, out=target)
        return out

    def binary(self, a: np.ndarray, b: np.ndarray, op: int, act: int = 0, params=NO_PARAMS) -> np.ndarray:
        """One float function of two broadcast arrays; `op` as in kernels/binary.py."""
        return self.elementwise(
            "binary", {"a": a, "b": b}, "f32", op=op, act=act, act_params=np.asarray(params, np.float32)
        )


def memory_order(x: np.ndarray) -> tuple[int, ...]:
    """The axes of `x`, outermost in memory first."""
    if x.flags.c_contiguous and x.size and 1 not in x.shape:
        return tuple(range(x.ndim))
    ranks = [-abs(s) if d > 1 else -math.inf for s, d in zip(x.strides, x.shape)]
    return tuple(sorted(range(x.ndim), key=ranks.__getitem__))  # stable: equal ranks keep their order


def reshaped(x: np.ndarray, shape) -> np.ndarray | None:
    """`x` in another shape without copying, or None if its strides do not allow it."""
    try:
        return np.reshape(x, shape, copy=False)
    except ValueError:
        return None


def axis_shape(scale: np.ndarray, shape, axis: int) -> tuple[int, ...]:
    """The shape in which per-axis parameters broadcast against `shape`."""
    if scale.size == 1:
        return (1,) * len(shape)
    return tuple(scale.size if i == axis else 1 for i in range(len(shape)))


def together(arrays: list[np.ndarray], keep_last: bool = False):
    """The arrays, broadcast to the shape of the last one, as sets of views with six dimensions each.

    Dimensions are sorted into the memory order of the last array, and merged where possible. With `keep_last` the last
    dimension stays innermost, in addition to the six. If more than six dimensions remain, the arrays are split into
    several sets along the shortest dimensions, which gives the fewest sets.
    """
    shape = arrays[-1].shape
    if 0 in shape:
        return
    if not keep_last and _alike(arrays):  # the common case, with the same result
        count = (1,) * (DIMS - 1) + (arrays[-1].size,)
        yield [_at(x, 0, count, (0,) * (DIMS - 1) + (0 if x.size == 1 else x.itemsize,)) for x in arrays]
        return
    last = len(shape) - 1 if keep_last else len(shape)
    order = [i for i in memory_order(arrays[-1]) if i < last and shape[i] > 1]
    spread = [_spread(x, shape) for x in arrays]
    dims = [(shape[i], [strides[i] for strides in spread]) for i in order]
    if keep_last:
        dims.append((shape[last], [strides[last] for strides in spread]))
    merged: list[tuple[int, list[int]]] = []
    for extent, strides in dims:
        if merged and all(p == s * extent for p, s in zip(merged[-1][1], strides)):
            extent *= merged.pop()[0]
        merged.append((extent, strides))
    tail = [merged.pop()] if keep_last else []
    shortest = sorted(range(len(merged)), key=lambda i: merged[i][0])[: max(0, len(merged) - DIMS)]
    outer = [merged[i] for i in shortest]
    inner = [(1, [0] * len(arrays))] * (DIMS - len(merged)) + [d for i, d in enumerate(merged) if i not in shortest]
    inner += tail
    for index in np.ndindex(*(e for e, _ in outer)):
        parts = []
        for j, x in enumerate(arrays):
            start = sum(i * s[j] for i, (_, s) in zip(index, outer))
            parts.append(_at(x, start, [e for e, _ in inner], [s[j] for _, s in inner]))
        yield parts


def _alike(arrays: list[np.ndarray]) -> bool:
    """Whether the last array has several elements without gaps, and each other one has its layout or is one element."""
    target = arrays[-1]
    if target.size == 1 or not target.transpose(memory_order(target)).flags.c_contiguous:
        return False
    return all(x.size == 1 or (x.shape == target.shape and _steps(x) == _steps(target)) for x in arrays)


def _steps(x: np.ndarray) -> list[int]:
    """The strides, in elements, of the dimensions longer than 1."""
    return [s // x.itemsize for s, d in zip(x.strides, x.shape) if d > 1]


def _spread(x: np.ndarray, shape) -> tuple[int, ...]:
    """The strides of `x` broadcast to `shape`."""
    if x.shape == shape:
        return x.strides
    own = [0 if d == 1 else s for d, s in zip(x.shape, x.strides)]
    return (*[0] * (len(shape) - x.ndim), *own)


def _at(x: np.ndarray, start: int, shape, strides) -> np.ndarray:
    """A view of the memory of `x`, `start` bytes after its first element."""
    inside = x if x.flags.c_contiguous else x.transpose(memory_order(x))
    if inside.flags.c_contiguous and x.size:  # as below, ten times faster
        return np.ndarray(shape, x.dtype, inside, start, strides)
    moved = x
    if start:
        flat = as_strided(x, (start // x.itemsize + 1,), (x.itemsize,))
        moved = flat[start // x.itemsize :]
    return as_strided(moved, shape, strides)
