"""The cost table: how long each kernel takes for a product, measured once per instruction set or on the user's machine.

Its kernels are "sgemm", "spmm" ...; "qgemm.4" is qgemm with accumulation depth 4.
`pycompress advise MODEL --save FILE` measures a table for the shapes of MODEL.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from .. import kernels
from .._pcx import ffi, lib
from ..cpu import ISAS, cpu_mask, two_passes
from ..formats import atomic

FORMAT = 2
_DENSE = {name: kernels.spec(name).traits.dense for name in kernels.NAMES}  # of each sparse kernel
LISTED = tuple(
    sorted({*filter(None, _DENSE.values()), *(name for name, dense in _DENSE.items() if dense)})
)  # in a table
RATES = {  # of dense kernels, multiply-accumulates a cycle: what the execution ports allow, at accumulation depth 1 on AVX2
    "sgemm": {"avx2": 16, "avx512": 32},
    "qgemm": {"avx2": 32, "avxvnni": 64, "avx512vnni": 128, "avx512vbmi": 128, "amx": 1024},
}
MARGIN = 0.9  # of the dense kernel's time: a sparse kernel must stay below it, since a table's times are about 10 % uncertain
HALVES = 1.3  # so many times as long dense kernels take where 512 bits are two passes; sparse ones wait for loads
Shape = tuple[int, int, int]  # m, k, n: rows, inputs, outputs


@dataclass(frozen=True, eq=False)
class Costs:
    """Seconds of one call on one thread.

    Attributes
    ----------
    isas : {kernel: str}
        The instruction set on which each kernel ran.
    host : str
        The CPU.
    times : {kernel: {(m, k, n): (densities, seconds)}}
        A density is the share of blocks that are not zero. Densities ascend; a dense kernel has only density 1.
    """

    isas: dict[str, str]
    host: str
    times: dict[str, dict[Shape, tuple[np.ndarray, np.ndarray]]]

    @property
    def isa(self) -> str:
        """The instruction sets in words, best first."""
        words = [word for word in (*reversed(ISAS), "scalar") if word in self.isas.values()]
        return " and ".join(words)

    def seconds(self, kernel: str, m: int, k: int, n: int, density: float = 1.0) -> float | None:
        """The time of `kernel` for m rows, k inputs and n outputs; None if the table does not list the kernel.

        Measured shapes and densities give the measured time. Between densities the time is interpolated linearly. For
        other shapes the time per multiply-accumulate is the mean over the measured shapes, weighted by nearness.
        """
        found = self._seconds(kernel, m, k, n, np.array([density]))
        return None if found is None else float(found[0])

    def _seconds(self, kernel: str, m: int, k: int, n: int, densities: np.ndarray) -> np.ndarray | None:
        """As ``seconds``, for several densities."""
        known = self.times.get(kernel)
        if not known:
            return None
        shapes = np.array(list(known), float)
        weights = 1 / (np.square(np.log2([m, k, n]) - np.log2(shapes)).sum(1) + 1e-6) ** 2
        times = np.stack([np.interp(densities, *curve) for curve in known.values()])
        return (weights / shapes.prod(1)) @ times / weights.sum() * m * k * n

    def wins_from(self, kernel: str, dense: str, m: int, k: int, n: int) -> float | None:
        """The minimum sparsity, in steps of 0.01, at which `kernel` beats `dense` by `MARGIN`; None where it never does."""
        percents = np.arange(99, -1, -1)
        limit, sparse = self.seconds(dense, m, k, n), self._seconds(kernel, m, k, n, 1 - percents / 100)
        if limit is None or sparse is None:
            return None
        loses = np.flatnonzero(sparse >= MARGIN * limit)
        wins = int(loses[0]) if loses.size else len(percents)  # how many of the sparsest
        return float(percents[wins - 1]) / 100 if wins else None

    def save(self, path: str | os.PathLike, **about: str) -> None:
        """Write the table as JSON, with the entries of `about`, which say where it comes from."""
        rows = {
            kernel: [
                [*shape, round(float(d), 6), round(float(s) * 1e6, 3)]
                for shape, pairs in shapes.items()
                for d, s in zip(*pairs)
            ]
            for kernel, shapes in self.times.items()
        }
        head = {"pycompress.costs": FORMAT, "isas": self.isas, "host": self.host, **about}
        lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
        line = partial(json.dumps, separators=(",", ":"))  # tables are a tenth of a wheel
        lists = ",\n".join(f"{line(k)}:[\n" + ",\n".join(map(line, v)) + "]" for k, v in rows.items())
        atomic.write(path, f'{{\n{lines},\n "rows": {{\n{lists}\n}}}}\n'.encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Costs:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is not such a table.
        """
        try:
            table = json.loads(Path(path).read_text("utf-8"))
            if table["pycompress.costs"] != FORMAT:
                raise ValueError(f"format {table['pycompress.costs']!r}, this version reads {FORMAT}")
            return cls(
                _isas(table["isas"]), str(table["host"]), {f: _curves(rows) for f, rows in table["rows"].items()}
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)}: not a cost table: {type(error).__name__}: {error}") from None


def curves(rows) -> dict[Shape, tuple[np.ndarray, np.ndarray]]:
    """Group measurements (m, k, n, density, seconds) by shape, with densities ascending."""
    by_shape: dict[Shape, list[tuple[float, float]]] = {}
    for m, k, n, density, seconds in rows:
        by_shape.setdefault((m, k, n), []).append((density, seconds))
    return {shape: tuple(np.array(column) for column in zip(*sorted(pairs))) for shape, pairs in by_shape.items()}


def _isas(table) -> dict[str, str]:
    """The instruction sets of a file, checked."""
    if sorted(table) != sorted(LISTED) or not all(word in (*ISAS, "scalar") for word in table.values()):
        raise ValueError(f"isas {table}")
    return dict(table)


def _curves(rows):
    """As ``curves``, for the rows of a file: checks them; their times are in microseconds."""
    for m, k, n, density, us in rows:
        if not all(isinstance(x, int) and 0 < x < 2**31 for x in (m, k, n)) or not 0 <= density <= 1 or not us > 0:
            raise ValueError(f"row {[m, k, n, density, us]}")
    return curves((m, k, n, density, us / 1e6) for m, k, n, density, us in rows)


def costs_of(given: Costs | str | os.PathLike | None, cpu: str | None = None) -> Costs | None:
    """The table `given` (or read from that file); by default the one shipped for the kernels that run on `cpu`."""
    if given is None:
        isas = selected_isas(cpu)
        table = shipped(tuple(isas.items()))
        return _by_halves(table) if table and isas["sgemm"] == "avx512" and two_passes() else table
    return given if isinstance(given, Costs) else Costs.load(given)


def selected_isas(cpu: str | None = None) -> dict[str, str]:
    """The instruction set of each kernel of a table on this CPU, limited to `cpu`."""
    rows = {name: lib.pcx_select(lib.pcx_kernel_named(name.encode()), cpu_mask(cpu), ffi.NULL) for name in LISTED}
    return {name: ffi.string(row.isa).decode() for name, row in rows.items()}


@cache
def shipped(isas: tuple[tuple[str, str], ...]) -> Costs | None:
    """The table that comes with the package for these instruction sets of the kernels, or one made of the nearest."""
    return _nearest([Costs.load(path) for path in sorted(Path(__file__).parent.glob("costs_*.json"))], dict(isas))


def _nearest(tables: list[Costs], wanted: dict[str, str]) -> Costs | None:
    """The table of these instruction sets, or one made of that which has most of them.

    There dense kernels count as so much faster as the execution ports allow (`RATES`), and sparse kernels as no faster:
    a sparse kernel is chosen only where it wins all the same.
    """
    known = [table for table in tables if all(_faster(table, wanted, name) for name in RATES)]
    exact = [table for table in tables if table.isas == wanted]
    if exact or not known:
        return exact[0] if exact else None
    return _for_isas(max(known, key=lambda table: len(table.isas.items() & wanted.items())), wanted)


def _faster(table: Costs, wanted: dict[str, str], name: str) -> float | None:
    """How many times as fast a dense kernel can be on the wanted instruction set; None if that is not known."""
    before, after = (RATES[name].get(isa) for isa in (table.isas[name], wanted[name]))
    return after / before if before and after and after >= before else None


def _for_isas(table: Costs, wanted: dict[str, str]) -> Costs:
    factors = {name: _faster(table, wanted, name) for name in RATES}
    return _scaled(table, factors, f"dense kernels as fast as {Costs(wanted, '', {}).isa} allows")


@cache
def _by_halves(table: Costs) -> Costs:
    """The same for a CPU that computes vectors of 512 bits by halves."""
    return _scaled(table, dict.fromkeys(RATES, 1 / HALVES), f"dense kernels {HALVES} times as slow")


def _scaled(table: Costs, factors: dict[str, float], how: str) -> Costs:
    """The table with these kernels so many times as fast."""
    times = {}
    for name, shapes in table.times.items():
        factor = factors.get(name.partition(".")[0], 1.0)
        times[name] = {shape: (densities, seconds / factor) for shape, (densities, seconds) in shapes.items()}
    return Costs(table.isas, f"{table.host}, {how}", times)
