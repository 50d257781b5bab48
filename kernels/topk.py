"""topk: the first elements along the middle axis, in order, with their positions."""

import numpy as np

from ._spec import reference


@reference(where="smallest<2", plain=True)
def topk(
    x: "{f32,f64,u8,i32,u32,i64,u64}xt[outer,r,inner]",
    smallest: "size",
    out: "{f32,f64,u8,i32,u32,i64,u64}xt[outer,k,inner]",
    out_index: "i64[outer,k,inner]",
):
    """The k largest or smallest; of equal elements the one in front comes first.  NaN is larger than any number.

    Beyond the r elements that there are: zeros.
    """
    out[:], out_index[:] = 0, 0
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            line = [(v != v, v) if v == v else (True, 0) for v in x[o, :, i].tolist()]
            order = sorted(range(len(line)), key=line.__getitem__, reverse=not smallest)
            for j, at in enumerate(order[: out.shape[1]]):
                out[o, j, i], out_index[o, j, i] = x[o, at, i], at


def example(rng, outer=2, r=50, inner=3, k=5, smallest=0, dtype="float32"):
    """Small integers, so that some are equal."""
    x = rng.integers(0 if dtype[0] == "u" else -9, 10, (outer, r, inner)).astype(dtype)
    return [x, smallest, np.full((outer, k, inner), 99, dtype), np.full((outer, k, inner), 99, np.int64)]
