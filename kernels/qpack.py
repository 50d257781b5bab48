"""qpack: packs run-time integer weights into the panels of qgemm (s = 1) and qconv (s = kh * kw)."""

import numpy as np

from ._spec import reference


@reference()
def qpack(
    x: "{u8,i8}xt[n:xn,s:xs,l:xl]",
    out: "i8[ceil(n/16),s,ceil(l/4),16,4]",
    out_colsum: "i32[n]",
):
    """u8 is stored as w - 128; the sums of columns are those of the stored values, modulo 2**32."""
    n, segments, length = x.shape
    out[:] = 0
    offset = 128 if x.dtype.type(-1) > 0 else 0
    for j in range(n):
        total = 0
        for s in range(segments):
            for q in range(length):
                w = np.int64(x[j, s, q]) - offset
                out[j // 16, s, q // 4, j % 16, q % 4] = w
                total += w
        out_colsum[j] = np.int32(total)


def example(rng, n=37, s=2, length=9, dtype="int8"):
    """Random weights over the whole range."""
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, (n, s, length), dtype, endpoint=True)
    return [x, np.zeros((-(-n // 16), s, -(-length // 4), 16, 4), np.int8), np.zeros(n, np.int32)]
