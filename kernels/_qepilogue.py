"""The epilogue of every integer kernel: pcx_qepilogue in pycompress_kernels.h."""

import numpy as np

from ._act import activate
from ._spec import helper


@helper
def _u8(x):
    return min(max(x, 0), 255)


@helper
def _requantize(v, zero, lowest, highest):
    """clamp(round_half_even(v) + zero), clamped in float first; NaN gives `highest`."""
    zero, lowest, highest = _u8(zero), _u8(lowest), _u8(highest)
    low, high = np.float32(lowest - zero), np.float32(highest - zero)
    v = v if v < high else high
    v = v if v > low else low
    return np.int64(np.rint(v)) + zero


@helper
def row(array, i):
    """Row i of an array that may be None."""
    if array is None:
        return None
    return array[i]


@helper
def finish(total, j, bias, scale, clamp, lut, add_scale, add_zero, residual, act, act_params, out):
    """Write column j of the row `out` from `total`, the sum before the bias; sums are taken modulo 2**32."""
    if bias is not None:
        total += bias[j]
    acc = np.int32(total)
    is_float = out.dtype.type(0.5) != 0
    if out.itemsize == 4 and not is_float:
        out[j] = acc
    elif scale is not None:
        finish_float(np.float32(acc) * scale[j], j, clamp, lut, add_scale, add_zero, residual, act, act_params, out)


@helper
def finish_float(v, j, clamp, lut, add_scale, add_zero, residual, act, act_params, out):
    """Write column j of the row `out` from `v`, in units of the output's scale, before its zero point."""
    if out.dtype.type(0.5) != 0:
        out[j] = activate(v, act, act_params)
    elif clamp is not None:
        y = _requantize(v, clamp[0], clamp[1], clamp[2])
        if lut is not None:
            y = np.int64(lut[y])
        if residual is not None and add_scale is not None and add_zero is not None:
            product = np.float32(y - add_zero[0]) * add_scale[0]
            other = np.float32(np.int64(residual[j]) - add_zero[1]) * add_scale[1]
            y = _requantize(product + other, add_zero[2], add_zero[3], add_zero[4])
        out[j] = y
