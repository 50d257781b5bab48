"""What the passes' verdicts say on the command line."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .output import Output

DATA = ("calibration", "samples", "mean", "std", "scale", "resize", "crop", "layout")  # of a step


def add_option(parser) -> None:
    """Adds --min-snr."""
    parser.add_argument(
        "--min-snr",
        type=float,
        metavar="DB",
        help="write nothing where a step leaves the outputs, on calibration samples held back, a lower signal-to-noise ratio",
    )


def asked(steps: dict[str, dict], min_snr: float | None) -> dict[str, dict]:
    """`steps`, asked for `min_snr`; cast is judged on the calibration data of the step before where it has none of its own."""
    data: dict = {}
    found = {}
    for name, options in steps.items():
        own = {**data, **options} if name == "cast" else options
        data = {k: own[k] for k in DATA if own.get(k) is not None} or data
        found[name] = own if min_snr is None else {"min_snr": min_snr, **own}
        if min_snr is not None and own.get("calibration") is None:
            raise ValueError(f"--min-snr: {name} needs --calibration: without samples the answers cannot be compared")
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Leaves the warnings of verdicts to `report`."""
    from ..compress.verdict import VerdictWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerdictWarning)
        yield


def report(proto, out: Output) -> dict:
    """Prints the verdict of the last step, its warnings on stderr; returns it as JSON has it."""
    from ..compress.verdict import METADATA, verdict

    given = verdict(proto)
    out.line(f"verdict on {given.step}: {given}")
    for name, why in given.left.items():
        out.line(f"not judged: {name}: {why}")
    for text in given.warnings:
        print(f"warning: {text}", file=sys.stderr)
    told = json.loads({p.key: p.value for p in proto.metadata_props}[METADATA])
    return {key: value for key, value in told.items() if key != "earlier"} | {"warnings": given.warnings}
