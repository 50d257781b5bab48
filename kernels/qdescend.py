"""qdescend: coordinate descent on rounded weights, within bounds, for correlated inputs."""

import numpy as np

from ._spec import reference

LIMIT = 127
PAIR, CHUNK = 128, 256  # bounds of qgemm and qdwconv
CODES = 15  # of 4 bits, above the lowest


@reference(where="u>=1,g>=1,chunks<=k,sweeps<=64", plain=True)
def qdescend(
    q: "i8[n,k]",
    slope: "f32[n,k]",
    scale: "f32[n,g]",
    c: "f32[u,k,k]",
    low: "i8[n,k]?",
    fixed: "u8[n,k]?",
    partner: "i32[k]<k+1?",
    chunks: "size",
    chunk: "i32[k]<chunks?",
    sweeps: "size",
    out: "i8[n,k]",
):
    """Weights near the codes `q` with a smaller expected squared error d' c d, where d is the error of a row.

    slope is d c for the codes `q`. Weight j of row r has the scale at [r, min(j, g - 1)]; row r has the matrix min(r, u - 1).
    Each sweep goes through all weights and moves one to its best code, within the bounds, if that is another. Codes are
    within `LIMIT`, or, given `low`, from there to `CODES` more. Weights that are `fixed` stay. `partner` is the other
    weight of a pair, or k; the sum of two must stay within `PAIR`. `chunk`: the absolute codes of a chunk must stay within
    `CHUNK`. A row ends when a sweep moves nothing.
    """
    n, k = q.shape
    out[:] = q
    for row in range(n):
        m, s, v = c[min(row, len(c) - 1)], slope[row].copy(), out[row]
        total = np.zeros(max(chunks, 1), np.int64)
        if chunk is not None:
            np.add.at(total, chunk, np.abs(v.astype(np.int64)))
        for _ in range(sweeps):
            moved = False
            for j in range(k):
                step = scale[row, min(j, scale.shape[1] - 1)]
                unit = m[j, j] * step
                if abs(s[j]) < np.float32(0.5) * abs(unit) or fixed is not None and fixed[row, j]:
                    continue
                least, most = -LIMIT, LIMIT
                if low is not None:
                    least, most = int(low[row, j]), min(int(low[row, j]) + CODES, LIMIT)
                if chunk is not None:
                    most = int(min(most, max(CHUNK - total[chunk[j]] + abs(int(v[j])), 0)))
                    least = max(least, -most)
                if partner is not None:
                    other = int(v[partner[j]]) if partner[j] < k else 0
                    least, most = max(least, -PAIR - min(other, 0)), min(most, PAIR - max(other, 0))
                wanted = np.float32(v[j]) - s[j] / unit
                new = int(min(max(int(np.rint(min(max(wanted, np.float32(-256)), np.float32(256)))), least), most))
                delta = new - int(v[j])
                if delta == 0:
                    continue
                moved = True
                if chunk is not None:
                    total[chunk[j]] += abs(new) - abs(int(v[j]))
                v[j] = new
                s += np.float32(delta) * step * m[j]
            if not moved:
                break


def example(rng, n=5, k=37, depth=4, sweeps=3):
    """Random arguments of the given sizes; neighbours are pairs."""
    x = rng.standard_normal((k + 8, k)) + rng.standard_normal((k + 8, 1))
    c = (x.T @ x / len(x)).astype(np.float32)[None]
    w = rng.standard_normal((n, k)) * 20
    q = np.clip(np.rint(w), -PAIR // depth, PAIR // depth).astype(np.int8)
    slope = ((q - w) @ c[0]).astype(np.float32)
    at = np.arange(k)
    partner = np.where(at ^ 1 < k, at ^ 1, k).astype(np.int32)
    chunk = (at // depth).astype(np.int32)
    fixed = (rng.random((n, k)) < 0.2).astype(np.uint8)
    scale = np.ones((n, 1), np.float32)
    return [q, slope, scale, c, None, fixed, partner, -(-k // depth), chunk, sweeps, np.full((n, k), 99, np.int8)]
