"""MatMulNBits of com.microsoft: a matrix product with blocks of 2-, 4- or 8-bit weights."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .int4 import int4_weights, q4_product
from .matmul import product
from .node import Node
from .registry import MICROSOFT, operator
from .values import Quant, Value


@operator("MatMulNBits", domain=MICROSOFT)
def matmul_nbits(ctx: Lowering, node: Node) -> Value:
    x, bias = node.input(0, "A"), node.optional(5)
    w = _blocks_of(ctx, node)
    n, k = w.shape
    if not x.shape or x.shape[-1] != k:
        node.refuse(f"= {k} does not fit activations {x.shape}", "K")
    if bias is not None and (bias.shape != (n,) or bias.dtype != "f32"):
        node.refuse(f"bias must be float32 of shape {(n,)}, got {bias.dtype} {bias.shape}")
    later = bias if bias is not None and bias.runtime else None
    bias = None if later is not None else bias
    level = node.int("accuracy_level", 0, allowed=range(5))
    node.int("weight_prepacked", 0, allowed=(0,))  # otherwise B is in the layout of some GPU
    four = None if w.quant is None else int4_weights(ctx, x, w, bias, level)
    out = ctx.new((*x.shape[:-1], n))
    flat = out.reshape(-1, n) if out.size else out.reshape(int(np.prod(x.shape[:-1], dtype=int)), n)
    if four is not None:
        q4_product(ctx, x, ctx.rows, four, bias, flat, "matrix product")
    else:
        own = None if bias is None else np.ascontiguousarray(ctx.f32(bias))
        product(ctx, ctx.f32(x), ctx.f32(w), flat, own, "matrix product")
    return ctx.value(out if later is None else ctx.binary(out, ctx.f32(later), 0))


def _blocks_of(ctx: Lowering, node: Node) -> Value:
    """The weights of MatMulNBits, [N,K]: blocks of 4-bit codes, or floats if no integer kernel takes them."""
    bits = node.int("bits", 4, allowed=(2, 4, 8))
    n, k, block = (node.int(name) for name in ("N", "K", "block_size"))
    if block < 16 or block & (block - 1):
        node.refuse(f"= {block} must be a power of two, at least 16", "block_size")
    if n < 0 or k < 0:
        node.refuse(f"N = {n} and K = {k} must not be negative")
    names = ("B", "scales", "zero_points", "g_idx")
    codes, scale, zero, of = (node.plan_time(i, name) for i, name in enumerate(names, 1))
    blocks, size = -(-k // block), block * bits // 8
    if codes is None or codes.dtype != np.uint8 or codes.shape != (n, blocks, size):
        node.refuse(f"B must be uint8 of shape {(n, blocks, size)}, got {_described(codes)}")
    if scale is None or scale.dtype not in (np.float32, np.float16) or scale.size != n * blocks:
        node.refuse(f"scales must be float of {n * blocks} elements, got {_described(scale)}")
    scale = scale.reshape(n, blocks).astype(np.float32)
    if not np.isfinite(scale).all():
        node.refuse("scales must be finite")
    zero = _zero_points(node, zero, bits, n, blocks)
    whole = np.ascontiguousarray(_unpacked(codes.reshape(n, -1), bits)[:, :k])
    plain = bits < 8 and of is None and zero.dtype != np.float32
    if plain:
        return Value(
            "f32", (n, k), None, False, Quant(Value.constant(whole), scale, zero.astype(np.int32), 1, block, 4)
        )
    of = np.arange(k) // block if of is None else of.reshape(-1)
    if of.dtype.kind not in "iu" or of.shape != (k,) or k and (of.min() < 0 or of.max() >= blocks):
        node.refuse(f"g_idx must be {k} integers from 0 to {blocks - 1}, got {_described(of)}")
    why = "8 bits in blocks" if bits == 8 else "g_idx" if node.optional(4) is not None else "float zero points"
    ctx.in_float[node.name] = f"no integer kernel for weights with {why}"
    return Value.constant((whole.astype(np.float32) - zero[:, of].astype(np.float32)) * scale[:, of])


def _zero_points(node: Node, zero: np.ndarray | None, bits: int, n: int, blocks: int) -> np.ndarray:
    """Zero points [n, blocks]: codes, or float32 if they are not integers in the range of codes."""
    if zero is None:
        return np.full((n, blocks), 1 << (bits - 1), np.uint8)
    if zero.dtype == np.uint8:
        packed = -(-blocks * bits // 8)
        if zero.size != n * packed:
            node.refuse(f"zero_points must have {n * packed} elements, got {_described(zero)}")
        return _unpacked(zero.reshape(n, -1), bits)[:, :blocks]
    if zero.dtype not in (np.float32, np.float16) or zero.size != n * blocks:
        node.refuse(f"zero_points must be packed uint8, or {n * blocks} floats, got {_described(zero)}")
    zero = zero.reshape(n, blocks).astype(np.float32)
    if not np.isfinite(zero).all():
        node.refuse("zero_points must be finite")
    whole = (zero == np.rint(zero)).all() and zero.min(initial=0) >= 0 and zero.max(initial=0) < 1 << bits
    return zero.astype(np.uint8) if whole else zero


def _described(x: np.ndarray | None) -> str:
    return "none" if x is None else f"{x.dtype.name} {x.shape}"


def _unpacked(x: np.ndarray, bits: int) -> np.ndarray:
    """The codes of `bits` bits packed in u8[n,b], low bits first: u8[n, 8 b / bits]."""
    parts = [x >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(len(x), -1)
