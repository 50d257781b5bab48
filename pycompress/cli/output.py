"""What commands print: tables and lines on stdout, progress on stderr, or JSON alone."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import contextmanager

import numpy as np


class Output:
    """Where a command reports to.

    Attributes
    ----------
    failed : bool
        Set by a command whose check did not pass; the exit code is then 1.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False):
        self.json, self.quiet = json, quiet
        self.failed = False

    def line(self, text: str = "") -> None:
        """Print a line, unless the result is asked for as JSON."""
        if not self.json:
            print(clean(text))

    def warn(self, text: str) -> None:
        """Say on stderr what is probably a mistake."""
        print(f"warning: {clean(text)}", file=sys.stderr)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
        """Print a table; numbers are aligned to the right."""
        if self.json:
            return
        rows = [[_text(x) for x in row] for row in rows]
        rich = sys.stdout.isatty() and _rich("table")
        if rich:
            _rich_table(rich, columns, rows, title)
        else:
            _plain_table(columns, rows, title)

    @contextmanager
    def progress(self, label: str, total: int | None = None):
        """A bar on stderr where that is a terminal; yields a function to call after each of `total` parts."""
        if self.quiet:
            yield lambda: None
        elif not sys.stderr.isatty():
            yield _lines_of_progress(label, total)
        elif rich := _rich("progress"):
            bars = [rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TimeElapsedColumn()]
            console = _rich("console").Console(stderr=True)
            # drawn by no thread of its own: it would take part in what is being measured
            with rich.Progress(*bars, console=console, transient=True, auto_refresh=False) as bar:
                task = bar.add_task(label, total=total)
                bar.refresh()
                yield lambda: bar.update(task, advance=1, refresh=True)
        else:
            yield from _plain_progress(label, total)

    def finish(self, result) -> None:
        """Print the result, where JSON is asked for."""
        if self.json:
            json.dump(result, sys.stdout, indent=2, default=_plain, allow_nan=True)
            print()


def _plain(x):
    """`x` as something JSON knows."""
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, np.ndarray):
        return x.tolist()
    return str(x)


def _text(x) -> str:
    if x is None:
        return "-"
    return f"{x:.4g}" if isinstance(x, float) else clean(str(x))


def clean(text: str) -> str:
    """`text` without what steers a terminal: names from files must not be able to.

    Control characters, and those that reverse the direction of writing, are written as escapes; lines stay lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" or _harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _harmless(c: str) -> bool:
    return unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


EVERY = 10.0  # seconds between two lines of progress where stderr is a file or a pipe


def _lines_of_progress(label: str, total: int | None):
    """A function to call after each part, which prints a line now and then."""
    done, last = 0, time.monotonic()

    def advance():
        nonlocal done, last
        done += 1
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            print(f"{clean(label)}: {done}{f' of {total}' if total else ''}", file=sys.stderr, flush=True)

    return advance


def _rich(part: str):
    """A module of rich, or None where it is not installed."""
    try:
        from importlib import import_module

        return import_module(f"rich.{part}")
    except ModuleNotFoundError:
        return None


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


def _plain_progress(label: str, total: int | None):
    done = 0

    def advance():
        nonlocal done
        done += 1
        print(f"\r{label} {done}{f'/{total}' if total else ''}", end="", file=sys.stderr, flush=True)

    print(f"\r{label}", end="", file=sys.stderr, flush=True)
    try:
        yield advance
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def size(count: float | None) -> str:
    """Bytes for people: 1.9 MB (of 10^6)."""
    if count is None:
        return "-"
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count:.0f} B"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}" if seconds < 1 else f"{seconds * 1e3:.0f}"
