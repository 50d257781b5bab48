"""ibinary: out = a op b for integers, elementwise over six strided dims (stride 0 broadcasts)."""

import numpy as np

from ._spec import reference
from ._traits import Traits
from .binary import broadcast, six

OPS = ("add", "sub", "mul", "div", "pow", "min", "max", "mod", "fmod", "and", "or", "xor", "shl", "shr")
TYPES = ("uint8", "int32", "uint32", "int64", "uint64")


@reference(where="op<14", plain=True, traits=Traits(in_place=("a", "b")))
def ibinary(
    a: "{u8,i32,u32,i64,u64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "{u8,i32,u32,i64,u64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    op: "size",
    out: "{u8,i32,u32,i64,u64}xt[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """Exact modulo 2**bits: results wrap around, including the minimum divided by -1.

    ``div`` rounds toward zero; ``mod`` has the sign of b, ``fmod`` that of a; dividing by 0 gives 0 in all three.  ``pow``
    with a negative exponent is rounded toward zero, 0 to a negative power is 0.  ``shl`` and ``shr`` shift in zeros, and
    give 0 if b is not in [0, bits).
    """
    limits = np.iinfo(a.dtype)
    size = 1 << limits.bits
    for i in np.ndindex(out.shape):
        out[i] = (combine(int(a[i]), int(b[i]), op, limits.bits) - int(limits.min)) % size + int(limits.min)


def combine(a, b, op, bits):
    """`a` op `b` for Python integers of any size; the caller wraps the result."""
    if op in (3, 7, 8):
        return _divided(a, b, op)
    if op == 4:
        return pow(a, b, 1 << bits) if b >= 0 else 1 if a == 1 else 1 - b % 2 * 2 if a == -1 else 0
    if op in (12, 13):
        a %= 1 << bits
        return 0 if not 0 <= b < bits else a << b if op == 12 else a >> b
    if op in (5, 6):
        return min(a, b) if op == 5 else max(a, b)
    if op >= 9:
        return a & b if op == 9 else a | b if op == 10 else a ^ b
    return a + b if op == 0 else a - b if op == 1 else a * b


def _divided(a, b, op):
    if b == 0:
        return 0
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient if op == 3 else a % b if op == 7 else a - quotient * b


def example(rng, shape=(2, 3, 4, 5), b_shape=None, op=0, dtype="int32"):
    """Numbers near 0 and over the whole range, including the extremes; b broadcasts from `b_shape` to `shape`."""
    a, b = _numbers(rng, shape, dtype), _numbers(rng, b_shape or shape, dtype)
    return [six(a), six(broadcast(b, shape)), op, six(np.full(shape, 99, dtype))]


def _numbers(rng, shape, dtype):
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    small = rng.integers(max(limits.min, -9), 9, shape).astype(dtype)
    x = np.where(rng.random(shape) < 0.6, small, x)
    extremes = np.array([limits.min, limits.max, limits.max // 2, 0, 1], dtype)
    return np.where(rng.random(shape) < 0.2, rng.choice(extremes, shape), x).astype(dtype)
