"""Rules for low-rank pairs: two matrix products in a row, the first with few outputs that only the second reads.

In a row of inverted bottlenecks without residual sums, a projection and the expansion after it are such a pair, too.
They are left alone: tiling the expansion together with its depthwise convolution gains more.
"""

from __future__ import annotations

import numpy as np

from ..kernels import module
from ..lower.context import axis_shape
from ..lower.values import Program, Step, root
from ..weights import Q8, Dense
from .dataflow import Uses, on, twin
from .fuse_float import sole
from .tiling import DEPTHWISE

MIN_M = 48  # rows; fewer do not occupy several threads
MAX_R = 256  # the largest rank for which one pass was measured to be no slower than two


def pair(step: Step, uses: Uses, kernel: str) -> Step | None:
    """The step of `kernel` before the matrix product `step`, if the two are a low-rank pair."""
    if step.kernel != "sgemm" or not isinstance(step.args["w"], Dense):
        return None
    a, n = step.args["a"], step.args["out"].shape[-1]
    made = sole(step, uses, a, (kernel,))
    if made is None or made.args["out"].shape != a.shape or made.args["residual"] is not None:
        return None
    (m, r), k = a.shape, made.args["a"].shape[1]
    pays = m >= MIN_M and 0 < r <= MAX_R and r * (k + n) < k * n
    tiled = any(s.kernel in DEPTHWISE for s in uses.readers(step.args["out"]))
    return made if pays and not tiled else None


@on("sgemm")
def lowrank(step: Step, uses: Uses):
    """sgemm -> sgemm: lowrank, with the same bytes as result."""
    made = pair(step, uses, "sgemm")
    if made is None or not isinstance(made.args["w"], Dense):
        return None
    u, v = made.args["w"].w, step.args["w"].w
    if not (u.strides[0] and v.strides[0]):  # one row repeated, whose panels are not stored in full
        return None
    end = {name: step.args[name] for name in ("bias", "act", "act_params", "residual", "out")}
    args = {
        "a": made.args["a"], "u": Dense(u.reshape(len(u), -1)), "mid_bias": made.args["bias"],
        "mid_act": made.args["act"], "mid_params": made.args["act_params"], "v": Dense(v.reshape(len(v), -1)), **end,
    }  # fmt: skip
    reason = f"{step.reason}; one pass with {made.node or made.op}, rank {len(u)}"
    return Step("lowrank", args, step.node, step.op, reason), [made]


@on("sgemm")
def qlowrank(step: Step, uses: Uses):
    """qgemm to float -> sgemm with weights that are int8 in the file: qlowrank, if nothing lies between them.

    The intermediate result is rounded to 16 bits with one scale for all columns, chosen so that the largest sum that
    the weights admit is 32767. The error of the output is at most half that scale times sum |v|.
    """
    made = pair(step, uses, "qgemm")
    if made is None or made.args["act"] or made.args["out"].dtype != np.float32 or step.args["residual"] is not None:
        return None
    w, bias, own_bias = made.args["w"], made.args["bias"], step.args["bias"]
    azp, scale = made.args["azp"], made.args["scale"]
    if not isinstance(w, Q8) or w.zero.any() or any(uses.is_buffer(x) for x in (azp, scale, bias, own_bias)):
        return None
    codes = quantized(uses.program, step.args["w"].w)
    if codes is None or (azp != azp[0]).any():
        return None
    largest = _largest(w.w.reshape(len(w.w), -1).astype(np.int64), int(azp[0]), bias) * np.abs(np.float64(scale))
    unit = largest.max(initial=0) / module("qlowrank").MAX_MID
    v, v_scale = codes
    end = unit * v_scale.astype(np.float64)
    if not (np.isfinite(end).all() and (end > 0).all()):
        return None
    total = np.zeros(len(v)) if own_bias is None else np.rint(own_bias / end)
    if (np.abs(total) + module("qlowrank").MAX_MID * np.abs(v.astype(np.int64)).sum(1) >= 2**31).any():
        return None
    args = {
        "a": made.args["a"], "azp": np.ascontiguousarray(azp[:1]), "w": w, "colsum": None, "mid_bias": bias,
        "mid_scale": (np.float64(scale) / unit).astype(np.float32), "v": Q8(v, v_scale, np.zeros(len(v), np.int32)),
        "bias": None if own_bias is None else total.astype(np.int32), "scale": end, "clamp": None, "lut": None,
        "add_scale": None, "add_zero": None, "residual": None, "act": step.args["act"],
        "act_params": step.args["act_params"], "prepared": None, "out": step.args["out"],
    }  # fmt: skip
    reason = (
        f"{step.reason}; on integers in one pass with {made.node or made.op}, rank {len(w.w)}, "
        f"its {len(w.w)} results rounded to 16 bits in steps of {unit:.3g}"
    )
    return Step("qlowrank", args, step.node, step.op, reason), [made]


def _largest(w: np.ndarray, zero: int, bias: np.ndarray | None) -> np.ndarray:
    """The largest absolute value of each sum (a - zero) w + bias, for a from 0 to 255."""
    low, high = np.minimum(w * -zero, w * (255 - zero)).sum(1), np.maximum(w * -zero, w * (255 - zero)).sum(1)
    own = 0 if bias is None else bias.astype(np.int64)
    return np.maximum(np.abs(low + own), np.abs(high + own))


def quantized(program: Program, w: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(codes int8[n,k], scale f32[n]) from which the float constant `w` [n,k] was dequantized; None if not, or if not symmetric."""
    source = program.quantized.get(id(root(w)))
    if source is None or source.value.dtype not in ("u8", "i8") or w.ndim != 2:
        return None
    real, codes = root(w), source.value.data
    shape, zero = axis_shape(source.scale, real.shape, source.axis), source.zero.astype(np.int32)
    if codes.dtype == np.uint8:
        codes, zero = (codes ^ 0x80).view(np.int8), zero - 128
    if zero.any() or not real.flags.c_contiguous or codes.shape != real.shape:
        return None
    scale = np.ascontiguousarray(np.broadcast_to(source.scale.reshape(shape), real.shape), np.float32)
    scale, codes = (np.ascontiguousarray(twin(w, real, np.ascontiguousarray(x))) for x in (scale, codes))
    return None if (scale != scale[:, :1]).any() else (codes, scale[:, 0])


RULES = [lowrank, qlowrank]
