"""What ``compress`` prints about its steps: how each layer was changed, and the verdict."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .output import Output


def told_by(proto, step: str) -> dict:
    """The entry of a step in the model's metadata."""
    return json.loads({p.key: p.value for p in proto.metadata_props}.get(f"pycompress.{step}", "{}"))


def report_pruned(proto, out: Output) -> None:
    """Prints what was pruned, and what was left alone and why."""
    told = told_by(proto, "prune")
    if "groups" in told:  # whole channels
        out.table(
            ("layers", "channels"), [(", ".join(x["layers"]), f"{x['kept']} of {x['total']}") for x in told["groups"]]
        )
        for pinned in told["pinned"]:
            out.line(f"left alone, {', '.join(pinned['why'])}: {', '.join(pinned['layers'])}")
        kept, total = (sum(x[key] for x in told["groups"]) for key in ("kept", "total"))
        out.line(f"pruned: {kept} of {total} channels stay")
        return
    out.table(("layer", "zeros"), [(name, f"{share:.1%}") for name, share in told.get("layers", {}).items()])
    left_alone(told, out)
    if "sparsity" in told:
        out.line(f"pruned: {told['sparsity']:.1%} of the weights of these layers are zero, {told['pattern']}")


def report_factorized(proto, out: Output) -> None:
    """Prints the chosen ranks, and what was left alone and why."""
    told = told_by(proto, "factorize")
    if not told["layers"]:
        out.warn("factorize: no layer was factorized: none would become cheaper")
    out.table(
        ("layer", "kind", "rank", "break-even", "error", "MACs"),
        [
            (
                *(name, x["kind"], "x".join(map(str, np.atleast_1d(x["rank"]))), x["break_even"]),
                *(f"{x['error']:.1%}", f"{x['macs'][1] / x['macs'][0]:.0%}"),
            )
            for name, x in told["layers"].items()
        ],
    )
    left_alone(told, out)
    macs, weights = (f"{told[unit][1] / told[unit][0]:.1%}" for unit in ("macs", "parameters"))
    count = f"{len(told['layers'])} layers are factorized"
    out.line(f"{count}; of all that can be, {macs} of the multiply-accumulates and {weights} of the weights stay")


def left_alone(told: dict, out: Output) -> None:
    """Prints the layers that were left alone, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, why in told.get("excluded", {}).items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        out.line(f"left alone, {why}: {', '.join(names)}")


def report_cast(proto, out: Output) -> None:
    """Prints what was cast, and what was left alone and why."""
    told = told_by(proto, "cast")
    for name, why in told["left"].items():
        out.line(f"left at float32: {name}: {why}")
    tiny = f", {told['flushed']} too small for it became zero" if told["flushed"] else ""
    out.line(f"cast: the weights of {len(told['weights'])} constants are {told['dtype']}{tiny}")


REPORT = {"prune": report_pruned, "factorize": report_factorized, "cast": report_cast}


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses the warnings of verdicts, which `verdict` prints."""
    from ..compress.verdict import VerdictWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerdictWarning)
        yield


def verdict(proto, out: Output) -> dict:
    """Prints the verdict of the last step, with its warnings on stderr; returns it for --json."""
    from ..compress.verdict import METADATA
    from ..compress.verdict import verdict as verdict_of

    given = verdict_of(proto)
    out.line(f"verdict on {given.step}: {given}")
    for name, why in given.left.items():
        out.line(f"not judged: {name}: {why}")
    for text in given.warnings:
        out.warn(text)
    told = json.loads({p.key: p.value for p in proto.metadata_props}[METADATA])
    return {key: value for key, value in told.items() if key != "earlier"} | {"warnings": given.warnings}
