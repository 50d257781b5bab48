"""Search spaces: a YAML file or a dict that says what may vary, and the network of each choice."""

from __future__ import annotations

import difflib
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .blocks import FLOAT, Block, Network

Value = bool | int | float | str
Choice = dict[str, Value]  # decision -> value
ACTIVATIONS = ("relu", "relu6", "hardswish", "silu")
KERNELS = (3, 5, 7)
PRECISIONS = ("float", "int8")
BITS = (8, 4)
MAX_SIZE, MAX_CHANNELS = 1024, 8192  # what is more is a mistake, and would take all memory
TRAINING = ("data", "recipe", "final")  # keys of a file that are not the space's


@dataclass(frozen=True)
class Decision:
    """What one parameter of a search may be."""

    name: str
    values: tuple[Value, ...]


class Space(ABC):
    """A set of networks. A choice gives every decision a value; those that a network does not use are ignored.

    Attributes
    ----------
    decisions : tuple of Decision
        In the order in which a controller makes them; what has one value only is no decision.
    channels, classes : int
        Of the input and the output.
    precision : {"float", "int8"}
        What networks are timed and delivered in.
    options : dict
        The file's keys ``data``, ``recipe`` and ``final``, for `pycompress.train`.
    """

    def __init__(self, table: Mapping[str, Any]):
        self.table = dict(table)
        self.options = {key: self.table.pop(key) for key in TRAINING if key in self.table}
        self._decisions: dict[str, tuple[Value, ...]] = {}
        self._fixed: Choice = {}
        reader = Reader(self.table, "space")
        reader.word("kind", tuple(_KINDS))
        reader.text("name", "")
        shape = reader.part("input")
        self.channels = shape.number("channels", 1, 4)
        self.classes = shape.number("classes", 2)
        self._decide("resolution", shape.numbers("resolution", 8, MAX_SIZE))
        shape.end()
        self.precision = reader.word("precision", PRECISIONS, "float")
        self._read(reader)
        reader.end()

    @abstractmethod
    def _read(self, reader: Reader) -> None:
        """Read the other keys, and call `_decide` for each decision."""

    @abstractmethod
    def _build(self, choice: _Chosen) -> Network:
        """The network of a complete choice."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(Decision(name, values) for name, values in self._decisions.items())

    @property
    def described(self) -> dict[str, Any]:
        """What `read` makes this space from."""
        return {**self.table, **self.options}

    @property
    def size(self) -> int:
        """How many choices there are; several of them may give the same network."""
        return int(np.prod([float(len(values)) for values in self._decisions.values()]))

    @property
    def digest(self) -> str:
        """Stands for the space and for how its networks are trained: studies of different digests do not mix."""
        said = json.dumps([self.table, {k: v for k, v in self.options.items() if k != "final"}], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def network(self, choice: Mapping[str, Value]) -> Network:
        """The network of `choice`.

        Raises
        ------
        ValueError
            If a decision is missing, unknown, or has none of its values.
        """
        return self._build(self._checked(choice))

    def used(self, choice: Mapping[str, Value]) -> frozenset[str]:
        """The decisions that the network of `choice` depends on."""
        chosen = self._checked(choice)
        self._build(chosen)
        return frozenset(chosen.read)

    def canonical(self, choice: Mapping[str, Value]) -> Choice:
        """`choice` with the first value for each decision that its network does not use."""
        used = self.used(choice)
        return {name: choice[name] if name in used else values[0] for name, values in self._decisions.items()}

    def random(self, rng: np.random.Generator) -> Choice:
        """A choice, each decision by itself with equal chances."""
        return {name: values[rng.integers(len(values))] for name, values in self._decisions.items()}

    def smallest(self) -> Choice:
        """The choice with the first value everywhere, then improved one decision at a time by multiply-accumulates."""
        return descend(self, {n: v[0] for n, v in self._decisions.items()}, lambda c: self.network(c).macs)

    def blocks(self, limit: int = 20000) -> list[Block]:
        """All blocks that networks of the space have, once each.

        Raises
        ------
        ValueError
            If there are more than `limit`.
        """
        found: dict[str, Block] = {}
        for block in self._blocks():
            found.setdefault(block.key, block)
            if len(found) > limit:
                raise ValueError(f"space: it has more than {limit} different blocks: give it fewer values")
        return list(found.values())

    @abstractmethod
    def positions(self) -> dict[str, Block]:
        """The places of blocks with weights in all networks, each with a block as large as any there."""

    @abstractmethod
    def gates(self, choice: Mapping[str, Value]) -> dict[tuple[str, int], list[str]]:
        """{(placed block, index of one of its sources): decisions that made this source}: each used decision once or more."""

    @abstractmethod
    def _blocks(self) -> Iterable[Block]:
        """All blocks, some of them several times."""

    def _decide(self, name: str, values: tuple[Value, ...]) -> None:
        if len(values) > 1:
            self._decisions[name] = values
        else:
            self._fixed[name] = values[0]

    def values(self, name: str) -> tuple[Value, ...]:
        """The values that a decision may have, or the one that is fixed."""
        return self._decisions[name] if name in self._decisions else (self._fixed[name],)

    def _checked(self, choice: Mapping[str, Value]) -> _Chosen:
        for name in choice:
            if name not in self._decisions:
                raise ValueError(f"the space has no decision {name!r}{_near(name, self._decisions)}")
        for name, values in self._decisions.items():
            if name not in choice:
                raise ValueError(f"no value for {name}")
            if choice[name] not in values:
                raise ValueError(f"{name}: {choice[name]!r} is not one of {_list(values)}")
        return _Chosen({**self._fixed, **choice}, self._decisions)


class _Chosen:
    """A complete choice that notes which of the decisions were asked for."""

    def __init__(self, values: Choice, decisions: Mapping[str, object]):
        self.values, self.decisions = values, decisions
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name in self.decisions:
            self.read.add(name)
        return self.values[name]


def descend(space: Space, choice: Choice, cost) -> Choice:
    """`choice` after changing one decision at a time, to whatever lowers `cost(choice)` most, until nothing does."""
    best = cost(choice)
    improved = True
    while improved:
        improved = False
        for decision in space.decisions:
            for value in decision.values:
                tried = {**choice, decision.name: value}
                if value != choice[decision.name] and (c := cost(tried)) < best:
                    choice, best, improved = tried, c, True
    return choice


def read(source: str | Path | Mapping[str, Any]) -> Space:
    """The space in a YAML file, or in a dict.

    Parameters
    ----------
    source : path or dict
        docs/search.md lists the keys.

    Returns
    -------
    Space

    Raises
    ------
    ValueError
        If a key is unknown or missing, or a value does not fit; the message begins with the path of the key.

    Examples
    --------
    >>> read({"kind": "mobile", "input": {"channels": 1, "classes": 10, "resolution": 28}, "stages": [{"outt": 8}]})
    Traceback (most recent call last):
    ValueError: space.stages[0].outt: unknown key; did you mean out?
    """
    from . import cells, mobile  # they register themselves

    assert cells and mobile
    table = dict(source) if isinstance(source, Mapping) else _parsed(Path(source))
    kind = Reader(table, "space", {}).word("kind", tuple(_KINDS))
    return _KINDS[kind](table)


_KINDS: dict[str, type[Space]] = {}


def kind(name: str):
    """Registers a class of spaces under the word that files have for it."""

    def register(cls: type[Space]) -> type[Space]:
        _KINDS[name] = cls
        return cls

    return register


def _parsed(path: Path) -> dict:
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"no such space: {path}")
    try:
        table = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(table, Mapping):
        raise ValueError(f"{path}: must be a table of keys, as docs/search.md lists them")
    return dict(table)


def _near(name: object, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(str(name), known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


class Reader:
    """Takes the keys of a table one by one; every mistake is named by its path."""

    def __init__(self, table: object, path: str, known: dict[str, None] | None = None):
        if not isinstance(table, Mapping):
            raise ValueError(f"{path}: must be a table of keys, got {table!r}")
        self.table, self.path, self.known = table, path, known if known is not None else {}

    def end(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.table:
            if key not in self.known:
                raise ValueError(f"{self.path}.{key}: unknown key{_near(key, self.known)}")

    def has(self, key: str) -> bool:
        self.known[key] = None
        return key in self.table

    def get(self, key: str, default: Any = None) -> Any:
        self.known[key] = None
        if key in self.table:
            return self.table[key]
        if default is None:
            raise ValueError(self._unless_misspelt(key))
        return default

    def _unless_misspelt(self, key: str) -> str:
        near = [k for k in self.table if k not in self.known and difflib.get_close_matches(str(k), [key], 1, 0.6)]
        if near:
            return f"{self.path}.{near[0]}: unknown key; did you mean {key}?"
        return f"{self.path}.{key}: missing"

    def part(self, key: str, default: Mapping | None = None) -> Reader:
        return Reader(self.get(key, default), f"{self.path}.{key}")

    def parts(self, key: str) -> list[Reader]:
        found = self.get(key)
        if not isinstance(found, list) or not found:
            raise ValueError(f"{self.path}.{key}: must be a list of tables, got {found!r}")
        return [Reader(item, f"{self.path}.{key}[{i}]") for i, item in enumerate(found)]

    def text(self, key: str, default: str) -> str:
        self.known[key] = None
        return str(self.table.get(key, default))

    def word(self, key: str, words: tuple[str, ...], default: str | None = None) -> str:
        value = self.get(key, default)
        if value not in words:
            near = _near(value, words) if isinstance(value, str) else f"; there are {', '.join(words)}"
            raise ValueError(f"{self.path}.{key}: {value!r} is none of its values{near}")
        return value

    def number(self, key: str, low: int, high: int | None = None, default: int | None = None) -> int:
        value = self.get(key, default)
        self._check_number(f"{self.path}.{key}", value, low, high, whole=True)
        return value

    def numbers(self, key: str, low: float, high: float | None = None, default=None, whole: bool = True) -> tuple:
        """A number or a list of different ones, in rising order."""
        found = self._several(key, default)
        for at, value in found.items():
            self._check_number(at, value, low, high, whole)
        return tuple(sorted(found.values()))

    def choices(self, key: str, allowed: tuple, default=None) -> tuple:
        """One of the values `allowed`, or a list of them."""
        found = self._several(key, default)
        for at, value in found.items():
            if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
                near = difflib.get_close_matches(str(value), map(str, allowed), 1, 0.6)
                said = f"did you mean {near[0]}?" if near else f"there are {_list(allowed)}"
                raise ValueError(f"{at}: {value!r} is none of its values; {said}")
        return tuple(v for v in allowed if v in found.values())

    def _several(self, key: str, default) -> dict[str, Any]:
        """{path: value} of a scalar or a list."""
        given, path = self.get(key, default), f"{self.path}.{key}"
        if isinstance(given, tuple):
            given = list(given)
        if not isinstance(given, list):
            return {path: given}
        if not given:
            raise ValueError(f"{path}: the list is empty")
        for i, value in enumerate(given):
            if value in given[:i]:
                raise ValueError(f"{path}[{i}]: {value!r} is there twice")
        return {f"{path}[{i}]": value for i, value in enumerate(given)}

    @staticmethod
    def _check_number(path: str, value: object, low: float, high: float | None, whole: bool) -> None:
        said = "an integer" if whole else "a number"
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ValueError(f"{path}: must be {said}, got {value!r}")
        if not low <= value <= (high if high is not None else np.inf):  # type: ignore[operator]
            between = f"from {low} to {high}" if high is not None else f"of at least {low}"
            raise ValueError(f"{path}: must be {said} {between}, got {value}")


def bits_of(reader: Reader, precision: str) -> tuple[int, ...]:
    """The bits that weights may have: 32 for a float space, whose files cannot name others."""
    if precision == "float":
        if reader.has("bits"):
            raise ValueError(f"{reader.path}.bits: only a space with precision: int8 has bits")
        return (FLOAT,)
    return reader.choices("bits", BITS, 8)
