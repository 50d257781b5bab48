"""Fake quantization: tensors are rounded to codes and scaled back, gradients pass, and steps are learned.

The gradient of a step is that of LSQ (Learned Step Size Quantization, arXiv:1902.08153): rounding is treated as the
identity, clipping as what it is. A step is stored as a factor exp(p) on its first value, so that it stays positive
and an optimizer that scales gradients (Adam) changes it by a share. The gradient of p is scaled so that plain gradient
descent changes a step by the same share as LSQ does. A step stays within `REACH` times its first value, up and down:
calibration has chosen it for what it must represent, and one that leaves this range has diverged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REACH = 8.0  # a step eight times as large wastes three bits of a code; one of an eighth clips all but an eighth of the range


class _Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (factor,) = ctx.saved_tensors
        return grad * factor, None


class _Rounded(torch.autograd.Function):
    """round(x / step), clipped, times step: in few passes over memory, since it is done to every activation."""

    @staticmethod
    def forward(ctx, x: Tensor, step: Tensor, low: float, high: float) -> Tensor:
        y = (x / step).round_().clamp_(low, high).mul_(step)
        ctx.save_for_backward(x, y, step)
        ctx.ends = low * step.item(), high * step.item()
        return y

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, y, step = ctx.saved_tensors
        by_step = None
        if ctx.needs_input_grad[1]:  # of y by the step: code - x / step, or the code where x was clipped
            by_step = (y - _inside(x, x, *ctx.ends)).mul_(grad).sum() / step
        return _inside(grad, x, *ctx.ends), by_step, None, None


def _inside(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """`grad` where low < x < high, else 0, in one pass."""
    return torch.ops.aten.hardtanh_backward(grad, x, low, high)


class Step(nn.Module):
    """A positive (or for 4-bit weights also negative) number per tensor, channel or group that is learned.

    Parameters
    ----------
    first : its values at the start
    share : of the tensor's elements that have the same step, times the largest code: what LSQ scales gradients by
    half : whether values are rounded to float16
    """

    def __init__(self, first: Tensor, share: float, half: bool = False):
        super().__init__()
        self.register_buffer("first", first.to(torch.float32))
        self.exponent = nn.Parameter(torch.zeros_like(self.first))
        self.share, self.half = share, half

    def forward(self) -> Tensor:
        with torch.no_grad():
            now = self.first * self.exponent.exp()
            factor = 1 / (now.square() * math.sqrt(self.share)).clamp_min(1e-30)
        step = self.first * _Scaled.apply(self.exponent, factor).exp()
        return step + (step.half().float() - step).detach() if self.half else step

    @staticmethod
    @torch.no_grad()
    def bound(exponents: list[nn.Parameter]) -> None:
        """Bring the `exponent` of each of many steps back within `REACH`; those that are not numbers stay so."""
        torch._foreach_clamp_max_(exponents, math.log(REACH))
        torch._foreach_clamp_min_(exponents, -math.log(REACH))


class Activation(nn.Module):
    """Fake quantization of an activation: one step, one zero point.

    Parameters
    ----------
    step : the first step
    zero : the code of 0
    low, high : the smallest and largest code
    """

    def __init__(self, step: Tensor, zero: int, low: int, high: int):
        super().__init__()
        self.step = Step(step.reshape(()), 1.0)
        self.zero, self.low, self.high = zero, low, high

    def forward(self, x: Tensor) -> Tensor:
        self.step.share = max(x[0].numel() if x.ndim else 1, 1) * self.high
        return _Rounded.apply(x, self.step(), float(self.low - self.zero), float(self.high - self.zero))

    @torch.no_grad()
    def codes(self, y: Tensor) -> Tensor:
        """The codes of `y`, a result of `forward`, int32."""
        return (y / self.step()).round().to(torch.int32) + self.zero


class Weight(nn.Module):
    """Fake quantization of weights: a step per tensor, channel or group, integer zero points.

    Parameters
    ----------
    scale : the first steps: a scalar, one per index of `axis`, or with `block` one per `block` elements along `axis`
    zero : codes of 0, in the shape of `scale`
    low, high : the smallest and largest code
    half : whether steps are float16 numbers
    bounds : int16 accumulation that the codes must allow, if any
    """

    def __init__(
        self, shape, scale: Tensor, zero: Tensor, low: int, high: int, axis: int, block: int, half: bool, bounds
    ):
        super().__init__()
        self.shape, self.axis, self.block = tuple(shape), axis % max(len(shape), 1), block
        self.low, self.high, self.bounds = low, high, bounds
        self.step = Step(scale, math.prod(self.shape) / max(scale.numel(), 1) * high, half)
        self.register_buffer("zero", zero.to(torch.float32))

    def spread(self, x: Tensor) -> Tensor:
        """One number per step as numbers that broadcast to the weights."""
        if self.block:
            return x.repeat_interleave(self.block, self.axis).narrow(self.axis, 0, self.shape[self.axis])
        return (
            x.reshape([-1 if i == self.axis else 1 for i in range(len(self.shape))]) if x.numel() > 1 else x.reshape(())
        )

    def _codes(self, w: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """(clipped weights in steps, the same rounded), both without zero points."""
        zero = self.spread(self.zero)
        v = torch.minimum(torch.maximum(w / step, self.low - zero), self.high - zero)
        with torch.no_grad():
            q = v.round()
            if self.bounds is not None:
                q = self.bounds(q)
        return v, q

    def forward(self, w: Tensor) -> Tensor:
        step = self.spread(self.step())
        v, q = self._codes(w, step)
        return (v + (q - v).detach()) * step

    @torch.no_grad()
    def codes(self, w: Tensor) -> Tensor:
        """The codes of the weights `w`, int32."""
        return (self._codes(w, self.spread(self.step()))[1] + self.spread(self.zero)).to(torch.int32)
