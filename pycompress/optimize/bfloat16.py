"""Float products of operands rounded to bfloat16, where that was asked for."""

from __future__ import annotations

from ..kernels import spec
from ..lower.values import Program, Step
from ..weights import Dense, rounded

ASKED = "products of operands rounded to bfloat16, as asked"


def use_bfloat16_products(program: Program) -> None:
    """Give float products of constant weights the kernel that rounds both operands to bfloat16.

    What stays in float32 says why: sparse and depthwise products, weights that are made at run time, and weights of
    which bfloat16 cannot hold one.
    """
    program.steps = [_rounded(step, program) for step in program.steps]


def _rounded(step: Step, program: Program) -> Step:
    traits = spec(step.kernel).traits
    if traits.sums != "float":
        return step
    if not traits.bfloat16:
        return _because(step, f"products in float32: {step.kernel} has no kernel for bfloat16")
    w = step.args["w"]
    if not isinstance(w, Dense):
        return _because(step, "products in float32: the weights are made at run time")
    if 0 in w.w.strides:
        return _because(step, "products in float32: the weights repeat one number")
    half = program.facts.of("bfloat16", w, lambda: rounded(w.w, "bfloat16"))
    if half is None:
        return _because(step, "products in float32: bfloat16 cannot hold the weights")
    return _because(step.replace(traits.bfloat16, w=half), ASKED)


def _because(step: Step, text: str) -> Step:
    return step.replace(reason="; ".join(filter(None, (step.reason, text))))
