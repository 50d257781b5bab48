"""What the forms of a layer cost: a table measured once for an instruction set, or on the user's machine.

A *form* is the kernel that a product runs on: "sgemm", "spmm" ...; "qgemm.4" is qgemm with windows of four steps.
`pycompress advise MODEL --save FILE` measures a table of the shapes of MODEL.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .._pcx import ffi, lib
from ..cpu import cpu_mask
from ..formats import atomic

FORMAT = 1
MARGIN = 0.9  # of the dense form's time, that a sparse one must stay below: what a table says of a step in a network is as uncertain
Shape = tuple[int, int, int]  # m, k, n: rows, inputs, outputs


@dataclass(frozen=True, eq=False)
class Costs:
    """Seconds of one call on one thread.

    Attributes
    ----------
    isa, host : str
        The instruction set that ran, and the CPU.
    times : {form: {(m, k, n): (densities, seconds)}}
        Densities, the share of blocks that are not zero, ascend; a dense form has but 1.
    """

    isa: str
    host: str
    times: dict[str, dict[Shape, tuple[np.ndarray, np.ndarray]]]

    def seconds(self, form: str, m: int, k: int, n: int, density: float = 1.0) -> float | None:
        """What `form` takes for m rows, k inputs and n outputs; None if the table does not know the form.

        Exact for shapes and densities that were measured. Between densities linear; for other shapes the time of
        a multiply-accumulate is the mean of those of measured shapes, weighted by how near they are.
        """
        found = self._seconds(form, m, k, n, np.array([density]))
        return None if found is None else float(found[0])

    def _seconds(self, form: str, m: int, k: int, n: int, densities: np.ndarray) -> np.ndarray | None:
        """As ``seconds``, for several densities."""
        known = self.times.get(form)
        if not known:
            return None
        shapes = np.array(list(known), float)
        weights = 1 / (np.square(np.log2([m, k, n]) - np.log2(shapes)).sum(1) + 1e-6) ** 2
        times = np.stack([np.interp(densities, *curve) for curve in known.values()])
        return (weights / shapes.prod(1)) @ times / weights.sum() * m * k * n

    def wins_from(self, form: str, dense: str, m: int, k: int, n: int) -> float | None:
        """The least sparsity, in steps of 0.01, from which on `form` beats `dense` by `MARGIN`; None where it never does."""
        percents = np.arange(99, -1, -1)
        limit, sparse = self.seconds(dense, m, k, n), self._seconds(form, m, k, n, 1 - percents / 100)
        if limit is None or sparse is None:
            return None
        loses = np.flatnonzero(sparse >= MARGIN * limit)
        wins = int(loses[0]) if loses.size else len(percents)  # how many of the sparsest
        return float(percents[wins - 1]) / 100 if wins else None

    def save(self, path: str | os.PathLike, **about: str) -> None:
        """Write the table as JSON; `about` says where it comes from."""
        rows = {
            form: [
                [*shape, round(float(d), 6), round(float(s) * 1e6, 3)]
                for shape, pairs in shapes.items()
                for d, s in zip(*pairs)
            ]
            for form, shapes in self.times.items()
        }
        head = {"pycompress.costs": FORMAT, "isa": self.isa, "host": self.host, **about}
        lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
        forms = ",\n".join(
            f"  {json.dumps(k)}: [\n" + ",\n".join(f"   {json.dumps(row)}" for row in v) + "]" for k, v in rows.items()
        )
        atomic.write(path, f'{{\n{lines},\n "rows": {{\n{forms}\n}}}}\n'.encode())

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
            return cls(str(table["isa"]), str(table["host"]), {f: _curves(rows) for f, rows in table["rows"].items()})
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)}: not a cost table: {type(error).__name__}: {error}") from None


def curves(rows) -> dict[Shape, tuple[np.ndarray, np.ndarray]]:
    """Measurements (m, k, n, density, seconds) by shape, densities ascending."""
    by_shape: dict[Shape, list[tuple[float, float]]] = {}
    for m, k, n, density, seconds in rows:
        by_shape.setdefault((m, k, n), []).append((density, seconds))
    return {shape: tuple(np.array(column) for column in zip(*sorted(pairs))) for shape, pairs in by_shape.items()}


def _curves(rows):
    """Rows of a file, in microseconds, checked."""
    for m, k, n, density, us in rows:
        if not all(isinstance(x, int) and 0 < x < 2**31 for x in (m, k, n)) or not 0 <= density <= 1 or not us > 0:
            raise ValueError(f"row {[m, k, n, density, us]}")
    return curves((m, k, n, density, us / 1e6) for m, k, n, density, us in rows)


def costs_of(given: Costs | str | os.PathLike | None, cpu: str | None = None) -> Costs | None:
    """`given`, a table or its file; without one the table shipped for what `cpu`, or this CPU, runs sparse forms on."""
    if given is None:
        return shipped(isa(cpu))
    return given if isinstance(given, Costs) else Costs.load(given)


def isa(cpu: str | None = None) -> str:
    """The instruction set that sparse products use, at most `cpu`."""
    return ffi.string(lib.pcx_select(lib.pcx_kernel_named(b"spmm"), cpu_mask(cpu), ffi.NULL).isa).decode()


@cache
def shipped(isa: str) -> Costs | None:
    """The table that comes with the package for an instruction set."""
    path = Path(__file__).with_name(f"costs_{isa}.json")
    return Costs.load(path) if path.exists() else None
