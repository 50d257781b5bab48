"""cumsum: running sums along the middle axis."""

import numpy as np

from ._spec import reference


@reference(where="exclusive<2,reverse<2", plain=True)
def cumsum(
    x: "{f32,i32,u32,i64,u64}xt[outer,r,inner]",
    exclusive: "size",
    reverse: "size",
    out: "{f32,i32,u32,i64,u64}xt[outer,r,inner]",
):
    """Sums include the element itself, or not (exclusive); they run from the front or from the back (reverse).

    Floats are summed in float64 and rounded once each; integers wrap around.
    """
    given, sums = (x[:, ::-1], out[:, ::-1]) if reverse else (x, out)
    total = np.zeros((x.shape[0], x.shape[2]), np.float64 if x.dtype.kind == "f" else x.dtype)
    with np.errstate(all="ignore"):
        for i in range(x.shape[1]):
            before, total = total, total + given[:, i]
            sums[:, i] = before if exclusive else total


def example(rng, outer=2, r=50, inner=3, exclusive=0, reverse=0, dtype="float32"):
    """Random numbers; integers over the whole range of their type."""
    shape = (outer, r, inner)
    if dtype == "float32":
        x = rng.standard_normal(shape, np.float32)
    else:
        x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return [x, exclusive, reverse, np.full(shape, 99, dtype)]
