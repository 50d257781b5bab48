"""What a process that trains asks of the machine."""

from __future__ import annotations

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST = 2**31 - 1  # that mallopt takes


def dedicate(threads: int | None = None) -> None:
    """Prepare this process for training: torch uses `threads` threads, and freed memory stays with the process.

    A step frees and asks for the same few hundred megabytes again. Where malloc gives them back in between, the kernel
    clears every page anew: a third of the time of a step of a small network (glibc; elsewhere nothing is changed).

    Parameters
    ----------
    threads : int, optional
        None leaves torch its own number.

    Examples
    --------
    >>> import pycompress.train
    >>> pycompress.train.dedicate()
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        for parameter, value in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, LARGEST)):
            ctypes.CDLL(None).mallopt(parameter, value)
    if threads is not None:
        torch.set_num_threads(threads)
