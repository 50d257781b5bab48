"""Structured changes to real models and plans: each is refused with an exception of this package, or runs.

    python tests/fuzz/fuzz.py --cases 100000 --processes 2 --log fuzz.log [--seed 0]     # a night's work
    python tests/fuzz/fuzz.py --seed 0 --only 4711                        # one case again; writes it to case.bin

A case is a function of the seed and its number.  Processes take 500 cases each, with a limit of time per case, so that a crash
or a hang costs its own process only, and is reported with its number.  With ``--log`` a line of JSON is added to that file for
every 500 cases; started again with the same file, it goes on where it stopped.  Prints the counts by kind of file and outcome:
it ran, it was opened but is too large to run, or the exception that refused it.  Exits with 1 if there was any other outcome.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import onnx
import seeds
from onnx import AttributeProto, TensorProto

import pycompress as pc
from pycompress._pcx import lib
from pycompress.batches import dtype_of

CHUNK, SECONDS = 500, 20
RUN_LIMIT = 1 << 24  # bytes of activations, inputs and outputs: more is compiled, but not run
NUMBERS = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    17,
    64,
    255,
    4096,
    65536,
    2**31 - 1,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
    -1,
    -2,
    -4,
    -(2**31),
    -(2**63),
]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e38, -1e38, float("nan"), float("inf"), float("-inf")]


def number(rng, near: int) -> int:
    return (
        rng.choice(NUMBERS)
        if rng.random() < 0.5
        else max(-(2**63), min(2**63 - 1, near + rng.choice([-2, -1, 1, 2, 8])))
    )


def changed_model(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """`model` with one to three changes to what it says; now and then to its bytes."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice([attribute, attribute, wiring, wiring, operator, tensor, tensor, port, order, version])(out, rng)
    data = bytearray(out.SerializeToString())
    if rng.random() < 0.05:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def node(model, rng):
    return rng.choice(model.graph.node) if model.graph.node else onnx.NodeProto()


def attribute(model, rng) -> None:
    some = node(model, rng)
    if not some.attribute or rng.random() < 0.1:
        some.attribute.append(
            onnx.helper.make_attribute(rng.choice(["axis", "group", "to", "pads", "mode"]), number(rng, 1))
        )
        return
    a = rng.choice(some.attribute)
    kind = rng.random()
    if kind < 0.1:
        some.attribute.remove(a)
    elif kind < 0.2:
        a.type = rng.randrange(0, 15)
    elif a.type == AttributeProto.INT:
        a.i = number(rng, a.i)
    elif a.type == AttributeProto.FLOAT:
        a.f = rng.choice(FLOATS)
    elif a.type == AttributeProto.STRING:
        a.s = rng.choice([b"", b"\xff", b"linear", b"SAME_UPPER", b"VALID", b"reverse", b"wrap", a.s[:2]])
    elif a.ints:
        if kind < 0.4:
            a.ints.append(number(rng, 1))
        elif kind < 0.5:
            del a.ints[rng.randrange(len(a.ints)) :]
        else:
            i = rng.randrange(len(a.ints))
            a.ints[i] = number(rng, a.ints[i])


def names(model) -> list[str]:
    return ["", *(n for x in model.graph.node for n in x.output), *(t.name for t in model.graph.initializer)]


def wiring(model, rng) -> None:
    some = node(model, rng)
    side = some.output if rng.random() < 0.15 else some.input
    kind = rng.random()
    if kind < 0.15:
        side.append(rng.choice(names(model)))
    elif side and kind < 0.3:
        del side[rng.randrange(len(side))]
    elif side:
        side[rng.randrange(len(side))] = rng.choice(names(model))


def operator(model, rng) -> None:
    some = node(model, rng)
    some.op_type = rng.choice(
        [x.op_type for x in model.graph.node] + ["Relu", "Add", "MatMul", "Reshape", "If", "Nothing"]
    )
    if rng.random() < 0.1:
        some.domain = rng.choice(["ai.onnx", "com.microsoft", "x"])


def tensor(model, rng) -> None:
    if not model.graph.initializer:
        return
    t, kind = rng.choice(model.graph.initializer), rng.random()
    if kind < 0.2 and t.dims:
        i = rng.randrange(len(t.dims))
        t.dims[i] = number(rng, t.dims[i])
    elif kind < 0.3:
        t.dims.insert(0, number(rng, 1))
    elif kind < 0.4:
        del t.dims[rng.randrange(len(t.dims) + 1) :]
    elif kind < 0.5:
        t.data_type = rng.randrange(0, 25)
    elif kind < 0.6:
        t.raw_data = t.raw_data[: rng.randrange(len(t.raw_data) + 1)]
    elif kind < 0.65:
        t.data_location = TensorProto.EXTERNAL
        t.external_data.add(
            key=rng.choice(["location", "offset"]), value=rng.choice(["/etc/passwd", "../x", "-1", "9" * 30])
        )
    else:
        values = np.frombuffer(t.raw_data, np.uint8).copy()
        if t.data_type == TensorProto.FLOAT and len(values) % 4 == 0 and len(values):
            values.view(np.float32)[rng.randrange(len(values) // 4)] = rng.choice(FLOATS)
        elif t.data_type == TensorProto.INT64 and len(values) % 8 == 0 and len(values):
            x = values.view(np.int64)
            i = rng.randrange(len(x))
            x[i] = number(rng, int(x[i]))
        elif len(values):
            values[rng.randrange(len(values))] = rng.randrange(256)
        t.raw_data = values.tobytes()


def port(model, rng) -> None:
    some = rng.choice([*model.graph.input, *model.graph.output, *model.graph.value_info])
    dims, kind = some.type.tensor_type.shape.dim, rng.random()
    if kind < 0.15:
        some.type.tensor_type.elem_type = rng.randrange(0, 25)
    elif kind < 0.25:
        some.name = rng.choice(names(model))
    elif kind < 0.4 or not dims:
        dims.add().dim_value = number(rng, 1)
    elif kind < 0.5:
        del dims[rng.randrange(len(dims))]
    elif kind < 0.6:
        rng.choice(dims).dim_param = "n"
    else:
        d = rng.choice(dims)
        d.dim_value = number(rng, d.dim_value)


def order(model, rng) -> None:
    if model.graph.node:
        i = rng.randrange(len(model.graph.node))
        moved = onnx.NodeProto()
        moved.CopyFrom(model.graph.node[i])
        if rng.random() < 0.7:
            del model.graph.node[i]
        if rng.random() < 0.6:
            model.graph.node.insert(rng.randrange(len(model.graph.node) + 1), moved)


def version(model, rng) -> None:
    if rng.random() < 0.7 and model.opset_import:
        model.opset_import[0].version = rng.choice([*range(26), 2**40, -1])
    else:
        model.ir_version = rng.choice([0, 1, 3, 10, 13, 2**40])


def changed_plan(data: bytes, rng: random.Random) -> bytes:
    """A plan with other numbers and places in its steps and ports, other tensors, or other bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    graph = json.loads(header["__metadata__"]["pycompress"])
    body = bytearray(data[8 + length :])
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        program, kind = rng.choice(graph["programs"]), rng.random()
        step = rng.choice(program["steps"])
        i = rng.randrange(len(step))
        if kind < 0.35 and isinstance(step[i], int):
            step[i] = number(rng, step[i])
        elif kind < 0.55 and isinstance(step[i], list):
            at = rng.randrange(len(step[i]))
            step[i][at] = rng.choice([number(rng, step[i][at]), step[i][at] + rng.choice([4, 64, -64])])
        elif kind < 0.65:
            other = rng.choice(program["steps"])
            step[i] = rng.choice(
                [None, rng.choice(other), [rng.randrange(5), rng.randrange(9), rng.choice([0, 4, 64])]]
            )
        elif kind < 0.72:
            side = rng.choice([program["inputs"], program["outputs"]])
            if side and (shape := rng.choice(side)["shape"]):
                at = rng.randrange(len(shape))
                shape[at] = number(rng, shape[at])
        elif kind < 0.77:
            program["arena"] = number(rng, program["arena"])
        elif kind < 0.84:
            rng.choice([program["steps"].append, program["steps"].remove])(step)
            if not program["steps"]:
                break
        elif kind < 0.9:
            rng.shuffle(program["steps"])
        elif kind < 0.95 and body:
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        elif len(names := [n for n in header if n != "__metadata__"]) > 1:
            a, b = rng.sample(names, 2)
            header[a], header[b] = header[b], header[a]
    header["__metadata__"]["pycompress"] = json.dumps(graph)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64 + 56)
    out = bytearray(len(text).to_bytes(8, "little") + text + body)
    if rng.random() < 0.1:
        out[rng.randrange(len(text))] = rng.randrange(256)
    if rng.random() < 0.02:
        del out[rng.randrange(len(out)) :]
    return bytes(out)


class Fuzzer:
    def __init__(self, seed: int):
        self.seed, self.models, self.networks = seed, seeds.models(), seeds.networks()
        self.plans = seeds.plans(self.models | self.networks)

    def case(self, index: int) -> tuple[str, bytes]:
        """(kind, file) of a case."""
        rng = random.Random(f"{self.seed}/{index}")
        if rng.random() < 0.5:
            some = self.networks if rng.random() < 0.05 else self.models
            return "model", changed_model(some[rng.choice(list(some))], rng)
        return "plan", changed_plan(self.plans[rng.choice(list(self.plans))], rng)

    def tried(self, kind: str, data: bytes) -> str:
        """What became of a case: "ran", "opened" where it was too large to run, or what refused it; other exceptions are bugs."""
        try:
            options = pc.SessionOptions(intra_op_num_threads=1)
            session = pc.InferenceSession(pc.Plan.from_bytes(data) if kind == "plan" else data, options)
            ports = session.get_inputs()
            shapes = [[d if isinstance(d, int) else 2 for d in port.shape] for port in ports]
            if sum(int(np.prod(s, dtype=object)) for s in shapes) * 8 > RUN_LIMIT:
                return "opened"
            feed = {p.name: np.zeros(s, dtype_of(p)) for p, s in zip(ports, shapes)}
            program, _ = session._match(feed)
            size = lib.pcx_plan_arena(program.plan.handle, program.index)
            size += sum(int(np.prod(p.shape, dtype=object)) * p.dtype.itemsize for p in program.outputs)
            if size > RUN_LIMIT:
                return "opened"
            session.run(None, feed)
            return "ran"
        except (pc.PycompressError, MemoryError) as error:
            return f"refused: {type(error).__name__}"


def work(fuzzer: Fuzzer, cases: range, place: int | None) -> collections.Counter:
    """Try cases; before each its number is written to the descriptor `place`, for whoever outlives this process."""
    counts: collections.Counter = collections.Counter()
    for index in cases:
        if place is not None:
            os.pwrite(place, b"%-20d" % index, 0)
        signal.alarm(SECONDS)
        kind, data = fuzzer.case(index)
        try:
            counts[f"{kind} {fuzzer.tried(kind, data)}"] += 1
        except Exception:
            counts[f"{kind} WRONG"] += 1
            print(f"case {index}: a {kind}: {traceback.format_exc(limit=-3)}", file=sys.stderr, flush=True)
        signal.alarm(0)
    return counts


def chunk(seed: int, cases: range) -> collections.Counter:
    """`work` in a process; where it dies, the case is reported and the next process goes on behind it."""
    counts: collections.Counter = collections.Counter()
    while cases:
        with open(os.memfd_create("place"), "r+b") as place:
            words = [
                sys.executable,
                __file__,
                "--seed",
                str(seed),
                "--chunk",
                f"{cases.start}:{cases.stop}:{place.fileno()}",
            ]
            done = subprocess.run(words, capture_output=True, text=True, pass_fds=[place.fileno()])
            sys.stderr.write(done.stderr if done.returncode == 0 else done.stderr[-2000:])
            if done.returncode == 0:
                return counts + collections.Counter(json.loads(done.stdout))
            written = os.pread(place.fileno(), 20, 0)
            if not written:
                sys.exit(f"the fuzzer itself fails: {done.stderr[-2000:]}")
            at = int(written)
        what = "hangs" if done.returncode == -signal.SIGALRM else f"ends with {done.returncode}"
        print(f"case {at}: the process {what}", file=sys.stderr, flush=True)
        counts["process DIED"] += 1
        cases = range(at + 1, cases.stop)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--log", help="a file that keeps what was done: a second start goes on there")
    parser.add_argument("--only", type=int, metavar="CASE", help="this one, in this process")
    parser.add_argument("--chunk", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if args.only is not None:
        fuzzer = Fuzzer(args.seed)
        kind, data = fuzzer.case(args.only)
        Path("case.bin").write_bytes(data)
        print(kind, fuzzer.tried(kind, data))
        return 0
    if args.chunk:
        start, stop, place = map(int, args.chunk.split(":"))
        with contextlib.redirect_stdout(sys.stderr):
            counts = work(Fuzzer(args.seed), range(start, stop), place)
        print(json.dumps(counts))
        return 0
    total = everything(args)
    print(f"\n{json.dumps(dict(sorted(total.items())))}")
    return any(word in ("WRONG", "DIED") for key in total for word in key.split())


def everything(args: argparse.Namespace) -> collections.Counter:
    """The counts of all cases: of those in the log, and of the others, which are tried now."""
    chunks = [range(i, min(i + CHUNK, args.cases)) for i in range(0, args.cases, CHUNK)]
    total: collections.Counter = collections.Counter()
    with open(args.log or os.devnull, "a+") as log, ThreadPoolExecutor(args.processes) as pool:
        log.seek(0)
        for line in map(json.loads, log.read().splitlines()):
            if line["seed"] == args.seed and (cases := range(*line["cases"])) in chunks:
                chunks.remove(cases)
                total.update(line["counts"])
        for cases, counts in zip(chunks, pool.map(lambda cases: chunk(args.seed, cases), chunks)):
            total += counts
            print(
                json.dumps({"seed": args.seed, "cases": [cases.start, cases.stop], "counts": counts}),
                file=log,
                flush=True,
            )
            print(f"\r{sum(total.values())} of {args.cases}", end="", file=sys.stderr, flush=True)
    return total


if __name__ == "__main__":
    sys.exit(main())
