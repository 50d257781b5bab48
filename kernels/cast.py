"""cast: conversion from one element type to another."""

import numpy as np

from ._spec import reference


@reference(plain=True)
def cast(
    x: "{f32,f64,f16,bf16,i64,i32,i16,i8,u8,u16,u32,u64,bool}xt[n]",
    out: "{f32,f64,f16,bf16,i64,i32,i16,i8,u8,u16,u32,u64,bool}ot[n]",
):
    """Float to integer truncates and saturates, NaN is 0; integers wrap; to bool: x != 0; to bf16 by way of f32.

    NumPy rather than Numba, which has no float16 on CPUs.
    """
    if _is_float(x.dtype) and out.dtype.kind in "iu":
        limits = np.iinfo(out.dtype)
        wide = np.trunc(x.astype(np.float64))
        low, high = wide <= np.float64(limits.min), wide >= np.float64(limits.max)
        inside = np.where(low | high | np.isnan(wide), 0, wide).astype(out.dtype)
        out[:] = np.where(low, limits.min, np.where(high, limits.max, inside)).astype(out.dtype)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            out[:] = x.astype(out.dtype)


def _is_float(dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def example(rng, n=100, x="float32", out="int32"):
    """Random values, of both signs if the type is signed, and the extremes of floats; bfloat16 needs ml_dtypes."""
    dtype = np.dtype(x)
    values = rng.standard_normal(n) * 10.0 ** rng.integers(-9, 12, n)
    if _is_float(dtype):
        values[:7] = [0, np.inf, -np.inf, np.nan, 65520, 65519, 3e-8][: len(values)]
        with np.errstate(over="ignore", invalid="ignore"):
            return [values.astype(dtype), np.zeros(n, out)]
    raw = rng.integers(0, 255, (n, dtype.itemsize), np.uint8, endpoint=True)
    return [raw.view(dtype)[:, 0] if dtype.kind != "b" else values > 0, np.zeros(n, out)]
