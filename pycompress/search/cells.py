"""The space of NASNet-like networks (arXiv:1707.07012): one normal and one reduction cell are searched and stacked.

A cell has two inputs, the results of the two cells before it. Each of its nodes applies two searched operations to two
searched tensors out of the inputs and the earlier nodes, and adds the results. The nodes that no other node reads are
concatenated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product

from ..zoo.builder import make_divisible
from .blocks import FLOAT, IMAGE, Block, Network, Placed
from .space import ACTIVATIONS, MAX_CHANNELS, Reader, Space, Value, _Chosen, bits_of, kind

OPERATIONS = ("identity", "conv1", "conv3", "sep3", "sep5", "sep7", "max3", "avg3")
SIDES = ("left", "right")


@kind("cells")
class CellSpace(Space):
    """Stem, normal cells and reduction cells in turns, average, classifier. A reduction halves the image and doubles channels."""

    def _read(self, reader: Reader) -> None:
        self._decide("width", reader.numbers("width", 0.05, 8, 1.0, whole=False))
        stem = reader.part("stem", {"out": 16})
        self._decide("stem.out", stem.numbers("out", 1, MAX_CHANNELS, default=16))
        self.stem_stride = stem.number("stride", 1, 4, 2)
        stem.end()
        self._decide("activation", reader.choices("activation", ACTIVATIONS, "relu"))
        self._decide("out", reader.numbers("out", 1, MAX_CHANNELS))
        self._decide("repeats", reader.numbers("repeats", 1, 20, 1))
        self.reductions = reader.number("reductions", 0, 5, 2)
        self.nodes = reader.number("nodes", 1, 8, 3)
        self._decide("bits", bits_of(reader, self.precision))
        normal = reader.choices("operations", OPERATIONS)
        reduction = reader.choices("reduction_operations", OPERATIONS, normal)
        for cell, operations in (("normal", normal), ("reduction", reduction)):
            if cell == "reduction" and not self.reductions:
                continue
            for node, side in product(range(self.nodes), SIDES):
                self._decide(f"{cell}.{node}.{side}.input", tuple(range(2 + node)))
                self._decide(f"{cell}.{node}.{side}.operation", operations)

    def _build(self, choice: _Chosen) -> Network:
        out = make_divisible(choice["width"] * choice["out"])
        stem = make_divisible(choice["width"] * choice["stem.out"])
        net = _Stack(choice, choice["activation"], choice["bits"])
        net.place(
            "stem",
            Block("conv", choice["resolution"], self.channels, stem, 3, self.stem_stride, activation=net.activation),
            (IMAGE,),
        )
        before, last = "stem", "stem"
        for k, (cell, stage) in enumerate(self._sequence(choice["repeats"])):
            before, last = last, self._cell(net, f"cells.{k}", cell, (before, last), out << stage)
        size, channels = net.size[last], net.channels[last]
        net.place("classifier", Block("classifier", size, channels, self.classes, bits=choice["bits"]), (last,))
        return Network(self.channels, choice["resolution"], self.classes, tuple(net.placed))

    def _cell(self, net: _Stack, name: str, cell: str, inputs: tuple[str, str], out: int) -> str:
        """Place a cell; the name of its result."""
        stride = 2 if cell == "reduction" else 1
        wiring = [
            [(net.choice[f"{cell}.{n}.{side}.input"], net.choice[f"{cell}.{n}.{side}.operation"]) for side in SIDES]
            for n in range(self.nodes)
        ]
        read = {at for node in wiring for at, _ in node}
        tensors: dict[int, str] = {}
        for i in sorted(read & {0, 1}):
            shrink = -(-net.size[inputs[i]] // net.size[inputs[1]])
            tensors[i] = net.conv(f"{name}.input{i}", inputs[i], out, shrink)
        for n, node in enumerate(wiring):
            sides = [
                net.operation(f"{name}.{n}.{side}", operation, tensors[at], out, stride if at < 2 else 1)
                for side, (at, operation) in zip(SIDES, node)
            ]
            size = net.size[sides[0]]
            tensors[2 + n] = net.place(f"{name}.{n}", Block("add", size, out, out, sources=2), tuple(sides))
        loose = [tensors[2 + n] for n in range(self.nodes) if 2 + n not in read]
        if len(loose) == 1:
            return loose[0]
        size, channels = net.size[loose[0]], out * len(loose)
        return net.place(name, Block("concat", size, channels, channels, sources=len(loose)), tuple(loose))

    def positions(self) -> dict[str, Block]:
        width = max(self.values("width"))
        out = make_divisible(width * max(self.values("out")))
        stem = make_divisible(width * max(self.values("stem.out")))
        found = {"stem": Block("conv", 1, self.channels, stem, 3, self.stem_stride)}
        before = last = stem
        for k, (_, stage) in enumerate(self._sequence(max(self.values("repeats")))):
            c = out << stage
            # with fewer repeats a cell of this number may stand in a later stage, and read wider tensors
            c = max(c, *(out << s for r in self.values("repeats") for _, s in self._sequence(r)[k : k + 1]))
            for i, channels in enumerate((before, last)):
                found[f"cells.{k}.input{i}"] = Block("conv", 1, max(before, last, channels), c)
            words = {w for kind in ("normal", "reduction") for w in self._words(kind)}
            for n, side, word in product(range(self.nodes), SIDES, sorted(words)):
                block = operation(word, 1, c, 2, "relu", FLOAT)
                if block and block.kind in ("conv", "sep"):
                    found[f"cells.{k}.{n}.{side}.{word}"] = block
            before, last = last, c * self.nodes
        found["classifier"] = Block("classifier", 1, (out << self.reductions) * self.nodes, self.classes)
        return found

    def gates(self, choice: Mapping[str, Value]) -> dict[tuple[str, int], list[str]]:
        network, used = self.network(choice), self.used(choice)
        kinds = [cell for cell, _ in self._sequence({**self._fixed, **choice}["repeats"])]
        made: dict[tuple[str, int], list[str]] = {}
        for p in network.placed:
            if p.block.kind == "add":
                _, k, n = p.name.split(".")
                for i, side in enumerate(SIDES):
                    mine = f"{kinds[int(k)]}.{n}.{side}."
                    made[p.name, i] = sorted(d for d in used if d.startswith(mine))
        of_cells = {d for names in made.values() for d in names}
        made["classifier", 0] = sorted(used - of_cells)
        return made

    def _sequence(self, repeats: int) -> list[tuple[str, int]]:
        """The cells with their stages."""
        cells = []
        for stage in range(self.reductions + 1):
            cells += [("reduction", stage)] if stage else []
            cells += [("normal", stage)] * repeats
        return cells

    def _words(self, cell: str) -> tuple:
        return self.values(f"{cell}.0.left.operation") if cell == "normal" or self.reductions else ()

    def _blocks(self) -> Iterable[Block]:
        """Blocks of all sizes and channels that cells can have."""
        for resolution, width, stem, out, activation, bits in product(
            *map(self.values, ("resolution", "width", "stem.out", "out", "activation", "bits"))
        ):
            stem, out = make_divisible(width * stem), make_divisible(width * out)
            first = Block("conv", resolution, self.channels, stem, 3, self.stem_stride, activation=activation)
            yield first
            yield from self._stages(first.size_out, stem, out, activation, bits)

    def _stages(self, size: int, stem: int, out: int, activation: str, bits: int) -> Iterable[Block]:
        """The blocks after the stem, for each number of repeats: sets of (size, channels) go through the cells."""
        ends = range(1, self.nodes + 1)  # how many nodes a cell may concatenate
        for repeats in self.values("repeats"):
            at, before, last = size, {(size, stem)}, {(size, stem)}
            for cell, stage in self._sequence(repeats):
                c = out << stage
                for s, channels in sorted(before | last):
                    yield Block("conv", s, channels, c, 1, -(-s // at), activation=activation, bits=bits)
                yield from self._operations(cell, at, c, activation, bits)
                at = -(-at // 2) if cell == "reduction" else at
                yield Block("add", at, c, c, sources=2)
                yield from (Block("concat", at, c * n, c * n, sources=n) for n in ends if n > 1)
                before, last = last, {(at, c * n) for n in ends}
            for s, channels in sorted(last):
                yield Block("classifier", s, channels, self.classes, bits=bits)

    def _operations(self, cell: str, size: int, channels: int, activation: str, bits: int) -> Iterable[Block]:
        """What the nodes of a cell may apply: to its inputs, and with more than one node to earlier nodes."""
        places = [(size, 2), (-(-size // 2), 1)] if cell == "reduction" else [(size, 1)]
        for word in self.values(f"{cell}.0.left.operation"):
            for s, stride in places:
                block = operation(word, s, channels, stride, activation, bits)
                yield from [block] if block else []


class _Stack:
    """Blocks placed so far, with the size and channels of each result."""

    def __init__(self, choice: _Chosen, activation: str, bits: int):
        self.choice, self.activation, self.bits = choice, activation, bits
        self.placed: list[Placed] = []
        self.size: dict[str, int] = {}
        self.channels: dict[str, int] = {}

    def place(self, name: str, block: Block, sources: tuple[str, ...]) -> str:
        self.placed.append(Placed(name, block, sources))
        self.size[name], self.channels[name] = block.size_out, block.out
        return name

    def conv(self, name: str, source: str, out: int, stride: int) -> str:
        size, inputs = self.size[source], self.channels[source]
        block = Block("conv", size, inputs, out, 1, stride, activation=self.activation, bits=self.bits)
        return self.place(name, block, (source,))

    def operation(self, name: str, word: str, source: str, out: int, stride: int) -> str:
        block = operation(word, self.size[source], out, stride, self.activation, self.bits)
        return self.place(f"{name}.{word}", block, (source,)) if block else source


def operation(word: str, size: int, channels: int, stride: int, activation: str, bits: int) -> Block | None:
    """The block of an operation's word; None for the identity. With a stride the identity is a 1x1 convolution."""
    if word == "identity":
        if stride == 1:
            return None
        return Block("conv", size, channels, channels, 1, stride, activation=activation, bits=bits)
    name, kernel = re.fullmatch(r"([a-z]+)(\d)", word).groups()  # type: ignore[union-attr]
    if name in ("max", "avg"):
        return Block(name, size, channels, channels, int(kernel), stride)
    return Block(name, size, channels, channels, int(kernel), stride, activation=activation, bits=bits)
