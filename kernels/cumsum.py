"""cumsum: running sums or products along the middle axis."""

import numpy as np

from ._spec import reference


@reference(where="product<2,exclusive<2,reverse<2", plain=True)
def cumsum(
    x: "{f32,f64,i32,u32,i64,u64}xt[outer,r,inner]",
    product: "size",
    exclusive: "size",
    reverse: "size",
    out: "{f32,f64,i32,u32,i64,u64}xt[outer,r,inner]",
):
    """Sums, or products, include the element itself, or not (exclusive); they run from the front or from the back (reverse).

    Floats are computed in float64 and rounded once each; integers wrap around.
    """
    given, sums = (x[:, ::-1], out[:, ::-1]) if reverse else (x, out)
    total = np.full((x.shape[0], x.shape[2]), product, np.float64 if x.dtype.kind == "f" else x.dtype)
    with np.errstate(all="ignore"):
        for i in range(x.shape[1]):
            before, total = total, total * given[:, i] if product else total + given[:, i]
            sums[:, i] = before if exclusive else total


def example(rng, outer=2, r=50, inner=3, exclusive=0, reverse=0, dtype="float32", product=0):
    """Random numbers; integers over the whole range of their type."""
    shape = (outer, r, inner)
    if dtype[0] == "f":
        x = (rng.uniform(0.9, 1.1, shape) if product else rng.standard_normal(shape)).astype(dtype)
    else:
        x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return [x, product, exclusive, reverse, np.full(shape, 99, dtype)]
