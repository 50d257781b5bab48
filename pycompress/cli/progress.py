"""Progress on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

EVERY = 10.0  # seconds between two lines where stderr is a file or a pipe


class Clock:
    """The time of the last line; all parts of a command share one clock."""

    def __init__(self):
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for a line; if so, the next is due `EVERY` seconds later."""
        now = time.monotonic()
        if now - self.last < EVERY:
            return False
        self.last = now
        return True


class Progress:
    """A part of the work. Call it after each step, without arguments or with the numbers of steps done and of all."""

    def __init__(self, label: str, total: int | None, show):
        self.label, self.total, self.done = label, total, 0
        self._show = show
        self.noun = ""

    def __call__(self, done: int | None = None, total: int | None = None, noun: str = "") -> None:
        self.done = self.done + 1 if done is None else done
        self.total, self.noun = total or self.total, noun
        self._show(self)

    def __str__(self) -> str:
        if not self.done:
            return self.label
        return f"{self.label}: {self.noun} {self.done}{f' of {self.total}' if self.total else ''}".replace("  ", " ")


@contextmanager
def shown(label: str, total: int | None, clock: Clock) -> Iterator[Progress]:
    """A `Progress` that is shown as stderr allows."""
    if not sys.stderr.isatty():
        yield Progress(label, total, lambda part: clock.due() and print(part, file=sys.stderr, flush=True))
    elif rich := module_of_rich("progress"):
        bars = [rich.TextColumn("{task.description}", markup=False), rich.BarColumn(), rich.TimeElapsedColumn()]
        console = module_of_rich("console").Console(stderr=True)
        # without a drawing thread, which would disturb measurements
        with rich.Progress(*bars, console=console, transient=True, auto_refresh=False) as bar:
            task = bar.add_task(label, total=total)
            bar.refresh()
            yield Progress(
                label,
                total,
                lambda part: bar.update(
                    task, description=str(part), completed=part.done, total=part.total, refresh=True
                ),
            )
    else:
        part = Progress(label, total, lambda part: print(f"\r\033[K{part}", end="", file=sys.stderr, flush=True))
        print(f"\r{part}", end="", file=sys.stderr, flush=True)
        try:
            yield part
        finally:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def module_of_rich(name: str):
    """A module of rich, or None where it is not installed."""
    try:
        return import_module(f"rich.{name}")
    except ModuleNotFoundError:
        return None
