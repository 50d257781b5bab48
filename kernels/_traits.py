"""What the compiler may do with a kernel's steps: one record for each kernel, beside its reference.

What its contract says already is not repeated here: whether the epilogue takes an activation (`act`) or a residual,
whether rows of the output may lie apart (`ldo`), which arguments have a row for each row of the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Traits:
    """Everything a pass needs to know of a kernel that its contract does not say.

    Attributes
    ----------
    sums : {"", "float", "integer"}
        Sums of products with an epilogue: "float" is act(sum + bias + residual), "integer" requantizes.
    weights : {slot: kernel}
        The slots that hold packed weights, and the kernel whose ``pack`` makes them.
    folds : tuple of {"offset", "factor"}
        What constants per channel may join bias ("offset") and weights ("factor").
    units : tuple of str
        The slots to divide so that the result counts in steps of a quantized output.
    tile : {"", "rows", "window"}
        How a tile of lines is cut from it: rows of a matrix, or a window with the lines around it; "": it is not.
    layout : {"", "nhwc", "chw"}
        Of its images: pixel by pixel, or channel by channel.
    chw : str or tuple of str
        The kernel that does the same on images in CHW; or the slots that may lie so in this one.
    dense, block, pattern : str, (int, int), str
        Of a sparse kernel: the kernel that does the same with all weights, the outputs x inputs of a block, and what
        people call such zeros.
    half : str
        The kernel that does the same with weights of 16 bits.
    bfloat16 : str
        The kernel that does the same with both operands rounded to bfloat16.
    in_place : tuple of str
        The inputs that `out` may be, element for element.
    accumulation : (str, str)
        Where weights are packed with a certified int16 accumulation depth: what is counted, and for each of what.
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
