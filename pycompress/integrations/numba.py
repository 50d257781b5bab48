"""The C kernels inside functions that Numba compiles, with ``cache=True`` too.

``pycompress.numba.sgemm(a, w, bias, act, act_params, residual, out)`` takes the arguments of ``pycompress.native.sgemm``, by
position or name, in ``@njit`` functions (and outside of them). Types are checked when Numba compiles, the rest of the contract
at each call, which costs tens of nanoseconds; what does not fit raises ValueError. A call runs on the calling thread, so that
``prange`` may make many at once. In contrast to ``native``, sizes are below 2**31, and an output is refused if it lies between
the first and the last byte of another argument.

Compiled code asks the library for kernels by name and version when it is first run: code in a cache that was compiled for other
kernels raises RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable

from .. import kernels, native
from .._pcx import ffi, lib
from ..cpu import call_mask
from ..dtypes import BY_WORD, WORD
from ..kernels._spec import Spec
from ..operators import Operator, contract, register_operator
from .checked import expression, parameters, source

__all__ = [*kernels.NAMES, "operator"]

FAULT = "fault"  # the argument by which operators tell that they raised

# Compiled code refers to these names, and a cache keeps it; so they are found again in every process that imports this.
_FUNCTIONS = ("pcx_kernel_named", "pcx_select", "pcx_call")
_MASK = "pycompress_cpu_mask"
_mask = ffi.new("uint32_t *", call_mask())
for _name in _FUNCTIONS:
    llvmlite.binding.add_symbol(_name, int(ffi.cast("uintptr_t", ffi.addressof(lib, _name))))
llvmlite.binding.add_symbol(_MASK, int(ffi.cast("uintptr_t", _mask)))

_WORD, _INT, _BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()


# ---- what generated functions call ----


@register_jitable
def _ceil_div(a, b):
    return -(-a // b) if b else -1


@register_jitable
def _reach(at, shape, strides, element):
    """The addresses of the first byte of an array and of the one after its last."""
    low = high = at
    for i in range(len(shape)):
        if shape[i] == 0:
            return at, at
        far = (shape[i] - 1) * strides[i]
        if far < 0:
            low += far
        else:
            high += far
    return low, high + element


@register_jitable
def _within(x, limit):
    for value in x.flat:
        if value < 0 or value >= limit:
            return False
    return True


@intrinsic
def _word(context, value):
    """An integer as int64."""

    def build(context, builder, signature, arguments):
        return context.cast(builder, arguments[0], signature.args[0], types.int64)

    return types.int64(value), build


@intrinsic
def _address(context, x):
    """The address of an array's first element, as int64."""

    def build(context, builder, signature, arguments):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(array.data, _WORD)

    return types.int64(x), build


@intrinsic
def _keep(context, x):
    """Nothing: Numba does not release an array before its last use."""
    return types.void(x), lambda context, builder, signature, arguments: context.get_dummy_value()


def _declared(builder, name: str, result, parameters):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, parameters), name)


def _found(name: str, version: int, contract: str):
    """An intrinsic: the address of the kernel, or 0 where the library has none of that version and contract."""

    def build(context, builder, signature, arguments):
        module = builder.module
        known = cgutils.add_global_variable(module, _WORD, f".pycompress.{name}")
        known.linkage, known.initializer = "internal", ir.Constant(_WORD, 0)
        result = cgutils.alloca_once_value(builder, builder.load(known))
        with builder.if_then(cgutils.is_null(builder, builder.load(result)), likely=False):
            text = context.insert_const_string(module, name)
            row = builder.call(_declared(builder, "pcx_kernel_named", _BYTES, [_BYTES]), [text])
            with builder.if_then(cgutils.is_not_null(builder, row)):
                fields = builder.bitcast(row, _WORD.as_pointer())  # name, version, contract
                its_version, its_contract = (builder.load(builder.gep(fields, [_INT(i)])) for i in (1, 2))
                compare = _declared(builder, "strcmp", _INT, [_BYTES, _BYTES])
                text = context.insert_const_string(module, contract)
                differs = builder.call(compare, [builder.inttoptr(its_contract, _BYTES), text])
                same = builder.and_(
                    builder.icmp_signed("==", differs, _INT(0)), builder.icmp_signed("==", its_version, _WORD(version))
                )
                with builder.if_then(same):
                    at = builder.ptrtoint(row, _WORD)
                    builder.store(at, known)
                    builder.store(at, result)
        return builder.load(result)

    return intrinsic(lambda context: (types.int64(), build))


@intrinsic
def _call(context, kernel, slots):
    """Run the kernel on its argument slots, a tuple of int64, on this thread; pcx_call's result."""

    def build(context, builder, signature, arguments):
        count = len(signature.args[1])
        args = cgutils.alloca_once(builder, _WORD, count)
        for i in range(count):
            builder.store(builder.extract_value(arguments[1], i), builder.gep(args, [_INT(i)]))
        args, kernel = builder.bitcast(args, _BYTES), builder.inttoptr(arguments[0], _BYTES)
        if _MASK not in builder.module.globals:
            ir.GlobalVariable(builder.module, _INT, _MASK)
        mask = builder.load(builder.module.globals[_MASK])
        impl = builder.call(_declared(builder, "pcx_select", _BYTES, [_BYTES, _INT, _BYTES]), [kernel, mask, args])
        call = _declared(builder, "pcx_call", _INT, [_BYTES] * 4)
        return builder.call(call, [ir.Constant(_BYTES, None), kernel, impl, args])

    return types.int32(kernel, slots), build


_HELPERS = {
    "ceil_div": _ceil_div, "reach": _reach, "within": _within, "word": _word, "address": _address, "keep": _keep, "call": _call,
}  # fmt: skip


# ---- a function for each kernel ----


def _array(spec: Spec, arg, kind) -> tuple[str, int, bool] | None:
    """(type word, element's bytes, whether it is contiguous) of an argument by its Numba type; None where it is not given."""
    kind = getattr(kind, "value", kind) if isinstance(kind, types.Omitted) else kind
    if kind is None or isinstance(kind, types.NoneType):
        if not arg.optional:
            raise TypingError(f"{spec.name}: {arg.name} must be {arg.annotation}, got None")
        return None
    said = f"{spec.name}: {arg.name} must be {arg.annotation.rstrip('?')}, got {kind}"
    if not isinstance(kind, types.Array):
        raise TypingError(said)
    word = WORD.get(str(kind.dtype)) if not isinstance(kind.dtype, types.Boolean) else "bool"
    if word not in arg.types or kind.ndim != len(arg.dims) or not kind.aligned:
        raise TypingError(said)
    if arg.name in spec.outputs and not kind.mutable:
        raise TypingError(f"{spec.name}: {arg.name} is read-only")
    return word, kind.dtype.bitwidth // 8, kind.layout == "C"


def _types(spec: Spec, kinds) -> dict:
    """Each array argument's type word and element, checked against the contract; TypingError where they do not fit."""
    arrays, same = {}, {}
    for arg, kind in zip(spec.args, kinds):
        if arg.kind == "array":
            found = arrays[arg.name] = _array(spec, arg, kind)
            if found and arg.type_size and same.setdefault(arg.type_size, found[0]) != found[0]:
                raise TypingError(f"{spec.name}: {arg.name} must have the type of the others, {same[arg.type_size]}")
        elif arg.kind == "size" and not isinstance(kind, (int, types.Integer, types.Omitted)):
            raise TypingError(f"{spec.name}: {arg.name} must be an integer, got {kind}")
    return arrays


def _function(name: str):
    """The kernel as a function that Numba knows; outside of compiled code it calls ``native``."""
    spec = kernels.spec(name)
    names = ", ".join(arg.name for arg in spec.args)
    scope = {"native": native, "__name__": __name__}
    exec(f"def {name}({parameters(spec)}):\n    native.{name}({names})", scope)
    stub = scope[name]
    stub.__doc__ = f"The kernel {name}, as ``pycompress.native.{name}``, which see."

    def typed(*kinds):
        find = _found(name, int(getattr(native, name).c.version), spec.contract)
        inside = dict(_HELPERS, find=find)
        exec(source(spec, _types(spec, kinds)), inside)
        return inside["impl"]

    outer = {"typed": typed}
    exec(f"def typing({parameters(spec)}):\n    return typed({names})", outer)
    overload(stub)(outer["typing"])
    return stub


# ---- compiled functions as operators of plans ----


@intrinsic
def _pointer(context, address):
    """An integer as a pointer."""

    def build(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], _BYTES)

    return types.voidptr(types.int64), build


def operator(
    name: str,
    arguments: Mapping[str, str],
    *,
    attributes: Mapping[str, int | float | Sequence[float] | None] | None = None,
    shape: Callable | None = None,
    where: str = "",
    units: str | None = None,
    version: int = 1,
) -> Callable[[Callable], Operator]:
    """Compile the decorated function to an operator of plans.

    It is called with the arguments in their order: arrays, integers, and numbers for attributes ``"f32[1]"``. It fills the
    arrays whose names begin with "out", and where it raises, the run
    raises ``pycompress.InvalidArgument``, which names the node.

    Parameters
    ----------
    name, arguments, attributes, shape, where, version
        As ``pycompress.register_operator``; arrays are of one type, and none is optional.
    units : str, optional
        The name of a size along which the work may be split over threads. The function then takes two more integers, begin and
        end, and does that part alone.

    Returns
    -------
    function
        A decorator, which returns the registered Operator.

    Raises
    ------
    TypeError, ValueError
        As ``pycompress.register_operator``; numba.TypingError if Numba cannot compile the function.

    Examples
    --------
    >>> import pycompress.numba
    >>> @pycompress.numba.operator("example::Scale", {"x": "f32[m,n]", "by": "f32[1]", "out": "f32[m,n]"}, attributes={"by": 1.0})
    ... def scale(x, by, out):
    ...     out[:] = x * by
    >>> scale.name
    'example::Scale'
    """

    def register(function: Callable) -> Operator:
        given = {**arguments, FAULT: "fault"}
        spec = contract(name, given, where)
        slots = [slot for slot, _ in spec.slots]
        if units is not None and units not in (s for s, arg in spec.slots if arg is None or arg.kind == "size"):
            raise ValueError(f"{name}: units must name a size of its contract, got {units!r}")
        body, scope = _adapter(spec, dict(attributes or {}), units is not None)
        exec(body, scope | {"function": numba.njit(function)}, made := {})
        slot_list = types.CPointer(types.int64)
        run = numba.cfunc(types.void(slot_list, types.uint64, types.uint64, types.voidptr))(made["run"])
        count = None
        if units is not None:
            at = slots.index(units)
            count = numba.cfunc(types.uint64(slot_list))(lambda slots: slots[at])
        return register_operator(
            name, run, given, attributes=attributes, shape=shape, where=where, units=count, version=version
        )

    return register


def _adapter(spec: Spec, attributes: Mapping, split: bool) -> tuple[str, dict]:
    """The source of the function that C calls, which makes arrays of the slots, and what it refers to."""
    scope = {"carray": numba.carray, "pointer": _pointer, "ceil_div": _ceil_div}
    lines, given = ["def run(slots, begin, end, scratch):"], []
    for i, (name, arg) in enumerate(spec.slots):
        if arg is None or arg.kind == "size":
            lines.append(f"{name} = slots[{i}]")
    for i, (name, arg) in enumerate(spec.slots):
        if arg is None or arg.kind == "fault":
            continue
        if arg.kind == "array":
            if len(arg.types) > 1 or arg.optional or any(stride for _, stride in arg.dims):
                raise ValueError(f"{spec.name}: {name} must be an array of one type, dense and not optional")
            scope[f"{name}_type"] = np.dtype(BY_WORD[arg.types[0]].numpy)
            shape = "".join(f"{expression(extent)}, " for extent, _ in arg.dims)
            lines.append(f"{name} = carray(pointer(slots[{i}]), ({shape}), {name}_type)")
        single = name in attributes and arg.kind == "array" and arg.dims[0][0] == "1"
        given.append(f"{name}[0]" if single else name)
    at, scope["int32"] = [name for name, _ in spec.slots].index(FAULT), np.int32
    lines += ["try:", f"    function({', '.join(given)}{', begin, end' if split else ''})", "except Exception:"]
    lines += [f"    if slots[{at}] != 0:", f"        carray(pointer(slots[{at}]), (1,), int32)[0] = 1"]
    return "\n    ".join(lines) + "\n", scope


for _name in kernels.NAMES:  # all at once, since Numba looks at what a module holds, and does not ask it
    globals()[_name] = _function(_name)
