"""The reference of each kernel: one readable module per kernel, compiled by Numba at the first call.

``pycompress.kernels.sgemm(...)`` is the reference of the C kernel
``pycompress.native.sgemm(...)``: same name, same arguments, same contract.  The module
``kernels/sgemm.py`` also contains ``example()``, which makes random arguments of given sizes, and
``pack()`` if the kernel reads packed weights.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._spec import Reference, Spec

NAMES = tuple(sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py")))


_PAGES = {name: import_module(f"{__name__}.{name}") for name in NAMES}
for _name, _page in _PAGES.items():  # importing bound the names to the modules
    globals()[_name] = getattr(_page, _name)


def __getattr__(name: str) -> Reference:  # for type checkers: the names are bound above
    raise AttributeError(f"there is no kernel {name!r}; there are {', '.join(NAMES)}")


def module(name: str) -> ModuleType:
    """The module of kernel `name`: its reference, ``example`` and, if there is one, ``pack``."""
    return _PAGES[name]


CUSTOM: dict[str, Spec] = {}  # contracts of operators that callers registered, by "domain::Name"


def spec(name: str) -> Spec:
    """The contract of kernel `name`, or of a caller's operator, with its traits."""
    return CUSTOM[name] if name in CUSTOM else getattr(_PAGES[name], name).spec


def having(condition) -> tuple[str, ...]:
    """The names of the kernels whose contracts satisfy `condition`."""
    return tuple(name for name in NAMES if condition(spec(name)))
