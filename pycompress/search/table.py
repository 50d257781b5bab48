"""A table of latencies: seconds per block on one machine, and what turns their sum into a network's time."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..cpu import cpu_info
from ..errors import PycompressError
from ..formats import atomic
from .blocks import Block, Network

FORMAT = 2


class ForeignTable(PycompressError, ValueError):
    """A table of latencies was measured on another machine."""


@dataclass
class Table:
    """Latencies of blocks.

    Attributes
    ----------
    host, cpu : str
        The machine's name and its CPU's.
    isa : tuple of str
        The instruction sets that kernels used.
    precision : {"float", "int8"}
    threads : int
        Of a run.
    blocks : dict
        Seconds by `Block.key`.
    reference : float
        Seconds of a block that is measured again with all others, to which their times are scaled: clocks change. 0 where
        nothing was measured yet.
    intercept, slope, per_byte : float
        A network takes ``intercept + slope * raw(network) + per_byte * network.weight_bytes`` seconds. A block that is
        timed by itself finds its weights in the nearest cache; in a network they come from further away.
    fitted : list of (float, float, float)
        The sums, the bytes of weights and the measured seconds of the networks that this was fitted to; empty before
        `latency.correct`.
    """

    host: str
    cpu: str
    isa: tuple[str, ...]
    precision: str
    threads: int
    blocks: dict[str, float] = field(default_factory=dict)
    reference: float = 0.0
    intercept: float = 0.0
    slope: float = 1.0
    per_byte: float = 0.0
    fitted: list[tuple[float, float, float]] = field(default_factory=list)

    @classmethod
    def here(cls, precision: str = "float", threads: int = 1) -> Table:
        """An empty table for this machine."""
        info = cpu_info()
        return cls(platform.node(), info["model"], tuple(info["used"]), precision, threads)

    @classmethod
    def load(cls, path: str | os.PathLike, *, foreign: bool = False) -> Table:
        """The table in a file.

        Parameters
        ----------
        path : path
        foreign : bool
            Take a table that was measured on another machine, too.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ForeignTable
            If host, CPU or instruction sets are not those of this machine, and `foreign` is not set.
        ValueError
            If the file is no such table.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no such table of latencies: {path}")
        try:
            text = json.loads(Path(path).read_text("utf-8"))
            if text["pycompress.latency"] != FORMAT:
                raise ValueError(f"format {text['pycompress.latency']!r}, and this library writes {FORMAT}")
            table = cls(
                *(str(text[key]) for key in ("host", "cpu")),
                tuple(map(str, text["isa"])),
                str(text["precision"]),
                int(text["threads"]),
                {str(key): float(seconds) for key, seconds in text["blocks"].items()},
                *(float(text[key]) for key in ("reference", "intercept", "slope", "per_byte")),
                [(float(raw), float(held), float(seconds)) for raw, held, seconds in text["fitted"]],
            )
            if bad := [key for key, seconds in table.blocks.items() if not 0 < seconds < math.inf]:
                raise ValueError(f"block {bad[0]!r} takes {table.blocks[bad[0]]} s")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a table of latencies: {error}; delete it to measure again") from None
        if not foreign:
            table.check_machine(path)
        return table

    def save(self, path: str | os.PathLike) -> None:
        """Write the table, as a whole or not at all."""
        text = {"pycompress.latency": FORMAT, **{key: getattr(self, key) for key in self.__dataclass_fields__}}
        atomic.write(path, json.dumps(text, indent=1).encode())

    def check_machine(self, path: str | os.PathLike = "table") -> None:
        """Refuse a table of another machine.

        Raises
        ------
        ForeignTable
        """
        here = Table.here(self.precision, self.threads)
        for key in ("host", "cpu", "isa"):
            mine, its = getattr(here, key), getattr(self, key)
            if mine != its:
                said = [", ".join(x) if isinstance(x, tuple) else x for x in (its, mine)]
                raise ForeignTable(
                    f"{path}: measured with {key} {said[0]}, and this is {said[1]}: measure a table here, or ask for "
                    "the foreign one (--foreign-table)"
                )

    def missing(self, blocks: Iterable[Block]) -> list[Block]:
        """Those of `blocks` that are not in the table, once each."""
        return list({b.key: b for b in blocks if b.key not in self.blocks}.values())

    def raw(self, network: Network) -> float:
        """The sum of the blocks' seconds.

        Raises
        ------
        ValueError
            If a block is not in the table.
        """
        try:
            return sum(self.blocks[block.key] for block in network.blocks)
        except KeyError as error:
            raise ValueError(f"the table of latencies lacks the block {error}: fill it for this space") from None

    def predict(self, network: Network) -> float:
        """The seconds of a run of `network`."""
        return self.intercept + self.slope * self.raw(network) + self.per_byte * network.weight_bytes
