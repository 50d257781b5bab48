"""A kernel's usual arguments to the slots of its C struct, by a function written from its contract.

It takes dense arrays of the right types and shapes in a microsecond or two, and raises for whatever else it is given, be it
right or wrong: then ``Spec.bind`` decides, with a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct

import numpy as np

from ._pcx import ffi
from .dtypes import BY_WORD
from .kernels._spec import Arg, Spec


class Unusual(Exception):
    """Arguments that this way does not take."""


def writer(spec: Spec) -> Callable | None:
    """The function: arguments of the kernel's reference -> the bytes of its slots, which are valid as long as the arrays.

    None for kernels with arrays whose values are bounded, since these are copied and looked at.
    """
    if any(arg.below for arg in spec.args):
        return None
    scope = {
        "Unusual": Unusual, "_array": np.ndarray, "_buffer": ffi.from_buffer, "_cast": ffi.cast,
        "_address": ffi.typeof("uintptr_t"), "_pack": Struct(f"{len(spec.slots)}Q").pack,
    }  # fmt: skip
    parameters = ", ".join(f"{arg.name}={0 if arg.kind == 'size' else None}" for arg in spec.args)
    arrays = [arg for arg in spec.args if arg.kind == "array"]
    lines = [f"def write({parameters}):"]
    for arg in spec.args:
        if arg.kind == "size":
            lines += [f"if type({arg.name}) is not int or {arg.name} < 0:", "    raise Unusual"]
    found = [name for name, arg in spec.slots if arg is None]
    lines += [f"{' = '.join(found)} = None"] if found else []
    for arg in arrays:
        lines += _given(arg, _array(arg, scope), f"{arg.name}_at = 0")
    for name in found:  # what no array has told, `Spec.bind` leaves 0
        lines += [f"if {name} is None:", f"    {name} = 0"]
    for arg in arrays:
        lines += _given(arg, _extents(arg))
    lines += _overlaps(arrays)
    if spec.where:
        lines += [f"if not ({' and '.join(f'({_python(c)})' for c in spec.where)}):", "    raise Unusual"]
    words = (
        name if arg is None or arg.kind == "size" else f"{name}_at" if arg.kind == "array" else "0"
        for name, arg in spec.slots
    )
    lines.append(f"return _buffer(bytearray(_pack({', '.join(words)})))")
    exec("\n    ".join(lines) + "\n", scope)
    return scope["write"]


def _array(arg: Arg, scope: dict) -> list[str]:
    """Lines for one array: its type, its shape, the strides that follow from it, its address."""
    x, names = arg.name, _dims(arg)
    scope[f"{x}_types"] = {np.dtype(BY_WORD[word].numpy): BY_WORD[word].code for word in arg.types if word != "bf16"}
    written = " and _flags.writeable" if x.startswith("out") else ""
    lines = [f"if type({x}) is not _array:", "    raise Unusual", f"_flags = {x}.flags"]
    lines += [f"if not (_flags.c_contiguous and _flags.aligned{written}):", "    raise Unusual"]
    lines.append(f"_code = {x}_types[{x}.dtype]")
    if arg.type_size:
        lines += _same(arg.type_size, "_code")
    lines.append(f"{', '.join(names)}, = {x}.shape" if names else f"() = {x}.shape")
    for i, (extent, stride) in enumerate(arg.dims):
        lines += _same(extent, names[i]) if extent.isidentifier() else []
        if stride:
            lines += _same(stride, " * ".join(names[i + 1 :]) or "1") if stride.isidentifier() else ["raise Unusual"]
    return [*lines, f"{x}_at = int(_cast(_address, _buffer({x})))"]


def _extents(arg: Arg) -> list[str]:
    """Lines that compare a shape with what follows from sizes, all of which are known then."""
    pairs = [(name, _python(extent)) for name, (extent, _) in zip(_dims(arg), arg.dims) if not extent.isidentifier()]
    return [f"if {' or '.join(f'{name} != {extent}' for name, extent in pairs)}:", "    raise Unusual"] if pairs else []


def _dims(arg: Arg) -> list[str]:
    return [f"{arg.name}_{i}" for i in range(len(arg.dims))]


def _given(arg: Arg, lines: list[str], absent: str = "pass") -> list[str]:
    """The lines, of an optional array only where it is given."""
    if not arg.optional or not lines:
        return lines
    return [f"if {arg.name} is None:", f"    {absent}", "else:", *(f"    {line}" for line in lines)]


def _same(name: str, value: str) -> list[str]:
    """Lines for a size that is found now, or that must be as it was found before."""
    return [f"if {name} is None:", f"    {name} = {value}", f"elif {name} != {value}:", "    raise Unusual"]


def _overlaps(arrays: list[Arg]) -> list[str]:
    """Lines that leave outputs that share memory with other arguments to the other way."""
    lines = []
    for out in (arg.name for arg in arrays if arg.name.startswith("out")):
        lines.append(f"_first, _last = {out}_at, {out}_at + {out}.nbytes")
        for arg in arrays:
            if (x := arg.name) != out:
                lines += _given(arg, [f"if {x}_at < _last and _first < {x}_at + {x}.nbytes:", "    raise Unusual"])
    return lines


def _python(expression: str) -> str:
    return re.sub(r"ceil\(([^()]+)/([^()]+)\)", r"(-(-(\1) // (\2)))", expression)
