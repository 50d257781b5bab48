"""Calls of a kernel with arguments of sizes that it was called with before: their contract is not checked again.

Where arrays are dense, what the contract says about them follows from their shapes and types. So the slots of a call that
passed are kept under these; the next call looks them up, and C checks the addresses and runs. That takes a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._pcx import ffi, lib
from .cpu import call_mask
from .kernels._spec import Spec

KEPT = 1024  # sets of sizes for each kernel


class Unusual(Exception):
    """Arguments that are not taken here."""


class Repeated:
    """The calls of one kernel, and the sizes that it was called with.

    Attributes
    ----------
    call : callable
        (pool, the reference's arguments) -> the code of ``pcx_call_arrays``; ``PCX_BAD_ARGUMENT`` or an exception if
        these are not arguments of known sizes: nothing was run then, and ``Kernel.pack`` decides.

    Kernels with arrays whose values are bounded always raise, since these are copied and looked at.
    """

    def __init__(self, spec: Spec, kernel: Any):
        self._spec = spec
        self._known: dict[tuple, tuple[Any, Any]] = {}
        self._arrays = [arg.name for arg in spec.args if arg.kind == "array"]
        self._bounded = any(arg.below for arg in spec.args) or len(spec.slots) > 64
        self.call: Callable[..., int] = self._compiled(kernel)

    def _compiled(self, kernel: Any) -> Callable[..., int]:
        """The function ``call``, with a line for each argument."""
        spec, scope = self._spec, {
            "_Unusual": Unusual, "_known": self._known, "_buffer": ffi.from_buffer, "_bytes": ffi.typeof("char[]"),
            "_null": ffi.NULL, "_invoke": lib.pcx_call_arrays, "_kernel": kernel, "_mask": call_mask,
        }  # fmt: skip
        parameters = ", ".join(f"{arg.name}={0 if arg.kind == 'size' else None}" for arg in spec.args)
        sizes = [arg.name for arg in spec.args if arg.kind == "size"]
        key, data = [], []
        for arg in spec.args:
            x, given = arg.name, f"if {arg.name} is not None else" if arg.optional else None
            buffer = f"_buffer(_bytes, {x}, {x in spec.outputs})"
            if arg.kind == "size":
                key.append(x)
            elif arg.kind == "array":
                key.append(f"({x}.shape, {x}.dtype) {given} None" if given else f"{x}.shape, {x}.dtype")
                data.append(f"{buffer} {given} _null" if given else buffer)
        odd = " or ".join(f"type({name}) is not int" for name in sizes) or "False"
        source = f"""
def key({parameters}):
    return ({", ".join(key)},)

def call(_pool, {parameters}):
    if {odd}:
        raise _Unusual
    _slots, _places = _known[{", ".join(key)},]
    return _invoke(_pool, _kernel, _mask(), _slots, {len(spec.slots)}, _places, {len(data)}, [{", ".join(data)}])
"""
        exec(source, scope)
        self._key = scope["key"]
        return scope["call"]

    def learn(self, values: dict[str, Any], slots: Any) -> None:
        """Keep the slots of a call that passed, if its arrays were dense."""
        given = {name: values[name] for name in self._arrays if values[name] is not None}
        if self._bounded or not all(x.size and x.flags.c_contiguous for x in given.values()):
            return
        if len(self._known) >= KEPT:
            self._known.clear()
        index = {name: i for i, (name, _) in enumerate(self._spec.slots)}
        places = ffi.new("pcx_array[]", len(self._arrays))
        for place, name in zip(places, self._arrays):
            x = given.get(name)
            place.slot, place.bytes, place.align = index[name], getattr(x, "nbytes", 0), _alignment(x)
            place.written = name in self._spec.outputs
        self._known[self._key(**values)] = slots, places


def _alignment(x: np.ndarray | None) -> int:
    return 1 if x is None else x.dtype.alignment
