"""Conv: 1x1 as a matrix product, depthwise, and the general case; float and integer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..weights import Dense
from . import int4
from .context import NO_PARAMS, Lowering
from .groups import diagonal, together
from .integer import float_tail, integer_ready, zero_point
from .integer_conv import integer_conv
from .node import Node
from .registry import operator
from .values import Value


@dataclass(frozen=True)
class Window:
    """The geometry of a 2-D convolution or pool: kernel size, strides, dilations, pads (top, left, bottom, right)."""

    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    pt: int
    pl: int
    pb: int
    pr: int

    def sizes(self) -> dict[str, int]:
        """The arguments of a convolution kernel."""
        return {k: getattr(self, k) for k in ("kh", "kw", "sh", "sw", "dh", "dw", "pt", "pl")}

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel reads only the input pixel at the same position."""
        return self.kh == self.kw == self.sh == self.sw == 1 and not any((self.pt, self.pl, self.pb, self.pr))

    def lying(self, x: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, Window, np.ndarray]:
        """x [n,h,w,c], the window and out; where images are one pixel wide, turned by 90 degrees: kernels run along rows."""
        if x.shape[2] > 1 or out.shape[2] > 1 or self.kw > 1 or self.pl:
            return x, self, out
        turned = replace(self, kh=1, kw=self.kh, sh=1, sw=self.sh, dh=1, dw=self.dh, pt=0, pl=self.pt, pb=0, pr=self.pb)
        return x.swapaxes(1, 2), turned, out.swapaxes(1, 2)

    def out(self, h: int, w: int, ceil: bool = False) -> tuple[int, int]:
        """The output's height and width."""
        return (
            extent(h, self.kh, self.sh, self.dh, self.pt, self.pb, ceil),
            extent(w, self.kw, self.sw, self.dw, self.pl, self.pr, ceil),
        )


def extent(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool) -> int:
    """The number of windows along one dimension; `ceil` counts a last one that ends outside, too."""
    last = size + before + after - dilation * (kernel - 1) - 1  # the last position where a window fits
    count = -(-last // stride) + 1 if ceil else last // stride + 1  # with `ceil` also if none fits, but one almost does
    if ceil and (count - 1) * stride >= size + before:  # the last window would start in the padding after the end
        count -= 1
    return max(count, 0)


def window(node: Node, kernel: tuple[int, int], h: int, w: int) -> Window:
    """The window of a node, from strides, dilations, pads and auto_pad; with one spatial dimension, h is 1."""
    rank = len(node.input(0).shape) - 2
    lift = [1] if rank == 1 else []
    strides = lift + node.ints("strides", [1] * rank, length=rank, minimum=1)
    dilations = lift + node.ints("dilations", [1] * rank, length=rank, minimum=1)
    auto = node.string("auto_pad", "NOTSET", allowed=("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))
    pads = node.ints("pads", [0] * 2 * rank, length=2 * rank, minimum=0)
    if rank == 1:
        pads = [0, pads[0], 0, pads[1]]
    if auto == "VALID":
        pads = [0, 0, 0, 0]
    elif auto != "NOTSET":
        pads = [0, 0, 0, 0]
        for i, size in enumerate((h, w)):
            out = -(-size // strides[i])
            total = max(0, (out - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - size)
            small, large = total // 2, total - total // 2
            pads[i], pads[i + 2] = (small, large) if auto == "SAME_UPPER" else (large, small)
    return Window(*kernel, *strides, *dilations, *pads)


def spatial(node: Node, value: Value) -> tuple[int, ...]:
    """The shape of an N,C,(H,)W value as N,C,H,W."""
    if len(value.shape) not in (3, 4):
        node.refuse(f"works on 1 to 3 spatial dimensions, got shape {value.shape}")
    n, c, *rest = value.shape
    return (n, c, *([1] * (2 - len(rest))), *rest)


@operator("Conv")
def conv(ctx: Lowering, node: Node) -> Value:
    x, w, bias = node.input(0, "X"), node.input(1, "W"), node.optional(2)
    if len(x.shape) == 5:
        from .volumes import conv3d  # it comes back here with images

        return conv3d(ctx, node)
    kernel = kernel_shape(node, x, w)
    n, c, h, wide = spatial(node, x)
    win = window(node, kernel, h, wide)
    groups = node.int("group", 1)
    outputs = w.shape[0]
    check_groups(node, groups, c, w)
    oh, ow = win.out(h, wide)
    if oh < 1 or ow < 1:
        node.refuse(f"the window {kernel} does not fit into shape {x.shape}")
    if bias is not None and bias.shape != (outputs,):
        node.refuse(f"bias {bias.shape} does not fit {outputs} outputs")
    if groups == c == outputs and win.pointwise and not w.runtime and x.data is not None:
        return scaled(ctx, x, w, bias)
    out, logical = ctx.image((n, outputs, oh, ow))
    four = int4.int4_weights(ctx, x, w, bias, pixels=groups == 1 and win.pointwise)
    if four is not None:
        rows, flat = lambda data: ctx.nhwc(lift(data)).reshape(-1, c, copy=False), out.reshape(-1, outputs)
        int4.q4_product(ctx, x, rows, four, bias, flat, "1x1 convolution")
    elif integer_ready(x, eight := int4.widened(w), bias):
        image, wq = ctx.nhwc(lift(ctx.codes(x.quant.value))), eight.quant
        integer_conv(ctx, image, zero_point(x.quant), wq, win, groups, float_tail(x.quant, wq, bias), out)
    else:
        image = ctx.nhwc(lift(ctx.f32(x)))
        offset = None if bias is None else ctx.contiguous(ctx.f32(bias))
        conv_steps(ctx, image, lift(ctx.f32(w)), offset, win, groups, out)
    return ctx.value(logical.reshape(n, outputs, ow) if len(x.shape) == 3 else logical)


def scaled(ctx: Lowering, x: Value, w: Value, bias: Value | None) -> Value:
    """A depthwise convolution of one cell: a factor and an offset per channel, which may fold into products."""
    channels = (w.shape[0], *[1] * (len(x.shape) - 2))
    data = ctx.binary(ctx.f32(x), ctx.f32(w).reshape(channels), 2)
    return ctx.value(data if bias is None else ctx.binary(data, ctx.f32(bias).reshape(channels), 0))


def kernel_shape(node: Node, x: Value, w: Value) -> tuple[int, ...]:
    """The kernel's (depth,) height and width, from the weights; a kernel_shape attribute must agree."""
    if len(w.shape) != len(x.shape) or 0 in w.shape:
        node.refuse(f"weights {w.shape} do not fit an input {x.shape}")
    kernel = list(w.shape[2:])
    given = node.ints("kernel_shape", kernel, length=len(kernel), minimum=1)
    if given != kernel:
        node.refuse(f"= {given} does not fit weights {w.shape}", "kernel_shape")
    return tuple([1] * (2 - len(kernel)) + kernel)


def check_groups(node: Node, groups: int, channels: int, w: Value) -> None:
    """Refuse a number of groups that does not fit the channels and the weights."""
    if groups < 1 or channels != w.shape[1] * groups or w.shape[0] % groups:
        node.refuse(f"= {groups} does not fit {channels} channels and weights {w.shape}", "group")


def lift(x: np.ndarray) -> np.ndarray:
    """N,C,W data as N,C,1,W."""
    return x[:, :, None] if x.ndim == 3 else x


def conv_steps(ctx: Lowering, x, w, bias, win: Window, groups: int, out) -> None:
    """The steps of a float convolution: x [n,h,w,c], w logical [outputs,c/groups,kh,kw], out [n,oh,ow,outputs]."""
    x, win, out = win.lying(x, out)
    n, h, wide, c = x.shape
    outputs, per_group = w.shape[:2]
    tail = {"bias": bias, "act": 0, "act_params": NO_PARAMS, "residual": None}
    if per_group == 1 and groups == c and c > 1:
        multiplier = outputs // c
        if multiplier > 1:  # repeat each channel once per output
            wide_x = ctx.new((n, h, wide, c, multiplier), "f32")
            ctx.copy(np.broadcast_to(x[..., None], wide_x.shape), wide_x)
            x = wide_x.reshape(n, h, wide, outputs)
        taps = ctx.contiguous(w[:, 0].transpose(1, 2, 0)).reshape(win.kh * win.kw, outputs)
        ctx.step("dwconv", x=x, w=taps, **win.sizes(), **tail, out=out, reason="depthwise")
        return
    ordered = w.transpose(0, 2, 3, 1)
    if win.pointwise and groups == 1 and out.shape[1:3] == x.shape[1:3]:
        rows, flat = x.reshape(-1, c, copy=False), out.reshape(-1, outputs)
        weights = float_weights(ctx, ordered.reshape(outputs, c) if not ctx.is_runtime(w) else w[:, :, 0, 0])
        ctx.step("sgemm", a=rows, w=weights, **tail, out=flat, reason="1x1 convolution as a matrix product")
        return
    size = outputs // groups
    some = 1 if ctx.is_runtime(w) else together(size, groups)
    for g in range(0, groups, some):
        made = slice(g * size, (g + some) * size)
        part = diagonal(ordered[made], some)
        weights = float_weights(ctx, part if not ctx.is_runtime(w) else ctx.contiguous(part).reshape(size, -1))
        which = f"group {g}" if some == 1 else f"groups {g} to {g + some - 1}"
        ctx.step(
            "sconv", x=x[..., g * per_group : (g + some) * per_group], w=weights, **win.sizes(),
            **tail | {"bias": None if bias is None else bias[made]}, out=out[..., made],
            reason=f"{which} of {groups}" if groups > some else "convolution",
        )  # fmt: skip


def float_weights(ctx: Lowering, w: np.ndarray):
    """Weights [n,...]: constants are packed later, run-time weights by a step."""
    if not ctx.is_runtime(w):
        return Dense(w)
    n, k = w.shape
    out = ctx.new((-(-n // 16), k, 16))
    ctx.step("spack", x=w, out=out, reason="weights are computed at run time")
    return out
