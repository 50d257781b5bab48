"""MatMulNBits of ONNX Runtime's domain: a matrix product with blocks of 4-bit weights."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .int4 import four_bits, q4_product
from .matmul import product
from .node import Node
from .registry import MICROSOFT, operator
from .values import Quant, Value


@operator("MatMulNBits", domain=MICROSOFT)
def matmul_nbits(ctx: Lowering, node: Node) -> Value:
    x, bias = node.input(0, "A"), node.optional(5)
    w = _blocks_of(node)
    n, k = w.shape
    if not x.shape or x.shape[-1] != k:
        node.refuse(f"= {k} does not fit activations {x.shape}", "K")
    if bias is not None and (bias.shape != (n,) or bias.dtype != "f32"):
        node.refuse(f"bias must be float32 of shape {(n,)}, got {bias.dtype} {bias.shape}")
    later = bias if bias is not None and bias.runtime else None
    bias = None if later is not None else bias
    four = four_bits(ctx, x, w, bias, node.int("accuracy_level", 0, allowed=range(5)))
    out = ctx.new((*x.shape[:-1], n))
    flat = out.reshape(-1, n) if out.size else out.reshape(int(np.prod(x.shape[:-1], dtype=int)), n)
    if four is not None:
        q4_product(ctx, x, ctx.rows, four, bias, flat, "matrix product")
    else:
        own = None if bias is None else np.ascontiguousarray(ctx.f32(bias))
        product(ctx, ctx.f32(x), ctx.f32(w), flat, own, "matrix product")
    return ctx.value(out if later is None else ctx.binary(out, ctx.f32(later), 0))


def _blocks_of(node: Node) -> Value:
    """The weights of MatMulNBits, [N,K]."""
    node.int("bits", 4, allowed=(4,))
    n, k, block = (node.int(name) for name in ("N", "K", "block_size"))
    if block < 16 or block & (block - 1):
        node.refuse(f"= {block} must be a power of two, at least 16", "block_size")
    if node.optional(4) is not None:
        node.refuse("input 4 'g_idx' is not supported")
    codes, scale, zero = (node.plan_time(i, name) for i, name in ((1, "B"), (2, "scales"), (3, "zero_points")))
    blocks = -(-k // block)
    if codes is None or codes.dtype != np.uint8 or codes.shape != (n, blocks, block // 2):
        node.refuse(f"B must be uint8 of shape {(n, blocks, block // 2)}, got {_told(codes)}")
    if scale is None or scale.dtype not in (np.float32, np.float16) or scale.size != n * blocks:
        node.refuse(f"scales must be float of {n * blocks} elements, got {_told(scale)}")
    scale = scale.reshape(n, blocks).astype(np.float32)
    if not np.isfinite(scale).all():
        node.refuse("scales must be finite")
    if zero is None:
        zero = np.full((n, blocks), 8, np.uint8)
    elif zero.dtype != np.uint8:
        node.refuse(f"zero_points of type {zero.dtype.name} are not supported: only uint8, two in a byte")
    elif zero.size != n * -(-blocks // 2):
        node.refuse(f"zero_points must have {n * -(-blocks // 2)} elements, got {_told(zero)}")
    else:
        zero = _nibbles(zero.reshape(n, -1))[:, :blocks]
    whole = Value.constant(np.ascontiguousarray(_nibbles(codes.reshape(n, -1))[:, :k]))
    return Value("f32", (n, k), None, False, Quant(whole, scale, zero.astype(np.int32), 1, block, 4))


def _told(x: np.ndarray | None) -> str:
    return "none" if x is None else f"{x.dtype.name} {x.shape}"


def _nibbles(x: np.ndarray) -> np.ndarray:
    """u8[n,b] as the 4-bit codes in it, the low one of each byte first: u8[n,2b]."""
    return np.stack([x & 15, x >> 4], -1).reshape(len(x), -1)
