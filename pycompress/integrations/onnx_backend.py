"""ONNX's backend interface (``onnx.backend.base``): ``onnx.backend.test.BackendTest(pycompress.onnx_backend, ...)`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, defs, helper, numpy_helper
from onnx.backend import base

from ..errors import InvalidArgument, ModelError
from ..formats.onnx_model import self_contained
from ..interface.options import SessionOptions
from ..lower.support import unsupported
from ..session import InferenceSession

Inputs = Any  # an array or TensorProto, several in order, or a dict by name


class BackendRep(base.BackendRep):
    """A model that is ready to run, as ``prepare`` returns it.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress, pycompress.onnx_backend
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> prepared = pycompress.onnx_backend.prepare(model)
    >>> prepared.run([np.zeros((1, 3, 32, 32), np.float32)])[0].shape
    (1, 4)
    """

    def __init__(self, session: InferenceSession):
        self._session = session

    def run(self, inputs: Inputs, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """The outputs for `inputs`: an array, arrays in the order of the model's inputs, or a dict by name.

        Raises
        ------
        ValueError
            If a number, type or shape of inputs does not fit.
        TypeError
            If there are other keyword arguments: none is known.
        """
        _no_more(kwargs)
        names = [port.name for port in self._session.get_inputs()]
        if isinstance(inputs, Mapping):
            feed = {name: _array(x) for name, x in inputs.items()}
        else:
            given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
            if len(given) != len(names):
                raise InvalidArgument(f"{len(given)} inputs were given; the inputs are {names}")
            feed = {name: _array(x) for name, x in zip(names, given)}
        return tuple(self._session.run(None, feed))


class Backend(base.Backend):
    """The functions of this module as ``onnx.backend.base.Backend`` has them, for code that wants a class.

    Examples
    --------
    >>> import pycompress.onnx_backend
    >>> pycompress.onnx_backend.Backend.supports_device("CPU")
    True
    """

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether all nodes of `model` can be run here, as far as its declared shapes tell."""
        try:
            return cls.supports_device(device) and not unsupported(self_contained(model))
        except ModelError:
            return False

    @classmethod
    def is_opset_supported(cls, model: onnx.ModelProto) -> tuple[bool, str]:
        """(whether the installed onnx knows the model's opset, why not)."""
        for entry in model.opset_import:
            if entry.domain in ("", "ai.onnx") and entry.version > defs.onnx_opset_version():
                return False, f"opset {entry.version} is newer than {defs.onnx_opset_version()}, onnx's newest"
        return True, ""

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, device: str = "CPU", *, threads: int | None = None, **kwargs: Any
    ) -> BackendRep:
        """Read `model` and make a session; see ``prepare`` of the module."""
        kwargs = {k: v for k, v in kwargs.items() if k not in ("rtol", "atol")}  # onnx's tests pass them
        _no_more(kwargs)
        if not cls.supports_device(device):
            raise ValueError(f"device {device!r} is not supported; only CPU is")
        options = SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        return BackendRep(InferenceSession(model, options))

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Inputs, device: str = "CPU", **kwargs: Any
    ) -> tuple[np.ndarray, ...]:
        """``prepare``, then ``run``."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls, node: NodeProto, inputs: Inputs, device: str = "CPU", outputs_info: Sequence | None = None, **kwargs: Any
    ) -> tuple[np.ndarray, ...]:
        """Run one operator; see ``run_node`` of the module."""
        version = kwargs.pop("opset_version", defs.onnx_opset_version())
        names = [name for name in node.input if name]
        if isinstance(inputs, Mapping):
            feed = {name: _array(x) for name, x in inputs.items()}
        else:
            feed = dict(zip(names, map(_array, inputs if isinstance(inputs, (list, tuple)) else [inputs])))
        if missing := [name for name in names if name not in feed]:
            raise InvalidArgument(f"node {node.name or node.op_type!r}: input {missing[0]!r} is missing")
        types = [helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for kind, _ in outputs_info or ()]
        types += [TensorProto.UNDEFINED] * (len(node.output) - len(types))
        ports = [(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in feed.items()]
        outputs = [
            helper.make_tensor_value_info(name, kind, None) if kind else onnx.ValueInfoProto(name=name)
            for name, kind in zip(node.output, types)
            if name
        ]
        graph = helper.make_graph([node], "node", [helper.make_tensor_value_info(*port) for port in ports], outputs)
        imports = [helper.make_opsetid("", version)]
        if node.domain not in ("", "ai.onnx"):
            imports.append(helper.make_opsetid(node.domain, 1))
        return cls.run_model(helper.make_model(graph, opset_imports=imports), feed, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `device` ("CPU", "CPU:0") is one that this engine runs on."""
        return device.partition(":")[0].upper() == "CPU"


def _array(x) -> np.ndarray:
    return numpy_helper.to_array(x) if isinstance(x, TensorProto) else np.asarray(x)


def _no_more(kwargs: dict) -> None:
    if kwargs:
        raise TypeError(f"unexpected argument {min(kwargs)!r}")


def prepare(model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> BackendRep:
    """Read `model` and make it ready to run.

    Parameters
    ----------
    model : onnx.ModelProto
    device : str
        "CPU".
    **kwargs
        ``threads``: how many a run uses.

    Returns
    -------
    BackendRep
        Its ``run`` takes arrays and returns a tuple of arrays.

    Raises
    ------
    ModelError
        If the model is invalid, or uses what this library does not run.
    ValueError
        If the device is another one.

    Examples
    --------
    >>> import pycompress, pycompress.onnx_backend
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> type(pycompress.onnx_backend.prepare(model, threads=1)).__name__
    'BackendRep'
    """
    return Backend.prepare(model, device, **kwargs)


def run_model(model: onnx.ModelProto, inputs: Inputs, device: str = "CPU", **kwargs: Any) -> tuple[np.ndarray, ...]:
    """Run `model` once: ``prepare``, then ``run``.

    Parameters
    ----------
    model, device, **kwargs
        As for ``prepare``.
    inputs : array, sequence or dict
        An array for each input of the model, in their order, or by name.

    Returns
    -------
    tuple of numpy.ndarray

    Raises
    ------
    ValueError
        As ``prepare``, or if an input does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress, pycompress.onnx_backend
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> (y,) = pycompress.onnx_backend.run_model(model, np.zeros((1, 3, 32, 32), np.float32))
    >>> y.shape
    (1, 4)
    """
    return Backend.run_model(model, inputs, device, **kwargs)


def run_node(
    node: NodeProto, inputs: Inputs, device: str = "CPU", outputs_info: Sequence | None = None, **kwargs: Any
) -> tuple[np.ndarray, ...]:
    """Run one operator.

    Parameters
    ----------
    node : onnx.NodeProto
    inputs : array, sequence or dict
        An array for each input that the node names, in their order, or by name.
    device : str
        "CPU".
    outputs_info : sequence of (dtype, shape), optional
        The outputs' types, where they do not follow from the inputs'.
    **kwargs
        ``opset_version``: by default the newest that onnx knows; and as for ``prepare``.

    Returns
    -------
    tuple of numpy.ndarray

    Raises
    ------
    ValueError
        As ``run_model``.

    Examples
    --------
    >>> import numpy as np
    >>> from onnx import helper
    >>> import pycompress.onnx_backend
    >>> node = helper.make_node("Add", ["a", "b"], ["c"])
    >>> pycompress.onnx_backend.run_node(node, [np.float32([1, 2]), np.float32([3])])[0].tolist()
    [4.0, 5.0]
    """
    return Backend.run_node(node, inputs, device, outputs_info, **kwargs)


def supports_device(device: str) -> bool:
    """Whether `device` is one that this engine runs on: "CPU", with or without a number.

    Parameters
    ----------
    device : str

    Returns
    -------
    bool

    Raises
    ------
    AttributeError
        If it is not a string.

    Examples
    --------
    >>> import pycompress.onnx_backend
    >>> [pycompress.onnx_backend.supports_device(device) for device in ("CPU", "CUDA:1")]
    [True, False]
    """
    return Backend.supports_device(device)


is_compatible = Backend.is_compatible
is_opset_supported = Backend.is_opset_supported
