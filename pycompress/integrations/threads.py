"""threadpoolctl's view of this library: ``threadpool_limits(1)`` limits its threads, ``threadpool_info()`` lists it.

The limit holds for sessions that are made, and for layers and ``spmm`` that are called, while it is set: it is what
``pycompress.set_num_threads`` sets. Registered by ``import pycompress`` where threadpoolctl was imported before, else by ``register``.
"""

from __future__ import annotations

from functools import cache

from threadpoolctl import LibController
from threadpoolctl import register as _register

from .. import cpu

__all__ = ["PycompressController", "register"]


class PycompressController(LibController):
    """A library of threadpoolctl, with the user_api "pycompress"."""

    user_api = internal_api = "pycompress"
    filename_prefixes = ("_pcx",)

    def get_num_threads(self) -> int:
        """The number of threads of new sessions and of calls."""
        return cpu.get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        """Set it."""
        cpu.set_num_threads(num_threads)

    def get_version(self) -> str:
        """The version of the C library."""
        from .._pcx import ffi, lib

        return ffi.string(lib.pcx_version()).decode()

    def set_additional_attributes(self) -> None:
        """Nothing more to tell."""


@cache
def register() -> None:
    """Make the library known to threadpoolctl; further calls have no effect."""
    _register(PycompressController)
