"""The contract of a kernel, read from its reference's annotations.

An argument's annotation is ``"f32[m:lda,k]"`` (an array), ``"f32[n]?"`` (an array or
None), ``"{u8,f32}ot[m,n]"`` (one of several types, told to C by the size ``ot``; arrays that
name the same size have the same type), ``"i32[n]<rows"`` (constant data with every value in
[0, rows)), ``"size"`` (a Python int) or ``"prepared"`` (filled by the executor, always None
here).  ``"fault"`` is where a kernel tells that values are none that it can work with: the executor's, too.  A size that arrays determine has no argument of its own; in C it stands directly before
the first array that mentions it, or before the argument that ``ahead`` of ``reference`` names.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import types
from dataclasses import dataclass
from functools import cache, cached_property

from ..dtypes import BY_WORD, WORD
from ._traits import Traits

NO_TRAITS = Traits()
_ARRAY = re.compile(r"(?:\{([\w,]+)\}(\w+)|(\w+))\[([^\]]*)\](?:<([^?]+))?(\?)?$")


@dataclass(frozen=True)
class Arg:
    """One argument of a kernel: an array, a size or the prepared slot."""

    name: str
    kind: str  # "array", "size", "prepared", "fault"
    types: tuple[str, ...] = ()  # words of dtypes.py it may have
    type_size: str | None = None  # the size that tells C which type it is
    dims: tuple[tuple[str, str | None], ...] = ()  # (extent, stride) expressions
    below: str | None = None
    optional: bool = False
    annotation: str = ""

    @cached_property
    def named(self) -> tuple[tuple[int, str, str], ...]:
        """(dimension, extent, stride) of dimensions where either is the name of a size; "" for the one that is not."""
        names = [(e if e.isidentifier() else "", s if s and s.isidentifier() else "") for e, s in self.dims]
        return tuple((i, e, s) for i, (e, s) in enumerate(names) if e or s)

    @property
    def token(self) -> str:
        if self.kind != "array":
            return self.name if self.kind == "size" else f"{self.name}:{self.kind}"
        text = self.annotation.rstrip("?")
        return f"{self.name}{'?' if self.optional else ''}:{text}"


def _arg(name: str, annotation: str) -> Arg:
    if annotation in ("size", "prepared", "fault"):
        return Arg(name, annotation, annotation=annotation)
    match = _ARRAY.match(annotation)
    if not match:
        raise TypeError(f"{name}: {annotation!r} is not a contract")
    many, code, one, dims, below, optional = match.groups()
    pairs = tuple(((d.split(":") + [None])[:2][0], (d.split(":") + [None])[1]) for d in _split(dims))
    types = tuple(many.split(",")) if many else (one,)
    return Arg(name, "array", types, code, pairs, below, bool(optional), annotation)


def _split(text: str) -> list[str]:
    """`text` split at the commas outside parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return parts if text else []


def _names(expression: str) -> list[str]:
    return [w for w in re.findall(r"[A-Za-z_]\w*", expression) if w not in ("ceil", "min", "max")]


def _compile(expression: str):
    """`expression` as code; / is allowed only inside ceil(), where it is a ceiling division."""
    tree = ast.parse(re.sub(r"ceil\(([^()]+)/([^()]+)\)", r"(-(-(\1)//(\2)))", expression), mode="eval")
    return compile(tree, expression, "eval")


@cache
def _word(dtype) -> str | None:
    """As ``dtypes.word``, but None for unknown types."""
    return WORD.get(dtype.name)


_CODE: dict[str, object] = {}


def evaluate(expression: str, sizes: dict[str, int]) -> int:
    """The value of a contract's expression, for given sizes."""
    if expression in sizes:
        return sizes[expression]
    code = _CODE.get(expression)
    if code is None:
        code = _CODE[expression] = _compile(expression)
    try:
        return eval(code, {"__builtins__": {}, "min": min, "max": max}, sizes)  # our own contracts only
    except ZeroDivisionError:  # ceil(k/0): no size is valid
        return -1


class Spec:
    """The contract of the kernel `name`: its arguments in order, and conditions."""

    def __init__(
        self,
        function,
        where: str = "",
        macs: str = "0",
        traits: Traits = NO_TRAITS,
        ahead: dict[str, str] | None = None,
    ):
        self.name = function.__name__
        self.traits = traits
        self._ahead = ahead or {}
        self._macs = macs
        self.where = tuple(_split(where.replace(" ", "")))
        hints = inspect.get_annotations(function)
        self.args = tuple(_arg(n, hints[n]) for n in inspect.signature(function).parameters)
        self.by_name = {a.name: a for a in self.args}
        self.outputs = tuple(a.name for a in self.args if a.name.startswith("out"))

    def takes(self, name: str) -> bool:
        """Whether the kernel has an argument of that name."""
        return name in self.by_name

    @cached_property
    def fault(self) -> str:
        """The name of the argument by which the kernel says that a run must fail, "" if it has none."""
        return next((a.name for a in self.args if a.kind == "fault"), "")

    @cached_property
    def spreads(self) -> bool:
        """Whether the kernel writes one array, with a row stride."""
        dims = self.by_name["out"].dims if self.outputs == ("out",) else ()
        return len(dims) > 1 and dims[-2][1] == "ldo"

    @cached_property
    def rowwise(self) -> tuple[str, ...]:
        """The arguments with one row for each of the m rows of the output."""
        return tuple(a.name for a in self.args if a.dims and a.dims[0][0] == "m")

    @cached_property
    def slots(self) -> tuple[tuple[str, Arg | None], ...]:
        """(name, argument) of each 8-byte slot of the C struct; argument None: a derived size."""
        seen, slots = set(), []
        explicit = {a.name for a in self.args if a.kind == "size"}
        for arg in self.args:
            words = self._ahead.get(arg.name, "").split()
            words += [w for d, s in arg.dims for e in (d, s) if e for w in _names(e)]
            words += [arg.type_size] if arg.type_size else []
            words += _names(arg.below) if arg.below else []
            for word in words:
                if word not in seen | explicit:
                    seen.add(word)
                    slots.append((word, None))
            slots.append((arg.name, arg))
        return tuple(slots)

    @property
    def contract(self) -> str:
        """The contract as it is written in the C table."""
        text = " ".join(arg.token if arg else name for name, arg in self.slots)
        return text + (f" where {','.join(self.where)}" if self.where else "")

    def macs(self, sizes: dict[str, int]) -> int:
        """Multiply-accumulates of one call, without those that a sparse kernel skips."""
        return evaluate(self._macs, sizes)

    def bind(self, values: dict[str, object]) -> dict[str, int]:
        """Every size, from the shapes, strides and types of `values`, checked.

        An array is anything with `shape`, `strides` (bytes) and `dtype`.

        Raises
        ------
        ValueError
            If an argument violates the contract; names the kernel, the argument, what it must be and what it is.
        """
        sizes: dict[str, int] = {}
        arrays = []
        for arg in self.args:
            if arg.kind not in ("size", "array"):
                continue
            value = values[arg.name]
            if arg.kind == "size":
                if not isinstance(value, int) or not 0 <= value < 2**63:
                    raise ValueError(f"{self.name}: {arg.name} must be a size, got {value!r}")
                sizes[arg.name] = value
            elif arg.kind == "array" and value is not None:
                arrays.append((arg, value))
            elif arg.kind == "array" and not arg.optional:
                raise ValueError(f"{self.name}: {arg.name} must be {arg.annotation}, got None")
        for arg, x in arrays:
            if not hasattr(x, "dtype"):
                raise ValueError(f"{self.name}: {arg.name} must be {arg.annotation}, got {type(x).__name__}")
            if len(x.shape) != len(arg.dims) or _word(x.dtype) not in arg.types or not x.dtype.isnative:
                self._refuse(arg, x, sizes)
            if arg.type_size:
                code = BY_WORD[_word(x.dtype)].code
                if sizes.setdefault(arg.type_size, code) != code:
                    self._refuse(arg, x, sizes)
            for i, extent, stride in arg.named:
                if extent and sizes.setdefault(extent, x.shape[i]) != x.shape[i]:
                    self._refuse(arg, x, sizes)
                if stride:
                    step = self._stride(arg, x, i)
                    if sizes.setdefault(stride, step) != step:
                        self._refuse(arg, x, sizes)
        for name, arg in self.slots:
            if arg is None:
                sizes.setdefault(name, 0)
        for arg, x in arrays:
            self._check(arg, x, sizes)
        for condition in self.where:
            if not evaluate(condition, sizes):
                raise ValueError(f"{self.name}: {condition} must hold, got {sizes}")
        return sizes

    def _stride(self, arg: Arg, x, i: int) -> int:
        if (
            x.shape[i] <= 1
        ):  # numpy may report any stride here; take the one that the next outer dimension implies, or the dense one
            outside = next((j for j in reversed(range(i)) if x.shape[j] != 1), None)
            if outside is None or arg.dims[outside][1] or 0 in x.shape:
                return math.prod(x.shape[i + 1 :])
            i = outside
        step, rest = divmod(x.strides[i], x.dtype.itemsize)
        if rest or step < 0:
            self._refuse(arg, x, {})
        return step

    def _check(self, arg: Arg, x, sizes: dict[str, int]) -> None:
        dense, shape, strides, size = 1, x.shape, x.strides, x.dtype.itemsize
        empty = 0 in shape
        for i in reversed(range(len(arg.dims))):
            extent, stride = arg.dims[i]
            if evaluate(extent, sizes) != shape[i]:
                self._refuse(arg, x, sizes)
            if stride:
                dense = evaluate(stride, sizes)
            if shape[i] > 1 and not empty and strides[i] != dense * size:
                self._refuse(arg, x, sizes)
            dense *= shape[i]
        if arg.below is not None and x.size:
            limit = evaluate(arg.below, sizes)
            if x.min() < 0 or x.max() >= limit:
                raise ValueError(f"{self.name}: every value of {arg.name} must be in [0, {limit})")

    def _refuse(self, arg: Arg, x, sizes: dict[str, int]):
        need = {w: sizes[w] for d, s in arg.dims for e in (d, s) if e for w in _names(e) if w in sizes}
        raise ValueError(
            f"{self.name}: {arg.name} must be {arg.annotation.rstrip('?')} with {need}, "
            f"got {x.dtype.name if x.dtype.isnative else x.dtype}{list(x.shape)} strides {x.strides}"
        )


class Reference:
    """The reference implementation of a kernel: readable Python, compiled by Numba at the first call."""

    def __init__(self, function, where: str, macs: str, plain: bool, traits: Traits, ahead: dict[str, str] | None):
        self.function = function
        self.spec = Spec(function, where, macs, traits, ahead)
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self._compiled = function if plain else None

    def __call__(self, *args, **kwargs):
        values = arguments(self.spec, args, kwargs)
        self.spec.bind(values)
        if self._compiled is None:
            self._compiled = _njit(self.function)
        given = values.values()
        return self._compiled(*(given if self._compiled is self.function else map(_widened, given)))


def _widened(x):
    """`x`, with float16 converted to float32, since Numba has no float16 on CPUs."""
    return x.astype("float32") if getattr(x, "dtype", None) == "float16" else x


def arguments(spec: Spec, args: tuple, kwargs: dict) -> dict[str, object]:
    """Positional and named arguments as {name: value} in order; missing ones are None or 0."""
    values = dict(zip((a.name for a in spec.args), args))
    unknown = [n for n in kwargs if n not in spec.by_name or n in values]
    if unknown or len(args) > len(spec.args):
        raise TypeError(f"{spec.name}: takes {[a.name for a in spec.args]}, got {len(args)} and {list(kwargs)}")
    values |= kwargs
    blank = {"size": 0}
    return {a.name: values.get(a.name, blank.get(a.kind)) for a in spec.args}


def reference(
    where: str = "",
    macs: str = "0",
    plain: bool = False,
    traits: Traits = NO_TRAITS,
    ahead: dict[str, str] | None = None,
):
    """Declare the decorated function as the reference of the kernel of its name.

    `where`: conditions on its sizes; `macs`: its multiply-accumulates; `plain`: it is NumPy code, not compiled by Numba;
    `traits`: what the compiler may do with it; `ahead`: for an argument, the sizes that stand before it in C although
    only later arrays mention them, so that the slots of an epilogue are contiguous.
    """
    return lambda function: Reference(function, where, macs, plain, traits, ahead)


def helper(function):
    """Declare a function that references call; Numba compiles it with them, Python can call it directly."""
    function.pcx_helper = True
    return function


@cache
def _njit(function):
    try:
        import numba
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the reference kernels need numba: pip install 'pycompress-engine[numba]'") from None

    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if getattr(scope.get(name), "pcx_helper", False):
            scope[name] = _njit(scope[name])
    twin = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    return numba.njit(error_model="numpy")(twin)
