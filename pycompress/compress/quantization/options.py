"""What `quantize` is asked for, checked."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

from ..verdict import check_min_snr
from .int4 import Int4Options
from .targets import OPERATORS

ACTIVATIONS = ("static", "dynamic", "float")
METHODS = ("mse", "minmax", "percentile", "entropy")


@dataclass(frozen=True)
class Options:
    """The arguments of `quantize` that say how; an argument that is out of range raises ValueError."""

    four: Int4Options
    accumulate: str | int
    activations: str
    method: str
    percentile: float
    symmetric: bool
    operators: frozenset[str]
    exclude: frozenset[str]
    bias_correction: bool | str
    equalize: bool
    interleave: bool
    lstm: bool
    quantize_outputs: bool
    judge: bool
    unless_slower: bool
    min_snr: float | None

    def __post_init__(self):
        if self.activations not in ACTIVATIONS:
            raise ValueError(f"activations must be one of {', '.join(ACTIVATIONS)}, got {self.activations!r}")
        if not isinstance(self.lstm, bool):
            raise ValueError(f"lstm must be True or False, got {self.lstm!r}")
        if self.lstm and self.unless_slower:
            raise ValueError("lstm: unless_slower does not time LSTMs; give one of the two")
        for name in ("quantize_outputs", "unless_slower"):
            if getattr(self, name) and not self.static:
                raise ValueError(f'{name} needs activations="static"')
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if not isinstance(self.percentile, numbers.Real) or not 50 < self.percentile <= 100:
            raise ValueError(f"percentile must be in (50, 100], got {self.percentile!r}")
        if not self.sequential and not isinstance(self.bias_correction, bool):
            raise ValueError(f"bias_correction must be True, False or 'sequential', got {self.bias_correction!r}")
        if self.sequential and not self.static:
            raise ValueError('bias_correction="sequential" needs activations="static"')
        if unknown := self.operators - set(OPERATORS):
            raise ValueError(f"cannot quantize {min(unknown)}; can: {', '.join(OPERATORS)}")
        check_min_snr(self.min_snr, True)
        if self.min_snr is not None and not self.judge:
            raise ValueError("min_snr needs judge=True: it is about the outputs' difference")

    @property
    def static(self) -> bool:
        return self.activations == "static"

    @property
    def sequential(self) -> bool:
        return self.bias_correction == "sequential"
