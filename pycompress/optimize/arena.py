"""Assigns each buffer an offset in the arena: greedy by size, over lifetimes in steps (Pisarchyk and Lee 2020)."""

from __future__ import annotations

from ..lower.values import Program

ALIGN = 64
STRETCH = 32  # steps


def place(program: Program) -> tuple[dict[int, int], int]:
    """({id of a buffer's array: byte offset}, arena size in bytes) for the buffers in the arena."""
    life: dict[int, list[int]] = {}
    for i, step in enumerate(program.steps):
        for key in (*step.read, *step.written):
            buffer = program.buffers.get(key)
            if buffer is not None and buffer.place[0] == "arena":
                life.setdefault(key, [i, i])[1] = i
    placed: dict[int, list[tuple[int, int, int, int]]] = {}  # by stretch of steps: (offset, end, first step, last step)
    offsets, size = {}, 0
    for key in sorted(life, key=lambda k: (-program.buffers[k].bytes, life[k][0])):
        start, need = 0, -(-max(program.buffers[key].bytes, 1) // ALIGN) * ALIGN
        first, last = life[key]
        stretches = range(first // STRETCH, last // STRETCH + 1)
        near = {at for i in stretches for at in placed.get(i, ()) if at[3] >= first and at[2] <= last}
        for low, high, *_ in sorted(near):
            if low - start >= need:
                break
            start = max(start, high)
        offsets[key] = start
        for i in stretches:
            placed.setdefault(i, []).append((start, start + need, first, last))
        size = max(size, start + need)
    return offsets, size
