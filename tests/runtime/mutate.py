"""mutate.py COUNT SEED: open and run files with random changes; prints how many opened and how many not."""

import copy
import random
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

import handmade
from pycompress import kernels, zoo
from pycompress._pcx import lib

NUMBERS = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    17,
    63,
    64,
    255,
    256,
    4096,
    65536,
    2**20,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    -1,
]
RUN_LIMIT = 1 << 22  # bytes of arena and ports: more is opened, but not run


def plans():
    """A plan for each kernel, its inputs variable or constant: (graph, tensors)."""
    for name in kernels.NAMES:
        args = handmade.example(name, np.random.default_rng(0))
        spec = getattr(kernels, name).spec
        variable = [n for n, a in spec.by_name.items() if n not in spec.outputs and not a.below]
        for inputs in ([], variable):
            yield handmade.program_of(name, args, inputs)[:2]


def twisted(graph, rng):
    """`graph` with other sizes, offsets and nulls in its step: what most often passes the checks."""
    graph = copy.deepcopy(graph)
    step = graph["programs"][0]["steps"][0]
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        i = rng.randrange(1, len(step))
        if isinstance(step[i], list):
            step[i] = rng.choice([None, [*step[i][:2], rng.choice([4, 8, 16, 64])]])
        elif step[i] is not None:
            step[i] = rng.choice([*NUMBERS, step[i] + 1, abs(step[i] - 1), step[i] * 2, step[i] // 2])
    return graph


def mutated(data, rng):
    """`data` with a number, a byte, a span or its end changed, mostly inside the header."""
    out = bytearray(data)
    end = 8 + int.from_bytes(data[:8], "little")
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.random()
        if kind < 0.6:  # another number, of the same length in text
            found = rng.choice(list(re.finditer(rb"-?\d+", bytes(out[8:end]))))
            text = str(
                rng.choice(NUMBERS) if rng.random() < 0.5 else int(found[0]) + rng.choice([-1, 1, 4, 64])
            ).encode()
            gap = len(text) - len(found[0])
            if gap <= 0:
                text += b" " * -gap
            elif out[end - gap : end] == b" " * gap:  # taken from the padding
                del out[end - gap : end]
            else:
                continue
            out[8 + found.start() : 8 + found.end()] = text
        elif kind < 0.85:
            out[rng.randrange(end)] = rng.randrange(256)
        elif kind < 0.95:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        else:
            del out[rng.randrange(len(out)) :]
            return bytes(out)
    return bytes(out)


def run(plan):
    for program in range(lib.pcx_plan_programs(plan.c)):
        sides = []
        for count, get in ((lib.pcx_plan_inputs, lib.pcx_plan_input), (lib.pcx_plan_outputs, lib.pcx_plan_output)):
            ports = [get(plan.c, program, i) for i in range(count(plan.c, program))]
            if sum(p.bytes for p in ports) + lib.pcx_plan_arena(plan.c, program) > RUN_LIMIT:
                return
            sides.append([np.zeros(p.bytes + 8, np.uint8) for p in ports])
        plan.session(2).call(program, *sides)


def main(count, seed):
    rng = random.Random(seed)
    originals = list(plans())
    files = [handmade.safetensors(graph, tensors) for graph, tensors in originals] + [zoo.tiny().read_bytes()]
    for data in files:
        run(handmade.parse(data))
    opened = 0
    for _ in range(count):
        signal.alarm(30)  # a file that hangs kills the process
        if rng.random() < 0.5:
            data = mutated(rng.choice(files), rng)
        else:
            graph, tensors = rng.choice(originals)
            data = handmade.safetensors(twisted(graph, rng), tensors)
        if len(sys.argv) > 3:
            Path(sys.argv[3]).write_bytes(data)  # the last one before a crash
        try:
            plan = handmade.parse(data, rng.choice([0, None]))
        except handmade.Refused:
            continue
        opened += 1
        run(plan)
    print(opened, count - opened)


main(int(sys.argv[1]), int(sys.argv[2]))
