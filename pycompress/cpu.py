"""Instruction sets and cores of this machine."""

from __future__ import annotations

import os

from ._pcx import lib

_AVX512VNNI = (
    lib.PCX_AVX2 | lib.PCX_AVXVNNI | lib.PCX_AVX512 | lib.PCX_AVX512VNNI | lib.PCX_AVX512VBMI | lib.PCX_AVX512BF16
)
LEVELS = {
    "scalar": 0,
    "avx2": lib.PCX_AVX2,
    "avxvnni": lib.PCX_AVX2 | lib.PCX_AVXVNNI,
    "avx512": lib.PCX_AVX2 | lib.PCX_AVX512,
    "avx512vnni": _AVX512VNNI,
    "amx": _AVX512VNNI | lib.PCX_AMXINT8 | lib.PCX_AMXBF16,
    "neon": lib.PCX_NEON,
    "dotprod": lib.PCX_NEON | lib.PCX_DOTPROD,
    "i8mm": lib.PCX_NEON | lib.PCX_DOTPROD | lib.PCX_I8MM,
}
BITS = {
    "avx2": lib.PCX_AVX2, "avxvnni": lib.PCX_AVXVNNI, "avx512": lib.PCX_AVX512, "avx512vnni": lib.PCX_AVX512VNNI,
    "avx512vbmi": lib.PCX_AVX512VBMI, "avx512bf16": lib.PCX_AVX512BF16, "amxint8": lib.PCX_AMXINT8,
    "amxbf16": lib.PCX_AMXBF16,
    "neon": lib.PCX_NEON, "dotprod": lib.PCX_DOTPROD, "i8mm": lib.PCX_I8MM,
}  # fmt: skip

_threads: list[int] = []


def cpu_mask(level: str | None = None) -> int:
    """The PCX_* bits to use: this CPU's, lowered to `level` and to ``PYCOMPRESS_CPU``.

    Raises
    ------
    ValueError
        If a word is unknown.
    """
    mask = lib.pcx_cpu()
    for word in (level, os.environ.get("PYCOMPRESS_CPU")):
        if word:
            if word not in LEVELS:
                raise ValueError(f"unknown CPU level {word!r}; there are {', '.join(LEVELS)}")
            mask &= LEVELS[word]
    return mask


def cpu_info() -> dict[str, object]:
    """The CPU's name, the instruction sets found and used, cores and threads.

    Returns
    -------
    dict
        ``model`` (str), ``isas`` (what the CPU has), ``used`` (after ``PYCOMPRESS_CPU``),
        ``cores`` (allowed by affinity and cgroup quota), ``threads`` (the default for sessions).
    """

    def words(mask):
        return [name for name, bit in BITS.items() if mask & bit] or ["scalar"]

    return {
        "model": _model_name(),
        "isas": words(lib.pcx_cpu()),
        "used": words(cpu_mask()),
        "cores": lib.pcx_cores(),
        "threads": get_num_threads(),
    }


def _model_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


def set_num_threads(n: int) -> None:
    """Set the number of threads of sessions made from now on.

    Raises
    ------
    ValueError
        If `n` is not an integer of at least 1.
    """
    _threads[:] = [_checked(n, "the number of threads")]


def get_num_threads() -> int:
    """The number of threads of new sessions: as set, or ``PYCOMPRESS_NUM_THREADS``, or the cores."""
    if _threads:
        return _threads[0]
    word = os.environ.get("PYCOMPRESS_NUM_THREADS")
    if word:
        try:
            return _checked(int(word), "PYCOMPRESS_NUM_THREADS")
        except ValueError:
            raise ValueError(f"PYCOMPRESS_NUM_THREADS must be a positive integer, got {word!r}") from None
    return lib.pcx_cores()


def _checked(n: int, what: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1024:
        raise ValueError(f"{what} must be an integer from 1 to 1024, got {n!r}")
    return n
