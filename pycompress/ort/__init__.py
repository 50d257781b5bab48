"""onnxruntime's Python interface over pycompress: ``import pycompress.ort as ort``.

``InferenceSession`` is pycompress's one session class. Code that imports onnxruntime itself runs here unchanged after

>>> import sys, pycompress.ort
>>> sys.modules["onnxruntime"] = pycompress.ort

(before that code is imported), ``onnxruntime.capi`` included.

What differs from onnxruntime: there is only the CPU; operators that pycompress does not run raise ``InvalidGraph``
(``pycompress.ModelError``), which is one class with ``InvalidProtobuf`` and ``NotImplemented``; errors are also the
ValueError, FileNotFoundError or RuntimeError that their meaning asks for; a list whose values do not fit the input's
type is refused and not cut; numbers and tuples are inputs, too; a run that has begun is not stopped by ``terminate``;
options that have no effect are named in ``SessionOptions``. Sparse tensors, sequences, strings, custom operators, LoRA
adapters, ModelCompiler, quantization and training are not here: what is missing raises AttributeError by its name.
"""

from __future__ import annotations

import operator

from ..errors import Fail, InvalidArgument, ModelError, NoSuchFile
from ..interface.binding import IOBinding
from ..interface.metadata import ModelMetadata, NodeArg
from ..interface.options import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, RunOptions, SessionOptions
from ..interface.providers import get_all_providers, get_available_providers, get_device
from ..interface.values import OrtDevice, OrtValue
from ..session import InferenceSession

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "Fail",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelMetadata",
    "NoSuchFile",
    "NodeArg",
    "NotImplemented",
    "OrtDevice",
    "OrtValue",
    "RunOptions",
    "RuntimeException",
    "SessionIOBinding",
    "SessionOptions",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_version_string",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
]

__version__ = "1.20.0"  # of onnxruntime's interface: callers compare it. The engine's own is pycompress.__version__

InvalidGraph = InvalidProtobuf = NotImplemented = ModelError  # onnxruntime's names
RuntimeException = Fail
SessionIOBinding = IOBinding


def get_version_string() -> str:
    """The version of onnxruntime whose interface this is, as ``__version__``.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.get_version_string() == ort.__version__
    True
    """
    return __version__


def get_build_info() -> str:
    """The engine and its version: ``"pycompress 0.1.0"``.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> "pycompress" in ort.get_build_info()
    True
    """
    from importlib import import_module

    return f"pycompress {import_module('pycompress').__version__}"


def set_default_logger_severity(severity: int) -> None:
    """Accepted, without effect: nothing is logged.

    Parameters
    ----------
    severity : int
        From 0 (verbose) to 4 (fatal).

    Raises
    ------
    TypeError, ValueError
        If it is not such an integer.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.set_default_logger_severity(3)
    """
    if not 0 <= operator.index(severity) <= 4:
        raise ValueError(f"severity must be from 0 (verbose) to 4 (fatal), got {severity!r}")


def set_default_logger_verbosity(verbosity: int) -> None:
    """Accepted, without effect: nothing is logged.

    Parameters
    ----------
    verbosity : int

    Raises
    ------
    TypeError
        If it is not an integer.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.set_default_logger_verbosity(1)
    """
    operator.index(verbosity)


def set_seed(seed: int) -> None:
    """Accepted, without effect: no operator here draws random numbers when it runs.

    Parameters
    ----------
    seed : int

    Raises
    ------
    TypeError
        If it is not an integer.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.set_seed(0)
    """
    operator.index(seed)


def enable_telemetry_events() -> None:
    """Without effect: there is no telemetry.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.enable_telemetry_events()
    """


def disable_telemetry_events() -> None:
    """Without effect: there is no telemetry.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.disable_telemetry_events()
    """
