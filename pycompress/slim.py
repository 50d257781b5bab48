"""Plans without what only people read, and what their steps do without it."""

from __future__ import annotations

import json
from typing import Any

from ._pcx import lib
from .dtypes import BY_CODE, NUMPY, TABLE
from .kernels import spec
from .kernels._spec import Arg, evaluate
from .plan import ALIGN, Stored

UNSAID = "not known: the plan was saved without notes"
_BYTES = {row.file: lib.pcx_dtype_bytes(row.code) for row in TABLE}
_WORD = {row.file: row.word for row in TABLE}
_TENSOR = 1  # the region of pointers into constants


def merged(graph: str, tensors: dict[str, Stored]) -> tuple[str, dict[str, Stored]]:
    """A plan's graph and tensors with all constants of a type in one tensor, named by the type.

    In a small network the file's entries for constants and for the gaps between them take as many bytes as the weights.
    Inside a tensor, constants begin at multiples of 64 bytes, or of the next power of two if they are shorter than that,
    so that a kernel's vectors cross no more cache lines than before.
    """
    whole = json.loads(graph)
    parts: dict[str, bytearray] = {}
    places = []
    for name in whole["tensors"]:
        dtype, _, data = tensors[name]
        part = parts.setdefault(dtype, bytearray())
        part += bytes(-len(part) % min(ALIGN, 1 << max(len(data) - 1, 0).bit_length()))
        places.append((list(parts).index(dtype), len(part)))
        part += data
    for program in whole["programs"]:
        for step in program["steps"]:
            for slot in step[1:]:
                if isinstance(slot, list) and slot[0] == _TENSOR:
                    index, start = places[slot[1]]
                    slot[1:] = index, start + slot[2]
    whole["tensors"] = [_WORD[dtype] for dtype in parts]
    stored = {_WORD[d]: Stored(d, [len(part) // _BYTES[d]], memoryview(part)) for d, part in parts.items()}
    return json.dumps(whole, separators=(",", ":")), stored


def notes(graph: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What the contracts say of a plan's steps: notes whose nodes, operators and reasons are not known."""
    names = [name for name, _ in graph["kernels"]]
    return [
        [_note(names[kernel], slots, program.get("times", 1)) for kernel, *slots in program["steps"]]
        for program in graph["programs"]
    ]


def _note(kernel: str, slots: list, times: int) -> dict[str, Any]:
    contract = spec(kernel)
    sizes = {name: x for (name, _), x in zip(contract.slots, slots) if isinstance(x, int)}
    given = {arg.name: arg for (_, arg), x in zip(contract.slots, slots) if arg and isinstance(x, list)}
    out = next(arg for name, arg in given.items() if name.startswith("out"))
    source = next((arg for name, arg in given.items() if name in ("x", "a")), out)
    word = BY_CODE[sizes[out.type_size]].word if out.type_size else out.types[0]
    return {
        "node": "",
        "op": "",
        "reason": UNSAID,
        "dtype": NUMPY[word],
        "in": _shape(source, sizes),
        "out": _shape(out, sizes),
        "macs": contract.macs(sizes) * times,
    }


def _shape(arg: Arg, sizes: dict[str, int]) -> list[int]:
    return [evaluate(extent, sizes) for extent, _ in arg.dims]
