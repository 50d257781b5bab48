"""empty.py KERNEL: open and run plans of one call whose output is empty, for one of its sizes is 0; another one is large."""

import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

import handmade
from handmade import Refused
from pycompress import kernels

name = sys.argv[1]
spec = getattr(kernels, name).spec
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.alarm(50)
graph, tensors, _ = handmade.program_of(name, handmade.example(name, np.random.default_rng(0)))
(program,), words = graph["programs"], [s for s, a in spec.slots]
sizes = [s for s, a in spec.slots if a is None or a.kind == "size"]
opened = 0
for size in {w for n in spec.outputs for d, _ in spec.by_name[n].dims for w in re.findall(r"[a-z]\w*", d)} & set(sizes):
    for large in sizes:
        for value in (2**31 - 1, 2**20 - 1):
            step = list(program["steps"][0])
            step[1 + words.index(large)] = value
            step[1 + words.index(size)] = 0
            try:
                session = handmade.build({**graph, "programs": [{**program, "steps": [step]}]}, tensors).session()
            except Refused:
                continue
            session.run([])
            opened += 1
print(opened, "ran")
