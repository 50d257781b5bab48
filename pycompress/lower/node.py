"""One ONNX node as lowering functions see it."""

from __future__ import annotations

from copy import copy

import numpy as np
import onnx
from onnx import AttributeProto

from ..errors import ModelError
from ..formats.onnx_structure import name_of
from .values import Value

_REQUIRED = object()


class Node:
    """A node with its input values. Attributes that the lowering does not read are refused by ``finish``."""

    def __init__(self, proto: onnx.NodeProto, inputs: list[Value | None], opset: int):
        self.proto, self.inputs, self.opset = proto, inputs, opset
        self.op, self.domain = proto.op_type, proto.domain
        self.name = name_of(proto)
        self.outputs = len(proto.output)
        self._attributes: dict[str, AttributeProto] = {}
        for a in proto.attribute:
            if a.name in self._attributes:
                self.refuse("is given twice", a.name)
            self._attributes[a.name] = a
        self._asked: set[str] = set()

    @property
    def bounded(self) -> bool:
        """Whether an input has an extent that is only known at run time."""
        return any(value is not None and value.rows is not None for value in self.inputs)

    def become(self, op: str, inputs: list[Value | None], opset: int | None = None, without=(), given=None) -> Node:
        """This node as another operator on other inputs, without the attributes `without`, and with those of `given`."""
        other = copy(self)
        other.op, other.inputs, other.domain, other.opset = op, inputs, "", opset or self.opset
        other._attributes = {k: a for k, a in self._attributes.items() if k not in without}
        other._attributes |= {k: onnx.helper.make_attribute(k, v) for k, v in (given or {}).items()}
        return other

    def refuse(self, why: str, attribute: str | None = None):
        """Raise ModelError naming this node and, where given, the attribute."""
        what = f"attribute {attribute!r} " if attribute else ""
        raise ModelError(f"node {self.name!r} ({self.op}): {what}{why}")

    def input(self, index: int, name: str = "") -> Value:
        """Input `index`, which must be present."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            self.refuse(f"input {index} {name and repr(name)} is missing")
        return value

    def optional(self, index: int) -> Value | None:
        """Input `index`, or None."""
        return self.inputs[index] if index < len(self.inputs) else None

    def broadcast(self, *shapes) -> tuple[int, ...]:
        """The shape that `shapes` broadcast to."""
        if all(s == shapes[0] for s in shapes[1:]):
            return tuple(shapes[0])
        try:
            return np.broadcast_shapes(*(tuple(s) for s in shapes))
        except ValueError:
            self.refuse(f"cannot broadcast shapes {[tuple(s) for s in shapes]}")

    def has_output(self, index: int) -> bool:
        """Whether output `index` is used."""
        return index < len(self.proto.output) and bool(self.proto.output[index])

    def plan_time(self, index: int, name: str, required: bool = False) -> np.ndarray | None:
        """The constant value of input `index`, or None if it is absent and not `required`."""
        value = self.input(index, name) if required else self.optional(index)
        if value is None:
            return None
        if value.runtime or value.data is None:
            self.refuse(f"input {index} {name!r} must be known when planning; it is computed at run time")
        return value.data

    def _take(self, name: str, kind: int, default):
        self._asked.add(name)
        a = self._attributes.get(name)
        if a is None:
            if default is _REQUIRED:
                self.refuse("is required", name)
            return None
        if a.type != kind:
            self.refuse(f"must be {AttributeProto.AttributeType.Name(kind)}", name)
        return a

    def int(self, name: str, default=_REQUIRED, allowed=None) -> int:
        """An integer attribute; `allowed` lists what is supported."""
        a = self._take(name, AttributeProto.INT, default)
        value = default if a is None else a.i
        if allowed is not None and value not in allowed:
            self.refuse(f"= {value} is not supported (only {list(allowed)})", name)
        return value

    def float(self, name: str, default=_REQUIRED) -> float:
        """A finite float attribute."""
        a = self._take(name, AttributeProto.FLOAT, default)
        value = default if a is None else a.f
        if value is not None and not np.isfinite(value):
            self.refuse(f"= {value} is not finite", name)
        return value

    def string(self, name: str, default=_REQUIRED, allowed=None) -> str:
        """A string attribute; `allowed` lists what is supported."""
        a = self._take(name, AttributeProto.STRING, default)
        value = default if a is None else a.s.decode("utf-8", "replace")
        if allowed is not None and value not in allowed:
            self.refuse(f"= {value!r} is not supported (only {list(allowed)})", name)
        return value

    def ints(self, name: str, default=_REQUIRED, length: int | None = None, minimum: int | None = None) -> list[int]:
        """A list of integers, with `length` elements, each at least `minimum`."""
        a = self._take(name, AttributeProto.INTS, default)
        values = default if a is None else list(a.ints)
        if values is None:
            return None
        if length is not None and len(values) != length:
            self.refuse(f"= {values} must have {length} values", name)
        if minimum is not None and any(v < minimum or v > 2**31 - 1 for v in values):
            self.refuse(f"= {values} must be at least {minimum} each", name)
        return values

    def floats(self, name: str, default=_REQUIRED) -> list[float]:
        """A list of floats."""
        a = self._take(name, AttributeProto.FLOATS, default)
        return default if a is None else list(a.floats)

    def raw(self, name: str) -> AttributeProto | None:
        """An attribute of any type, or None."""
        self._asked.add(name)
        return self._attributes.get(name)

    def ignore(self, *names: str) -> None:
        """Accept attributes that do not change the result."""
        self._asked.update(names)

    def finish(self) -> None:
        """Refuse attributes that the lowering did not read."""
        for name in self._attributes:
            if name not in self._asked:
                self.refuse("is not supported", name)
