"""The exceptions of this package."""


def clean(text: str) -> str:
    """`text` without control sequences for the terminal, which names in files could contain.

    Control characters and those that change the writing direction become escapes; line breaks and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    from unicodedata import category  # rarely needed

    return "".join(
        c if c in "\n\t" or category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else c.encode("unicode_escape").decode()
        for c in text
    )


class PycompressError(Exception):
    """The base class of the errors of this library. Their texts are printable: see ``clean``.

    Examples
    --------
    >>> import pycompress
    >>> try:
    ...     pycompress.InferenceSession("missing.onnx")
    ... except pycompress.PycompressError as error:
    ...     print(error)
    no such model: missing.onnx
    """

    def __str__(self) -> str:
        return clean(super().__str__())


class ModelError(PycompressError, ValueError):
    """An .onnx model is invalid, or uses what this library does not run; the message names node and attribute.

    Examples
    --------
    >>> import pycompress
    >>> pycompress.compile(b"not a model")
    Traceback (most recent call last):
    pycompress.errors.ModelError: not an ONNX model: ...
    """


class PlanError(PycompressError, ValueError):
    """A plan file is damaged, hostile, or of a version that this library does not read.

    Examples
    --------
    >>> import pycompress
    >>> pycompress.Plan.from_bytes(b"not a plan")
    Traceback (most recent call last):
    pycompress.errors.PlanError: plan: ...
    """


class TrainingError(PycompressError, RuntimeError):
    """Training cannot go on: the loss is not finite, or a checkpoint belongs to another run.

    What was saved before is kept, and the message says where.

    Examples
    --------
    >>> from pycompress.errors import TrainingError
    >>> raise TrainingError("the loss is nan at step 7 (epoch 1)")
    Traceback (most recent call last):
    pycompress.errors.TrainingError: the loss is nan at step 7 (epoch 1)
    """


class InvalidArgument(PycompressError, ValueError):
    """An input or output does not fit: its name, type, shape or values.

    Examples
    --------
    >>> import pycompress
    >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32))
    >>> session.run(None, {"x": 0})
    Traceback (most recent call last):
    pycompress.errors.InvalidArgument: input 'input' is missing; the inputs are ['input']
    """


class NoSuchFile(PycompressError, FileNotFoundError):
    """There is no model or plan at this path.

    Examples
    --------
    >>> import pycompress
    >>> pycompress.Plan.load("missing.plan.safetensors")
    Traceback (most recent call last):
    pycompress.errors.NoSuchFile: no such plan: missing.plan.safetensors
    """


class Fail(PycompressError, RuntimeError):
    """A run did not take place, or failed.

    Examples
    --------
    >>> import pycompress
    >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32))
    >>> session.run_with_iobinding(session.io_binding())
    Traceback (most recent call last):
    pycompress.errors.Fail: no output is bound; call bind_output
    """
