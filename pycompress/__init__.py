"""pycompress: compressed neural networks, small and fast on ordinary CPUs."""

from __future__ import annotations

import sys
from importlib import import_module

from .cpu import cpu_info, get_num_threads, set_num_threads
from .errors import ModelError, PlanError, PycompressError
from .plan import Plan
from .session import InferenceSession, SessionOptions

__version__ = "0.1.0"
__all__ = [
    "CalibrationWarning",
    "InferenceSession",
    "ModelError",
    "Plan",
    "PlanError",
    "Predictor",
    "Preprocess",
    "PycompressError",
    "SessionOptions",
    "Tuned",
    "Verdict",
    "VerdictWarning",
    "advise",
    "cast",
    "compile",
    "compress",
    "cpu_info",
    "factorize",
    "get_include",
    "get_library_dir",
    "get_num_threads",
    "prune",
    "quantize",
    "recertify",
    "register_operator",
    "sensitivity",
    "set_num_threads",
    "spmm",
    "tune",
    "verdict",
]

# What needs onnx is imported when it is asked for, and so are the kernels.
_LAZY = {
    "advise": ".advice",
    "cast": ".compress.cast",
    "compile": ".compiler",
    "compress": ".compress",
    "Predictor": ".predictor",
    "Preprocess": ".lower",
    "factorize": ".compress.factorize",
    "prune": ".compress.prune",
    "quantize": ".compress.quantize",
    "recertify": ".compress.recertify",
    "register_operator": ".operators",
    "sensitivity": ".compress.sensitivity",
    "spmm": ".sparse",
    "tune": ".compress.tune",
    "verdict": ".compress.verdict",
    "Tuned": ".compress.tune",
    "Verdict": ".compress.verdict",
    "VerdictWarning": ".compress.verdict",
    "CalibrationWarning": ".compress.verdict",
}
_MODULES = ("kernels", "layers", "native", "numba", "onnx_backend", "ort", "torch", "train", "zoo")


def get_include() -> str:
    """The folder of the C headers: ``#include <pycompress.h>``.

    ``python -m pycompress --cflags --libs`` prints what a C compiler needs, this folder included.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If the headers are missing, as in a checkout that was not built.

    Examples
    --------
    >>> import os
    >>> import pycompress
    >>> sorted(os.listdir(pycompress.get_include()))
    ['pycompress.h', 'pycompress_kernels.h']
    """
    return _built("include", "pycompress.h")


def get_library_dir() -> str:
    """The folder of the static library ``libpycompress.a``, to be linked with ``-lpycompress -lm -pthread``.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If the library is missing, as in a checkout that was not built.

    Examples
    --------
    >>> import os
    >>> import pycompress
    >>> "libpycompress.a" in os.listdir(pycompress.get_library_dir())
    True
    """
    return _built("lib", "libpycompress.a")


def _built(folder: str, file: str) -> str:
    import os

    found = os.path.join(os.path.dirname(os.path.abspath(__file__)), folder)
    if not os.path.isfile(os.path.join(found, file)):
        raise FileNotFoundError(
            f"{os.path.join(found, file)} is missing: build it with python setup.py build_ext --inplace"
        )
    return found


if "threadpoolctl" in sys.modules:
    from .integrations.threads import register

    register()
    del register


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES} - {"annotations", "import_module", "sys"})


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module 'pycompress' has no attribute {name!r}")
    try:
        module = import_module(_LAZY[name], __name__)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "onnx":
            raise ModuleNotFoundError(f"pycompress.{name} needs onnx: pip install 'pycompress-engine[onnx]'") from None
        raise
    value = globals()[name] = module if name == "compress" else getattr(module, name)  # that package can be called
    return value
