"""A rule for float steps: branches over one image that are only summed are one convolution.

Networks that are to be merged after training (RepVGG, Ding et al. 2021; MobileOne, Vasu et al. 2023; RepGhost ...) are often
exported before it: a 3 x 3 convolution beside a 1 x 1 one and a scaled copy of the image. All are linear, so that the sum has
the sum of the weights: those of the smaller window within the larger one, a scale on the diagonal. Float rounding apart,
the result is the same.
"""

from __future__ import annotations

import numpy as np

from ..lower.values import Step, root
from ..weights import Dense
from .dataflow import Uses, address, on
from .fuse_float import SCALED, SUMMED, in_shape_of, sole, whole

LINEAR = tuple(kernel for kernel in SUMMED if kernel in SCALED)  # of weights that can be added up
STRIDES, STEPS, PADS = ("sh", "sw"), ("dh", "dw"), ("pt", "pl")


@on(*LINEAR)
def branches(step: Step, uses: Uses):
    """window(x) + window(x): one window."""
    if step.args["residual"] is None or not whole(step.args["out"]):
        return None
    other = sole(step, uses, step.args["residual"], LINEAR)
    if other is None or other.args["act"] or not _same_image(step, other, uses):
        return None
    if any(uses.is_buffer(s.args[name]) for s in (step, other) for name in ("w", "bias")):  # computed at run time
        return None
    large, small = sorted((step, other), key=lambda s: (_window(s), s.kernel != "dwconv"), reverse=True)
    at = _place(large, small)
    w = None if at is None else _sum(large, small, at)
    if w is None:
        return None
    biases = [s.args["bias"] for s in (step, other) if s.args["bias"] is not None]
    return large.replace(
        w=w, bias=sum(biases[1:], biases[0]) if biases else None, act=step.args["act"],
        act_params=step.args["act_params"], residual=other.args["residual"],
        out=in_shape_of(step.args["out"], large.args["out"]), reason=f"{large.reason}, {small.op} merged",
    ), [other]  # fmt: skip


def _image(step: Step) -> np.ndarray:
    return step.args["a" if step.kernel == "sgemm" else "x"]


def _same_image(one: Step, other: Step, uses: Uses) -> bool:
    x, y = _image(one), _image(other)
    if not (whole(x) and whole(y) and uses.is_buffer(x) and uses.is_buffer(y) and x.shape[-1] == y.shape[-1]):
        return False
    return root(x) is root(y) or _copies(uses.producer(x), uses.producer(y))


def _copies(one: Step | None, other: Step | None) -> bool:
    """Whether both steps copy the same elements in the same order."""
    if one is None or other is None or one.kernel != "permute" or other.kernel != "permute":
        return False
    x, y, to, out = one.args["x"], other.args["x"], one.args["out"], other.args["out"]
    alike = x.shape == y.shape and x.strides == y.strides and to.shape == out.shape and to.strides == out.strides
    return alike and root(x) is root(y) and address(x) == address(y)


def _window(step: Step) -> tuple[int, ...]:
    """Lines and columns of the window."""
    return (1, 1) if step.kernel == "sgemm" else (step.args["kh"], step.args["kw"])


def _pixels(step: Step) -> bool:
    """Whether each output is made of the pixel at its own place, in whatever shape the image is given."""
    one = _window(step) == (1, 1)
    return (
        step.kernel == "sgemm"
        or one
        and not any(step.args[n] for n in PADS)
        and all(step.args[n] == 1 for n in STRIDES)
    )


def _place(large: Step, small: Step) -> tuple[int, int] | None:
    """The line and column of the large window at which the small one begins; None if it is not inside."""
    a, b = large.args, small.args
    if _pixels(large):
        return (0, 0) if _pixels(small) else None
    if a["x"].shape[1:3] != a["out"].shape[1:3] if _pixels(small) else any(a[n] != b[n] for n in STRIDES):
        return None
    size = _window(small)
    if not _pixels(small) and (a["x"].shape[:3] != b["x"].shape[:3] or a["out"].shape[:3] != b["out"].shape[:3]):
        return None
    if any(n > 1 and a[d] != b[d] for n, d in zip(size, STEPS)) or _pixels(small) and any(a[n] != 1 for n in STRIDES):
        return None
    off = [a[p] - (0 if _pixels(small) else b[p]) for p in PADS]
    at = tuple(o // a[d] for o, d in zip(off, STEPS))
    fits = all(o % a[d] == 0 and 0 <= i <= n - m for o, d, i, n, m in zip(off, STEPS, at, _window(large), size))
    return at if fits else None


def _sum(large: Step, small: Step, at: tuple[int, int]) -> Dense | np.ndarray | None:
    """The weights of both; None if that would be more work than the two, or they are not plain floats."""
    w, v = large.args["w"], small.args["w"]
    (kh, kw), (mh, mw) = _window(large), _window(small)
    lines, pixels = slice(at[0], at[0] + mh), slice(at[1], at[1] + mw)
    if large.kernel == "dwconv":
        if small.kernel != "dwconv":
            return None
        c = w.shape[-1]
        total = w.astype(np.float32).reshape(kh, kw, c)
        total[lines, pixels] += v.reshape(mh, mw, c)
        return total.reshape(kh * kw, c)
    if not isinstance(w, Dense) or not isinstance(v, Dense) and small.kernel != "dwconv":
        return None
    n = w.w.shape[0]
    total = w.w.reshape(n, kh, kw, -1).copy()
    if small.kernel != "dwconv":
        total[:, lines, pixels] += v.w.reshape(n, mh, mw, -1)
    elif total.shape[-1] == n:  # else a channel of the image has several outputs, or none
        each = np.arange(n)
        total[:, lines, pixels][each, :, :, each] += v.reshape(mh, mw, n).transpose(2, 0, 1)
    else:
        return None
    return Dense(total.reshape(w.w.shape))


RULES = [branches]
