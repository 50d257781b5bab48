"""The space of MobileNetV3-like networks: stages of inverted residuals whose kernel, expansion, width and depth vary.

The decisions are those of MnasNet (arXiv:1807.11626) and MobileNetV3 (arXiv:1905.02244), made for each layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..zoo.builder import make_divisible
from .blocks import IMAGE, Block, Network, Placed
from .space import ACTIVATIONS, KERNELS, MAX_CHANNELS, Reader, Space, Value, _Chosen, bits_of, kind


@dataclass(frozen=True)
class _Stage:
    depth: int  # the largest
    stride: int


@kind("mobile")
class MobileSpace(Space):
    """Stem, stages of inverted residuals, a 1x1 convolution, average, classifier."""

    def _read(self, reader: Reader) -> None:
        self._decide("width", reader.numbers("width", 0.05, 8, 1.0, whole=False))
        stem = reader.part("stem", {"out": 16})
        self._decide("stem.out", stem.numbers("out", 1, MAX_CHANNELS, default=16))
        self.stem_kernel = stem.number("kernel", 1, 7, 3)
        self.stem_stride = stem.number("stride", 1, 4, 2)
        self._decide("stem.activation", stem.choices("activation", ACTIVATIONS, "hardswish"))
        stem.end()
        self.stages = tuple(self._stage(part, i) for i, part in enumerate(reader.parts("stages")))
        head = reader.part("head", {"out": 128})
        self._decide("head.out", head.numbers("out", 1, MAX_CHANNELS, default=128))
        self._decide("head.activation", head.choices("activation", ACTIVATIONS, "hardswish"))
        self._decide("head.bits", bits_of(head, self.precision))
        head.end()

    def _stage(self, part: Reader, i: int) -> _Stage:
        name = f"stages.{i}"
        depth = part.numbers("depth", 1, 20, 1)
        self._decide(f"{name}.out", part.numbers("out", 1, MAX_CHANNELS))
        self._decide(f"{name}.depth", depth)
        stride = part.number("stride", 1, 2, 1)
        self._decide(f"{name}.activation", part.choices("activation", ACTIVATIONS, "relu"))
        kernels, expansions = part.choices("kernel", KERNELS, 3), part.numbers("expansion", 0.5, 16, 4, whole=False)
        excited, bits = part.choices("se", (False, True), False), bits_of(part, self.precision)
        for j in range(max(depth)):
            self._decide(f"{name}.{j}.kernel", kernels)
            self._decide(f"{name}.{j}.expansion", expansions)
            self._decide(f"{name}.{j}.se", excited)
            self._decide(f"{name}.{j}.bits", bits)
        part.end()
        return _Stage(max(depth), stride)

    def _build(self, choice: _Chosen) -> Network:
        width, resolution = choice["width"], choice["resolution"]
        block = self._stem(resolution, width, choice["stem.out"], choice["stem.activation"])
        placed = [Placed("stem", block, (IMAGE,))]
        for i, stage in enumerate(self.stages):
            name = f"stages.{i}"
            out, activation = make_divisible(width * choice[f"{name}.out"]), choice[f"{name}.activation"]
            for j in range(choice[f"{name}.depth"]):
                values = (choice[f"{name}.{j}.{key}"] for key in ("kernel", "expansion", "se", "bits"))
                stride = stage.stride if j == 0 else 1
                block = self._layer(block.size_out, block.out, out, stride, activation, *values)
                placed.append(Placed(f"{name}.{j}", block, (placed[-1].name,)))
        head = self._head(
            block.size_out, block.out, width, choice["head.out"], choice["head.activation"], choice["head.bits"]
        )
        for name, block in zip(("head", "classifier"), head):
            placed.append(Placed(name, block, (placed[-1].name,)))
        return Network(self.channels, resolution, self.classes, tuple(placed))

    def positions(self) -> dict[str, Block]:
        largest = self.network({d.name: d.values[-1] for d in self.decisions})  # values are in rising order
        return {p.name: p.block for p in largest.placed}

    def gates(self, choice: Mapping[str, Value]) -> dict[tuple[str, int], list[str]]:
        placed = [p.name for p in self.network(choice).placed]
        after = {name: (next_, 0) for name, next_ in zip(placed, placed[1:])}
        made: dict[tuple[str, int], list[str]] = {}
        for decision in sorted(self.used(choice)):
            owner = decision.rpartition(".")[0]  # the block, or the stage, whose last layer stands for it
            if owner not in after:
                owner = next((name for name in reversed(placed) if owner and name.startswith(f"{owner}.")), "head")
            made.setdefault(after[owner], []).append(decision)
        return made

    def _stem(self, size: int, width: float, out: int, activation: str) -> Block:
        out = make_divisible(width * out)
        return Block("conv", size, self.channels, out, self.stem_kernel, self.stem_stride, activation=activation)

    @staticmethod
    def _layer(size, inputs, out, stride, activation, kernel, expansion, se, bits) -> Block:
        expanded = make_divisible(expansion * inputs)
        return Block("mb", size, inputs, out, kernel, stride, expanded, se, activation, bits)

    def _head(self, size, inputs, width, out, activation, bits) -> tuple[Block, Block]:
        head = Block("conv", size, inputs, make_divisible(width * out), activation=activation, bits=bits)
        return head, Block("classifier", size, head.out, self.classes, bits=bits)

    def _blocks(self) -> Iterable[Block]:
        for size in self.values("resolution"):
            for width in self.values("width"):
                yield from self._blocks_of(size, width)

    def _blocks_of(self, size: int, width: float) -> Iterable[Block]:
        """All blocks of networks of this resolution and width: what is possible before a stage, then within it."""
        stems = [
            self._stem(size, width, out, act)
            for out in self.values("stem.out")
            for act in self.values("stem.activation")
        ]
        yield from stems
        before = {block.out for block in stems}
        size = stems[0].size_out
        for i, stage in enumerate(self.stages):
            outs = {make_divisible(width * out) for out in self.values(f"stages.{i}.out")}
            for inputs in sorted(before):
                for out in sorted(outs):
                    yield from self._layers(i, 0, size, inputs, out, stage.stride)
            size = -(-size // stage.stride)
            for j in range(1, stage.depth):
                for out in sorted(outs):
                    yield from self._layers(i, j, size, out, out, 1)
            before = outs
        for inputs in sorted(before):
            for out in self.values("head.out"):
                for act in self.values("head.activation"):
                    for bits in self.values("head.bits"):
                        yield from self._head(size, inputs, width, out, act, bits)

    def _layers(self, i: int, j: int, size: int, inputs: int, out: int, stride: int) -> Iterable[Block]:
        name = f"stages.{i}"
        for activation in self.values(f"{name}.activation"):
            for kernel in self.values(f"{name}.{j}.kernel"):
                for expansion in self.values(f"{name}.{j}.expansion"):
                    for se in self.values(f"{name}.{j}.se"):
                        block = self._layer(size, inputs, out, stride, activation, kernel, expansion, se, 0)
                        for bits in self.values(f"{name}.{j}.bits"):
                            yield replace(block, bits=bits)
