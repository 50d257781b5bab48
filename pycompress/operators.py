"""Operators of the caller's: functions in C or compiled by Numba, that plans call as they call kernels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._pcx import ffi, lib

if TYPE_CHECKING:  # plans import this module, and do not need the references
    from .kernels._spec import Arg, Spec

MAX_SLOTS, MAX_DIMS = 64, 8  # of a contract, in C
TYPES = {
    "u8",
    "i8",
    "i32",
    "f32",
    "i64",
    "bool",
    "f64",
    "i16",
    "u16",
    "u32",
    "u64",
}  # the others are float32 between steps
_NAME = re.compile(r"(\w[\w.]*)::(\w+)$", re.ASCII)
_SIZE = re.compile(r"[A-Za-z_]\w*$", re.ASCII)


@dataclass(frozen=True, eq=False)
class Operator:
    """A registered operator; made by ``register_operator``.

    Attributes
    ----------
    name : str
        "domain::Name".
    spec : Spec
        Its contract.
    attributes : dict
        The arguments that are attributes of the node, with their defaults.
    shape : function or None
    c : cffi pointer
        Its pcx_kernel.
    """

    name: str
    spec: Spec
    attributes: dict[str, Any]
    shape: Callable | None
    c: Any
    _keep: tuple = field(repr=False, default=())

    @property
    def inputs(self) -> list[Arg]:
        """The arguments that are inputs of the node, in order."""
        taken = {*self.spec.outputs, *self.attributes}
        return [arg for arg in self.spec.args if arg.name not in taken and arg.kind != "fault"]

    @property
    def outputs(self) -> list[Arg]:
        """The arguments that are outputs of the node, in order."""
        return [self.spec.by_name[name] for name in self.spec.outputs]


REGISTERED: dict[str, Operator] = {}


def register_operator(
    name: str,
    run: Any,
    arguments: Mapping[str, str],
    *,
    attributes: Mapping[str, int | float | Sequence[float] | None] | None = None,
    shape: Callable | None = None,
    where: str = "",
    units: Any = None,
    version: int = 1,
) -> Operator:
    """Make an operator known to models and plans of this process.

    Nodes of its name are then compiled to a call of `run`. A plan names its operators and their versions, and cannot be opened
    where they are not registered. ``pycompress.numba.operator`` registers a Python function.

    Parameters
    ----------
    name : str
        "domain::Name": the domain and the operator type of its nodes.
    run : int, Numba cfunc, ctypes function or cffi pointer
        ``void run(const void *args, size_t begin, size_t end, void *scratch)`` in C: see ``pcx_kernel`` in pycompress.h. `args`
        are 8-byte slots in the order of the operator's contract (``operator.spec.contract``): sizes, and pointers to dense
        arrays. It does units [begin, end), and is called by several threads at once.
    arguments : dict
        {argument: type}, in the order of inputs and outputs: ``"f32[m,n]"``, ``"f32[n]?"`` for an optional input, ``"size"``
        for an integer. The names of sizes are common to all. Outputs have names that begin with "out". An argument ``"fault"``
        is no input: it is NULL, or an ``int32_t *``, where a number other than 0 makes the run fail.
    attributes : dict, optional
        {argument: default} of those arguments that are attributes of the node: a "size" is an integer from 0 to 2**31 - 1,
        ``"f32[1]"`` a float, ``"f32[count]"`` a list of floats. Default None: the node must have it.
    shape : function, optional
        ``shape(*input_shapes, **attributes)``, the shape of the output or a list of them. Default: as the contract says, if
        inputs and attributes determine it.
    where : str, optional
        Conditions on sizes that must hold: ``"m<=n,n<1024"``.
    units : pointer, optional
        ``size_t units(const void *args)``: into how many parts the work may be split. Default: one.
    version : int
        Of its meaning. A plan that was made for another version is refused.

    Returns
    -------
    Operator

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these, or the name is taken by an operator of the library.

    Examples
    --------
    >>> import ctypes
    >>> import pycompress
    >>> negate = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)(lambda *args: None)
    >>> operator = pycompress.register_operator("example::Negate", negate, {"x": "f32[n]", "out": "f32[n]"})
    >>> operator.spec.contract
    'n x:f32[n] out:f32[n]'
    """
    from . import kernels

    match = _NAME.match(name) if isinstance(name, str) else None
    if not match or match[1] in ("ai.onnx", "com.microsoft"):
        raise ValueError(f"an operator's name must be 'domain::Name', with a domain of your own, got {name!r}")
    spec = contract(name, arguments, where)
    given = dict(attributes or {})
    _check_attributes(name, spec, given)
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 2**31:
        raise ValueError(f"{name}: version must be an integer from 0, got {version!r}")
    c, keep = _kernel(name, spec.contract, version, _address(name, run), _address(name, units) if units else 0)
    _check_readable(name, c, version)
    made = Operator(name, spec, given, shape, c, (*keep, run, units))
    REGISTERED[name] = made
    kernels.CUSTOM[name] = spec
    return made


def registered() -> tuple[Any, list[Operator]]:
    """(pointers to the kernels of all operators, ended by NULL, as C wants them; the operators, which must live as long)."""
    operators = list(REGISTERED.values())
    return ffi.new("pcx_kernel *[]", [*(operator.c for operator in operators), ffi.NULL]), operators


def contract(name: str, arguments: Mapping[str, str], where: str = "") -> Spec:
    """The contract of an operator; TypeError or ValueError where it is none."""
    if not isinstance(arguments, Mapping) or not arguments:
        raise TypeError(f"{name}: arguments must be a dict of names and types, got {arguments!r}")
    for word, annotation in arguments.items():
        if not isinstance(word, str) or not _SIZE.match(word) or not isinstance(annotation, str):
            raise TypeError(f"{name}: {word!r}: {annotation!r} is no argument")

    import inspect

    from .kernels._spec import Spec

    def like(*values):
        pass

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    like.__name__ = name
    like.__signature__ = inspect.Signature([inspect.Parameter(word, kind) for word in arguments])
    like.__annotations__ = dict(arguments)
    try:
        spec = Spec(like, where)
        slots = spec.slots
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
    arrays = [arg for arg in spec.args if arg.kind == "array"]
    if not spec.outputs or any(spec.by_name[word].kind != "array" for word in spec.outputs):
        raise ValueError(f"{name}: it needs an output, an array whose name begins with 'out'")
    for arg in arrays:
        if set(arg.types) - TYPES or (arg.name in spec.outputs and arg.optional):
            raise ValueError(f"{name}: {arg.name} must not be {arg.annotation}")
    if any(arg.kind == "prepared" for arg in spec.args) or len(slots) > MAX_SLOTS:
        raise ValueError(f"{name}: at most {MAX_SLOTS} sizes and arrays, and none is prepared")
    if any(len(arg.dims) > MAX_DIMS for arg in arrays):
        raise ValueError(f"{name}: at most {MAX_DIMS} dimensions")
    return spec


def _check_attributes(name: str, spec: Spec, attributes: Mapping[str, Any]) -> None:
    for word in attributes:
        arg = spec.by_name.get(word)
        if (
            arg is None
            or word in spec.outputs
            or (arg.kind == "array" and (arg.types != ("f32",) or len(arg.dims) != 1))
        ):
            raise ValueError(f"{name}: attribute {word!r} must be an argument 'size' or 'f32[...]'")
    for arg in spec.args:
        if arg.kind == "size" and arg.name not in attributes:
            raise ValueError(f"{name}: the size {arg.name!r} must be an attribute")


def _address(name: str, function: Any) -> int:
    """The address of a C function, however it was made."""
    import ctypes

    if isinstance(function, int) and not isinstance(function, bool):
        found = function
    elif isinstance(getattr(function, "address", None), int):  # Numba's cfunc
        found = function.address
    elif isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
        found = ctypes.cast(function, ctypes.c_void_p).value or 0
    elif isinstance(function, ffi.CData):
        found = int(ffi.cast("uintptr_t", function))
    else:
        raise TypeError(
            f"{name}: a function must be an address, a cfunc, or a pointer of ctypes or cffi, got {function!r}"
        )
    if not 0 < found < 2**64:
        raise ValueError(f"{name}: {found:#x} is no address of a function")
    return found


def _kernel(name: str, contract: str, version: int, run: int, units: int):
    """(a pcx_kernel, what must live as long)."""
    isa, word, text = (ffi.new("char[]", s.encode()) for s in ("custom", name, contract))
    impls = ffi.new("pcx_impl[1]")
    impls[0].isa, impls[0].run = isa, ffi.cast("pcx_run_fn *", run)
    impls[0].units = ffi.cast("pcx_size_fn *", units)
    kernel = ffi.new("pcx_kernel *")
    kernel.name, kernel.version, kernel.contract, kernel.impls = word, version, text, impls
    return kernel, (isa, word, text, impls)


def _check_readable(name: str, c: Any, version: int) -> None:
    """Let C read the contract, in a plan without steps."""
    import json

    empty = {"inputs": [], "outputs": [], "arena": 0, "steps": []}
    graph = json.dumps({"format": 1, "kernels": [[name, version]], "tensors": [], "programs": [empty]}).encode()
    plan, why = ffi.new("pcx_plan **"), ffi.new("char[]", 256)
    code = lib.pcx_plan_build_custom(
        graph, len(graph), ffi.NULL, 0, 0, ffi.new("pcx_kernel *[]", [c, ffi.NULL]), plan, why, 256
    )
    if code:
        raise ValueError(f"{name}: {ffi.string(why).decode('utf-8', 'replace')}")
    lib.pcx_plan_free(plan[0])
