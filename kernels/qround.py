"""qround: int8 codes and a scale for each row of weights, within the bounds of int16 accumulation."""

import numpy as np

from ._spec import reference

LIMIT = 127
PAIR, CHUNK = 128, 256  # bounds of qgemm and qdwconv
MAX_EXCESS = 16  # by how much a chunk may exceed its bound and still be repaired
LANES = 16  # of the sum of errors
HOPELESS = 4  # times the best squared error: larger scales are not tried once rounding alone exceeds it


@reference(where="u>=1,depth>=1", plain=True)
def qround(
    w: "f32[n,chunks,depth]",
    h: "f32[u,chunks,depth]",
    full: "f32[n]",
    low: "f32[n]",
    factors: "f32[count]",
    out: "i8[n,chunks,depth]",
    out_scale: "f32[n]",
):
    """Of the scales ``max(full * factor, low)``, with ascending factors, the one with the smallest sum of h * error**2.

    Row r of w is weighted by row min(r, u - 1) of h. Neighbours in a chunk are a pair, whose sum must not exceed `PAIR` in
    absolute value; the absolute values of a chunk must not exceed `CHUNK`. depth = 2 bounds pairs only, depth = 1 nothing.
    Codes that exceed a bound move toward zero, one step at a time where the error grows the least; a scale with which a
    chunk exceeds its bound by more than `MAX_EXCESS` is not taken. Rows that no scale fits get zeros and the scale 0.
    """
    n, chunks, depth = w.shape
    out[:], out_scale[:] = 0, 0
    for row in range(n):
        weight = h[min(row, len(h) - 1)]
        best = np.inf
        for factor in factors:
            s = np.float32(max(full[row] * factor, low[row]))
            with np.errstate(all="ignore"):
                x = w[row] / s
            r = np.rint(np.minimum(np.maximum(x, np.float32(-LIMIT)), np.float32(LIMIT)))
            nearest = _error(x, r, weight, s)
            repaired = [_repair(x[c], r[c], weight[c], nearest < best) for c in range(chunks)]
            if all(ok for ok, _ in repaired) and nearest < best:
                error = _error(x, r, weight, s)
                if error < best:
                    best, out_scale[row], out[row] = error, s, r.astype(np.int8)
            if factor >= 1 and (all(clean for _, clean in repaired) or nearest >= HOPELESS * best):
                break


def _error(x, r, weight, s) -> float:
    """The weighted squared error, summed in `LANES` lanes, the same way on every instruction set."""
    e = (np.square(r - x) * weight).ravel()
    e = np.concatenate([e, np.zeros(-len(e) % LANES, np.float32)]).reshape(-1, LANES)
    lanes = np.zeros(LANES, np.float32)
    for line in e:
        lanes += line
    total = 0.0
    for part in lanes:
        total += float(part)
    return total * float(s) * float(s)


def _repair(x, r, weight, wanted):
    """Moves the codes `r` of a chunk into its bounds, if that is `wanted`; (whether that was possible, whether they were)."""
    clean, depth = True, len(x)
    groups = [slice(i, i + 2) for i in range(0, depth - 1, 2)] + ([slice(0, depth)] if depth > 2 else [])
    for at in groups:
        pair = at.stop - at.start == 2
        excess = abs(r[at].sum()) - PAIR if pair else np.abs(r[at]).sum() - CHUNK
        if excess <= 0:
            continue
        clean = False
        if excess > MAX_EXCESS:
            return False, False
        if wanted:
            _shrink(x[at], r[at], weight[at], excess)
    return True, clean


def _shrink(x, r, weight, excess):
    while excess > 0:
        value = np.abs(r)
        cost = np.where(value > 0, weight * (2 * (np.abs(x) - value) + 1), np.float32(np.inf))
        r[cost.argmin()] -= np.sign(r[cost.argmin()])
        excess -= 1


def example(rng, n=5, chunks=11, depth=8, factors=5):
    """Random arguments of the given sizes; some rows need repairs."""
    w = rng.standard_normal((n, chunks, depth), np.float32)
    full = (np.abs(w).max((1, 2), initial=1e-3) / LIMIT).astype(np.float32)
    h = rng.uniform(0.1, 1, (1, chunks, depth)).astype(np.float32)
    out = np.full(w.shape, 99, np.int8)
    return [
        w,
        h,
        full,
        np.zeros(n, np.float32),
        np.geomspace(0.8, 8, factors).astype(np.float32),
        out,
        np.full(n, 9, np.float32),
    ]
