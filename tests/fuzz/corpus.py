"""Write the corpus that plan.c and csr.c start from: a plan for each kernel, and matrices.  corpus.py FOLDER

The files under corpus/ that fuzzing found beside these (named by their digest) are kept by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

import handmade
from pycompress import kernels


def plan(name: str) -> bytes:
    """A plan of one call, whose inputs are variable where they may be."""
    args = handmade.example(name, np.random.default_rng(0))
    spec = getattr(kernels, name).spec
    variable = [n for n, a in spec.by_name.items() if n not in spec.outputs and not a.below and n != "w"]
    return handmade.safetensors(*handmade.program_of(name, args, variable)[:2])


def matrix(rows: list[int], index: list[int], k: int, dtype=np.int32) -> bytes:
    head = bytes([dtype is np.int64, len(rows) - 1, k, len(index)])
    return head + np.array(rows + index, dtype).tobytes()


MATRICES = {
    "empty": matrix([0], [], 0),
    "some": matrix([0, 2, 2, 5], [0, 3, 1, 1, 3], 4),
    "wide": matrix([0, 2, 2, 5], [0, 3, 1, 1, 3], 4, np.int64),
    "falls": matrix([0, 2, 1], [0, 1], 2),
    "beyond": matrix([0, 1], [4], 4),
    "negative": matrix([0, 1], [-1], 4),
    "end": matrix([0, 2**31 - 1], [0], 1),
    "first": matrix([1, 1], [0], 1),
    "wraps": matrix([0, -(2**63), 1], [0], 1, np.int64),
    "no columns": matrix([0, 1], [0], 0),
}


def main(folder: Path) -> None:
    for kind, files in (("plan", {name: plan(name) for name in kernels.NAMES}), ("csr", MATRICES)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / kind / name.replace(" ", "_")).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
