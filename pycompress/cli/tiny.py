"""``pycompress demo --tiny``: a trained network in a file of 41 kB, with numpy and cffi alone."""

from __future__ import annotations

import itertools

from .. import zoo
from ..peers.interleave import interleave
from ..plan import Plan
from ..session import InferenceSession, SessionOptions
from . import bench, run
from .output import Output, size

SHOWN = 16  # images of which the classes are printed


def execute(args, out: Output) -> dict:
    plan = Plan.load(zoo.tiny())
    session = InferenceSession(plan, SessionOptions(intra_op_num_threads=args.threads))
    images, labels = zoo.tiny_images()
    (port,) = session.get_inputs()
    feeds = [{port.name: image[None]} for image in images]
    answers = classify(session, feeds, labels.tolist())
    turns = itertools.cycle(feeds)
    timing = interleave(
        {"an image": lambda: session.run(None, next(turns))}, runs=args.runs * len(feeds), rounds=4, warmup=len(feeds)
    )["an image"]
    told = plan.provenance
    result = bench.header(args.threads) | {
        "plan": str(zoo.tiny()),
        "bytes": zoo.tiny().stat().st_size,
        "isa": sorted({row["isa"] for row in session.explain()}),
        "macs": sum(row["macs"] for row in session.explain()),
        "images": answers,
        "right": sum(a["true"] == a["predicted"] for a in answers),
        "min_us": timing.best * 1e6,
        "median_us": timing.median * 1e6,
        "runs": timing.n,
        "accuracy": float(told["accuracy"]),
        "accuracy_of": told["accuracy.images"],
        "accuracy_measured": told["accuracy.measured"],
    }
    _print(result, out)
    return result


def classify(session: InferenceSession, feeds: list[dict], labels: list[int]) -> list[dict]:
    """The true and the best class of each image, and the latter's share."""
    answers, names = [], session.labels
    for feed, label in zip(feeds, labels):
        (best,) = run.top(session.run(None, feed)[0][0], names, 1)
        answers.append({"true": names[label], "predicted": best["name"], "p": best["p"]})
    return answers


def _print(r: dict, out: Output) -> None:
    rows = [
        (i, a["true"], a["predicted"], f"{a['p']:.3f}", "" if a["true"] == a["predicted"] else "wrong")
        for i, a in enumerate(r["images"][:SHOWN])
    ]
    out.table(("test image", "is", "is taken for", "p", ""), rows)
    out.line(f"\n{r['right']} of these and the {len(r['images']) - SHOWN} images after them are named rightly.")
    out.line(f"Accuracy: {r['accuracy']:.2%} of {r['accuracy_of']} ({r['accuracy_measured']}).")
    out.line(f"{r['plan']}: {size(r['bytes'])}, {r['macs'] / 1e6:.1f} million multiply-accumulates an image\n")
    bench.print_header(r, out)
    out.line(f"kernels: {', '.join(r['isa'])}")
    out.line(f"time of an image: {r['min_us']:.0f} us min, {r['median_us']:.0f} us median of {r['runs']} runs")
