"""Stores weights that float16 or bfloat16 represents exactly in 16 bits; the kernel widens them as it reads them."""

from __future__ import annotations

from ..kernels import spec
from ..lower.values import Program, Step
from ..weights import Dense, Facts, halved, rounded


def use_half_weights(program: Program) -> None:
    """Run matrix products whose weights are float16 or bfloat16 numbers on the kernel that reads such weights.

    The values decide, not how the model stores them: float16 initializers, Cast after them, transposes, and
    float32 initializers that were rounded before all qualify. Results are the same bytes.

    In a float16 or bfloat16 model all weights qualify; those into which a factor was folded (batch norm) are rounded again.
    """
    program.steps = [_halved(step, program.half, program.facts) for step in program.steps]


def _halved(step: Step, typed: str, facts: Facts) -> Step:
    w = step.args.get("w")
    traits = spec(step.kernel).traits
    if not isinstance(w, Dense) or not traits.weights:
        return step
    half, again = halved(w.w) if facts.of("half", w, lambda: halved(w.w) is not None) else None, ""
    if half is None and typed and traits.half and 0 not in w.w.strides:
        half, again = rounded(w.w, typed), ", rounded again"
    if half is None:
        return step
    kind = half.w.dtype.name
    if not traits.half:
        return step.replace(
            reason=f"{step.reason}; {kind} weights as float32: convolutions of more than one cell have no 16-bit kernel"
        )
    return step.replace(traits.half, w=half, reason="; ".join(filter(None, (step.reason, f"{kind} weights{again}"))))
