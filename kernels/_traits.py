"""What the compiler may do with a kernel's steps: one record for each kernel, beside its reference.

What the contract says is not repeated here: whether the epilogue has an activation (`act`) or a residual,
whether the output has a row stride (`ldo`), which arguments have a row for each row of the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Traits:
    """Everything that passes need to know about a kernel, beside its contract.

    Attributes
    ----------
    sums : {"", "float", "integer"}
        Sums of products with an epilogue: "float" is act(sum + bias + residual), "integer" requantizes.
    weights : {slot: kernel}
        The slots that hold packed weights, and the kernel whose ``pack`` makes them.
    folds : tuple of {"offset", "factor"}
        Which constants per channel can be folded: into the bias ("offset"), into the weights ("factor").
    units : tuple of str
        The slots to divide by the output's scale so that the result is quantized.
    tile : {"", "rows", "window", "convolution"}
        How the step is cut into tiles: by rows of a matrix, or by lines of an image with the lines around them, a depthwise
        convolution's or another's; "": not.
    layout : {"", "nhwc", "chw"}
        Layout of its images: channel-last or channel-first.
    chw : str or tuple of str
        The kernel that does the same on images in CHW; or the slots of this kernel that may be in CHW.
    dense, block, pattern : str, (int, int), str
        For a sparse kernel: the corresponding dense kernel, the outputs x inputs of a block, and the name of such zeros
        in messages.
    half : str
        The corresponding kernel for float16 or bfloat16 weights.
    bfloat16 : str
        The corresponding kernel for operands rounded to bfloat16.
    in_place : tuple of str
        The inputs that `out` may be, element for element.
    accumulation : (str, str)
        If weights are packed with an int16 accumulation depth: its unit, and the parts that have one each.
    """

    sums: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    folds: tuple[str, ...] = ()
    units: tuple[str, ...] = ("scale",)
    tile: str = ""
    layout: str = ""
    chw: str | tuple[str, ...] = ()
    dense: str = ""
    block: tuple[int, int] = (1, 1)
    pattern: str = ""
    half: str = ""
    bfloat16: str = ""
    in_place: tuple[str, ...] = ()
    accumulation: tuple[str, str] = ()
