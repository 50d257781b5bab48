"""Assigns each buffer an offset in the arena: greedy by size, over lifetimes in steps (Pisarchyk and Lee 2020)."""

from __future__ import annotations

from ..lower.values import Program

ALIGN = 64


def place(program: Program) -> tuple[dict[int, int], int]:
    """({id of a buffer's array: byte offset}, arena size in bytes) for the buffers in the arena."""
    life: dict[int, list[int]] = {}
    for i, step in enumerate(program.steps):
        for key in (*step.read, *step.written):
            buffer = program.buffers.get(key)
            if buffer is not None and buffer.place[0] == "arena":
                life.setdefault(key, [i, i])[1] = i
    placed: list[tuple[int, int, list[int]]] = []  # (offset, end, lifetime), by offset
    offsets, size = {}, 0
    for key in sorted(life, key=lambda k: (-program.buffers[k].bytes, life[k][0])):
        start, need = 0, -(-max(program.buffers[key].bytes, 1) // ALIGN) * ALIGN
        for low, high, (first, last) in placed:
            if last < life[key][0] or first > life[key][1]:
                continue
            if low - start >= need:
                break
            start = max(start, high)
        offsets[key] = start
        placed.append((start, start + need, life[key]))
        placed.sort()
        size = max(size, start + need)
    return offsets, size
