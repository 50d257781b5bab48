"""What commands print: tables and lines on stdout, progress on stderr, or JSON alone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ..errors import clean
from .progress import Clock, Progress, module_of_rich, shown


class Output:
    """The output of a command.

    Attributes
    ----------
    failed : bool
        Set by a command whose check failed; the exit code is then 1.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False):
        self.json, self.quiet = json, quiet
        self.failed = False
        self._clock = Clock()
        self._warned: set[str] = set()
        self._events = False

    def line(self, text: str = "") -> None:
        """Print a line, unless the result is printed as JSON."""
        if not self.json:
            print(clean(text))

    def event(self, event: dict) -> None:
        """Print an event as a line of JSON, if JSON is requested; the result is then a line, too."""
        if self.json:
            self._events = True
            print(json.dumps(_strict(event), default=str, allow_nan=False), flush=True)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, each text once."""
        if text not in self._warned:
            self._warned.add(text)
            print(f"warning: {clean(text)}", file=sys.stderr)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
        """Print a table with numbers aligned to the right, unless the result is printed as JSON."""
        if self.json:
            return
        rows = [[_text(x) for x in row] for row in rows]
        rich = sys.stdout.isatty() and module_of_rich("table")
        if rich:
            _rich_table(rich, columns, rows, title)
        else:
            _plain_table(columns, rows, title)

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Progress]:
        """Show the progress of a part of the work on stderr; yields a function to call after each of `total` steps."""
        if self.quiet:
            yield Progress(label, total, lambda part: None)
        else:
            with shown(clean(label), total, self._clock) as part:
                yield part

    def finish(self, result) -> None:
        """Print the result as JSON, if that is requested."""
        if self.json:
            json.dump(_strict(result), sys.stdout, indent=None if self._events else 2, default=str, allow_nan=False)
            print()


def _strict(x):
    """`x` with None for NaN and infinities, which JSON cannot express."""
    if isinstance(x, dict):
        return {key: _strict(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_strict(value) for value in x]
    if isinstance(x, (np.generic, np.ndarray)):
        return _strict(x.tolist())
    return None if isinstance(x, float) and not math.isfinite(x) else x


def _text(x) -> str:
    if x is None:
        return "-"
    return f"{x:.4g}" if isinstance(x, float) else clean(str(x))


def _number(text: str) -> bool:
    return text == "-" or text[:1].isdigit() or text[:1] == "-" and text[1:2].isdigit()


def _right(columns, rows) -> list[bool]:
    return [bool(rows) and all(_number(row[i]) for row in rows) for i in range(len(columns))]


def _plain_table(columns, rows, title) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *rows)]
    right = _right(columns, rows)
    if title:
        print(title)
    for row in [list(columns), ["-" * w for w in widths], *rows]:
        cells = [x.rjust(w) if r else x.ljust(w) for x, w, r in zip(row, widths, right)]
        print("  ".join(cells).rstrip())


def _rich_table(rich, columns, rows, title) -> None:
    from rich.console import Console
    from rich.markup import escape

    table = rich.Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, right in zip(columns, _right(columns, rows)):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def size(count: float | None) -> str:
    """A readable number of bytes: 1.9 MB (10^6 bytes each)."""
    if count is None:
        return "-"
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count:.0f} B"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}" if seconds < 1 else f"{seconds * 1e3:.0f}"
