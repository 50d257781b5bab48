"""A kernel's contract as the source of a function that Numba compiles: check the arguments, fill the slots, call the kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..dtypes import BY_WORD
from ..kernels._spec import Arg, Spec

SIZE_LIMIT = 2**31 - 1  # of sizes that are given, as in plans
SAFE = 2.0**62  # products of sizes beyond this could wrap around in int64


def source(spec: Spec, arrays: Mapping[str, tuple[str, int, bool] | None]) -> str:
    """The source of ``impl``, with the parameters of the kernel's reference.

    Parameters
    ----------
    spec : Spec
    arrays : dict
        For each array argument (type word, element's bytes, whether it is contiguous), or None where it is not given.
    """
    lines = [f"def impl({parameters(spec)}):"]
    sizes: set[str] = set()
    given = [(a, arrays[a.name]) for a in spec.args if a.kind == "array" and arrays[a.name] is not None]
    for arg, _ in given:  # all before the first branch: Numba then counts no references to the arrays
        x = arg.name
        if arg.below is not None:  # others may write to the caller's after the check
            lines.append(f"{x} = {x}.copy()")
        lines.append(f"{x}_at, {x}_size, {x}_shape, {x}_strides = address({x}), {x}.size, {x}.shape, {x}.strides")
    for arg in spec.args:
        if arg.kind == "size":
            sizes.add(arg.name)
            lines += _raise(
                f"not 0 <= {arg.name} <= {SIZE_LIMIT}", f"{spec.name}: {arg.name} must be a size below 2**31"
            )
    for arg, (word, element, _) in given:
        if arg.type_size and arg.type_size not in sizes:  # the caller of `source` saw to equal types
            sizes.add(arg.type_size)
            lines.append(f"{arg.type_size} = {BY_WORD[word].code}")
        lines += _sizes(spec, arg, element, sizes)
    for name, arg in spec.slots:
        if arg is None and name not in sizes:
            sizes.add(name)
            lines.append(f"{name} = 0")
    for arg, (_, element, contiguous) in given:
        lines += _extents(spec, arg, element, contiguous)
    for condition in spec.where:
        lines += _raise(f"not ({expression(condition)})", f"{spec.name}: {condition} must hold")
    lines += _overlaps(spec, given)
    lines += _bounded(spec, [arg for arg, _ in given])
    slots = ", ".join(_slot(name, arg, arrays) for name, arg in spec.slots)
    lines += ["kernel = find()", *_raise("kernel == 0", f"{spec.name}: this function was compiled for another version of "
              "pycompress; remove Numba's cache of it (the __pycache__ folder)", "RuntimeError")]  # fmt: skip
    lines += [f"code = call(kernel, ({slots},))", *(f"keep({arg.name})" for arg, _ in given if arg.below is not None)]
    lines += _raise("code != 0", f"{spec.name}: no memory for scratch", "MemoryError")
    return "\n    ".join(lines) + "\n"


def parameters(spec: Spec) -> str:
    """The parameters of the kernel's functions, as source; what is not given is None or 0."""
    return ", ".join(f"{arg.name}={0 if arg.kind == 'size' else None}" for arg in spec.args)


def _raise(condition: str, message: str, kind: str = "ValueError") -> list[str]:
    """Numba wants the message to be a constant."""
    return [f"if {condition}:", f"    raise {kind}({message!r})"]


def expression(expression: str) -> str:
    """A contract's expression as Python; sizes are never negative."""
    return re.sub(r"ceil\(([^()]+)/([^()]+)\)", r"ceil_div(\1, \2)", expression)


def _wrong(spec: Spec, arg: Arg) -> str:
    return f"{spec.name}: {arg.name} must be {arg.annotation.rstrip('?')}, as the other arguments determine it"


def _sizes(spec: Spec, arg: Arg, element: int, sizes: set[str]) -> list[str]:
    """Lines that take sizes from the shape and strides of one array, or compare them with those that are known."""
    lines = []
    for i, extent, stride in arg.named:
        values = [(extent, f"{arg.name}_shape[{i}]")] if extent else []
        if stride:
            lines.append(f"step = {_bytes_apart(arg, i, element)}")
            lines += _raise(f"step < 0 or step & {element - 1}", _wrong(spec, arg))
            values.append((stride, f"step >> {element.bit_length() - 1}"))
        for name, value in values:
            lines += _raise(f"{name} != {value}", _wrong(spec, arg)) if name in sizes else [f"{name} = {value}"]
            sizes.add(name)
    return lines


def _bytes_apart(arg: Arg, i: int, element: int) -> str:
    """The distance of neighbours along dimension i, in bytes: as ``Spec.bind`` finds it where there are no neighbours."""
    x = arg.name
    dense = " * ".join([str(element), *(f"{x}_shape[{j}]" for j in range(i + 1, len(arg.dims)))])
    implied = dense
    for j in range(i):  # the nearest outer dimension is asked first
        implied = f"({dense if arg.dims[j][1] else f'{x}_strides[{j}]'} if {x}_shape[{j}] != 1 else {implied})"
    if implied != dense:
        implied = f"({dense} if {x}_size == 0 else {implied})"
    return f"{x}_strides[{i}] if {x}_shape[{i}] > 1 else {implied}"


def _extents(spec: Spec, arg: Arg, element: int, contiguous: bool) -> list[str]:
    """Lines that check the shape and strides of one array against its contract."""
    lines, wrong = [], _wrong(spec, arg)
    strided = not contiguous or any(stride for _, stride in arg.dims)
    if strided:
        lines.append("dense = 1")
    for i in reversed(range(len(arg.dims))):
        extent, stride = arg.dims[i]
        if not extent.isidentifier():
            if extent.count("*") > 1:
                lines += _raise(f"not ({expression(_floats(extent))}) < {SAFE}", wrong)
            lines += _raise(f"{expression(extent)} != {arg.name}_shape[{i}]", wrong)
        if stride:
            lines.append(f"dense = {expression(stride)}")
        if strided:
            far = f"{arg.name}_strides[{i}] != dense * {element}"
            lines += _raise(f"{arg.name}_shape[{i}] > 1 and {far} and {arg.name}_size > 0", wrong)
            lines.append(f"dense *= {arg.name}_shape[{i}]")
    return lines


def _floats(extent: str) -> str:
    return re.sub(r"\b([A-Za-z_]\w*)\b(?!\()", r"float(\1)", extent)


def _overlaps(spec: Spec, given: list[tuple[Arg, tuple[str, int, bool]]]) -> list[str]:
    """Lines that refuse an output whose bytes lie between those of another argument, by their first and last."""
    lines = []
    for arg, (_, element, contiguous) in given:
        x = arg.name
        if contiguous:
            lines += [f"{x}_from = {x}_at", f"{x}_to = {x}_at + {x}_size * {element}"]
        else:
            lines.append(f"{x}_from, {x}_to = reach({x}_at, {x}_shape, {x}_strides, {element})")
    names = [arg.name for arg, _ in given]
    for out in (name for name in names if name in spec.outputs):
        for other in names:
            if other == out or (other in spec.outputs and other < out):
                continue
            equal = " and ".join(f"{out}_{what} == {other}_{what}" for what in ("at", "shape", "strides"))
            same = f" and not ({equal})" if other in spec.traits.in_place else ""
            crossed = f"{out}_from < {other}_to and {other}_from < {out}_to{same}"
            lines += _raise(crossed, f"{spec.name}: {out} overlaps {other}")
    return lines


def _bounded(spec: Spec, given: list[Arg]) -> list[str]:
    """Lines that check the arrays whose values are bounded, which are copies."""
    lines = []
    for arg in given:
        if arg.below is not None:
            limit = f"every value of {arg.name} must be in [0, {arg.below})"
            lines += _raise(f"not within({arg.name}, {expression(arg.below)})", f"{spec.name}: {limit}")
    return lines


def _slot(name: str, arg: Arg | None, arrays: Mapping) -> str:
    if arg is None or arg.kind == "size":
        return f"word({name})"
    return f"{name}_at" if arg.kind == "array" and arrays[name] is not None else "word(0)"
