"""scatter: rows written at run-time indices, or joined to what stands there."""

import numpy as np

from ._spec import reference

OPS = (None, "add", "mul", "min", "max")
TYPES = ("float32", "float64", "uint8", "int32", "uint32", "int64", "uint64")


@reference(where="op<5", plain=True)
def scatter(
    x: "{f32,f64,u8,i32,u32,i64,u64}xt[rows,inner]",
    index: "i64[count]",
    updates: "{f32,f64,u8,i32,u32,i64,u64}xt[count,inner]",
    op: "size",
    out: "{f32,f64,u8,i32,u32,i64,u64}xt[rows,inner]",
    fault: "fault",
):
    """``out`` is ``x``, then row index[i] is replaced by updates[i] (op 0) or becomes itself op it, in order.

    Integers wrap around; ``min`` and ``max`` take over a NaN; indices outside [0, rows) are left out; in a plan the run
    fails.
    """
    join = [None, np.add, np.multiply, np.minimum, np.maximum][op]
    out[:] = x
    with np.errstate(all="ignore"):
        for i, row in enumerate(index):
            if 0 <= row < x.shape[0]:
                out[row] = updates[i] if join is None else join(out[row], updates[i])


def example(rng, rows=7, inner=5, count=20, op=0, dtype="float32"):
    """Rows that are written several times, and indices outside."""
    x, updates = (rng.integers(0, 20, (n, inner)).astype(dtype) for n in (rows, count))
    index = rng.integers(-1, rows + 1, count)
    index[: min(count, 2)] = [2**62, -(2**63)][: min(count, 2)]
    return [x, index, updates, op, np.full((rows, inner), 99, dtype)]
