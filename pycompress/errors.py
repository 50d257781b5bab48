"""The exceptions of this package."""


class PycompressError(Exception):
    """The base of the errors below."""


class ModelError(PycompressError, ValueError):
    """An .onnx model that is invalid or uses what this library does not run; names node and attribute."""


class PlanError(PycompressError, ValueError):
    """A plan file that is damaged, hostile, or of a version this library does not read."""


class InvalidArgument(PycompressError, ValueError):
    """An input or output that does not fit: its name, type, shape or values."""


class NoSuchFile(PycompressError, FileNotFoundError):
    """There is no model or plan at this path."""


class Fail(PycompressError, RuntimeError):
    """A run that did not take place, or that failed."""
