"""The backend of torch.compile: graphs become ONNX, and run on an InferenceSession.

Parameters are constants of the compiled graph; when one changes, it is compiled again (but not when it is changed through its
attribute ``data``, which torch does not count). What cannot be run by the engine with the
same results is run by PyTorch, and a ``FallbackWarning`` says which graph and why; ``options={"strict": True}`` raises instead.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..errors import PycompressError
from ..session import InferenceSession, SessionOptions

KEPT = 8  # sets of shapes and parameters; more are run by PyTorch
TOLERANCE = 1e-3  # of the first run's results against PyTorch's, as a share of their largest
OPTIONS = {"strict", "num_threads"}
_FEW = {torch.float32, torch.int64, torch.int32, torch.uint8, torch.int8, torch.bool}


class FallbackWarning(UserWarning):
    """A graph that the engine does not run: the message says why."""


class _Unfit(Exception):
    """Why a graph must be left to PyTorch."""


def compile_backend(
    gm: fx.GraphModule, example_inputs: Sequence[Any], *, options: dict[str, Any] | None = None
) -> Callable:
    """The backend function: ``torch.compile(model, backend="pycompress")``.

    Parameters
    ----------
    gm : torch.fx.GraphModule
    example_inputs : sequence of tensors
        Not used: a graph is compiled when it is first called, for the shapes that it is called with.
    options : dict, optional
        ``"strict"``: raise where a graph cannot be run by the engine. ``"num_threads"``: as of SessionOptions.

    Returns
    -------
    function
        Of the graph's inputs.

    Raises
    ------
    ValueError
        If an option is none of these.

    Examples
    --------
    >>> import torch
    >>> import pycompress.torch
    >>> network = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()).eval()
    >>> with torch.no_grad():  # needs the package onnxscript
    ...     torch.compile(network, backend=pycompress.torch.compile_backend)(torch.ones(2, 8)).shape
    torch.Size([2, 4])
    """
    if unknown := set(options or {}) - OPTIONS:
        raise ValueError(f"pycompress: unknown option {min(unknown)!r}; there are {', '.join(sorted(OPTIONS))}")
    return _Graph(gm, **(options or {}))


class _Graph:
    """A graph with the sessions for the shapes and parameters that it was called with."""

    def __init__(self, gm: fx.GraphModule, strict: bool = False, num_threads: int | None = None):
        self.gm, self.strict, self.threads = gm, strict, num_threads
        self.known: dict[tuple, Any] = {}  # a session, or None: PyTorch
        self.held: list[Tensor] = []  # the parameters that keys speak of, so that no other gets their addresses

    def __call__(self, *inputs):
        key = (torch.is_grad_enabled(), *map(_key, inputs))
        if key not in self.known:
            self.held += [x for x in inputs if _constant(x)]
            try:
                self.known[key] = self._compiled(inputs)
            except _Unfit as error:
                message = f"pycompress: a graph of {_nodes(self.gm)} runs in PyTorch: {error}"
                if self.strict:
                    raise RuntimeError(message) from error
                warnings.warn(message, FallbackWarning, stacklevel=2)
                self.known[key] = None
        compiled = self.known[key]
        return self.gm(*inputs) if compiled is None else _run(compiled, inputs)

    def _compiled(self, inputs):
        if sum(v is not None for v in self.known.values()) >= KEPT:
            raise _Unfit(f"it was called with more than {KEPT} sets of shapes or parameters")
        if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
            raise _Unfit("gradients are needed (torch.no_grad() or torch.inference_mode() says that they are not)")
        given = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and not _constant(x)]
        for i in given:
            if inputs[i].device.type != "cpu" or inputs[i].dtype not in _FEW:
                raise _Unfit(f"an input is {inputs[i].dtype} on {inputs[i].device}")
        want, copies = self._reference(inputs)
        module = _Frozen(self.gm, inputs, given)
        session = self._session(module, tuple(copies[i] for i in given), len(want))
        compiled = session, [port.name for port in session.get_inputs()], given
        try:
            got = _run(compiled, copies)  # plans, which is where the engine refuses operators
        except PycompressError as error:
            raise _Unfit(str(error)) from error
        for a, b in zip(got, want):
            if a.dtype != b.dtype or a.shape != b.shape or not _close(a, b):
                raise _Unfit("its results differ from PyTorch's")
        return compiled

    def _reference(self, inputs):
        """(PyTorch's results, copies of the inputs); a graph that changes inputs, or gives them away, is not taken."""
        copies = [x.clone() if isinstance(x, Tensor) and not _constant(x) else x for x in inputs]
        tensors = [x for x in copies if isinstance(x, Tensor)]
        before = [x._version for x in tensors]
        state = torch.get_rng_state()
        want = self.gm(*copies)
        if not isinstance(want, (tuple, list)) or not all(isinstance(x, Tensor) for x in want):
            raise _Unfit("its outputs are not all tensors")
        if not torch.equal(state, torch.get_rng_state()):
            raise _Unfit("it draws random numbers")
        if [x._version for x in tensors] != before:
            raise _Unfit("it changes its inputs or the module's buffers")
        held = {x.untyped_storage().data_ptr() for x in tensors if x.numel()}
        made = [x.untyped_storage().data_ptr() for x in want if x.numel()]
        if held.intersection(made) or len(set(made)) < len(made):
            raise _Unfit("an output shares memory with an input or another output")
        return want, copies

    def _session(self, module, arguments, outputs: int) -> InferenceSession:
        options = SessionOptions()
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        try:
            import onnxscript  # noqa: F401
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "torch.compile needs onnxscript: pip install 'pycompress-engine[torch]'"
            ) from None
        try:
            logging.disable(logging.WARNING)
            with redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(module, arguments, dynamo=True, verbose=False, optimize=True)
            session = InferenceSession(program.model_proto, options)
        except PycompressError as error:
            raise _Unfit(str(error)) from error
        except Exception as error:  # torch raises kinds of its own
            raise _Unfit(
                f"it cannot be exported: {str(error).strip().splitlines()[0] or type(error).__name__}"
            ) from error
        finally:
            logging.disable(logging.NOTSET)
        if len(session.get_inputs()) != len(arguments) or len(session.get_outputs()) != outputs:
            raise _Unfit("the exported graph has other inputs or outputs")
        return session


class _Frozen(torch.nn.Module):
    """A graph as a module of the tensors that calls give; parameters and numbers are its own."""

    def __init__(self, gm: fx.GraphModule, inputs, given: list[int]):
        super().__init__()
        self.gm, self.given, self.held = gm, given, [None if i in given else x for i, x in enumerate(inputs)]
        for i, x in enumerate(self.held):
            if isinstance(x, Tensor):
                self.held[i] = None
                self.register_buffer(f"held{i}", x.detach().clone())

    def forward(self, *tensors):
        values = [getattr(self, f"held{i}", x) for i, x in enumerate(self.held)]
        for i, x in zip(self.given, tensors):
            values[i] = x
        return self.gm(*values)


def _constant(x) -> bool:
    """Whether an input of a graph is a parameter or a buffer of the module."""
    return isinstance(x, (torch.nn.Parameter, torch.nn.Buffer)) or hasattr(x, "_dynamo_static_input_type")


def _key(x):
    """What a compiled graph depends on: shape and type of an input, identity and version of a parameter, a number's value."""
    if not isinstance(x, Tensor):
        return type(x), x
    if _constant(x):
        return id(x), x.data_ptr(), x._version
    return tuple(x.shape), x.dtype, x.device.type, x.requires_grad


def _run(compiled, inputs):
    session, names, given = compiled
    feed = {name: inputs[i].detach().numpy() for name, i in zip(names, given)}
    return tuple(map(torch.from_numpy, session.run(None, feed)))


def _close(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    a, b = a.detach().double().numpy(), b.detach().double().numpy()
    with np.errstate(invalid="ignore"):
        bound = TOLERANCE * max(1e-6, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
        return bool(((np.abs(a - b) <= bound) | (a == b) | (np.isnan(a) & np.isnan(b))).all())


def _nodes(gm: fx.GraphModule) -> str:
    called = [node for node in gm.graph.nodes if node.op.startswith("call_")]
    first = f", {called[0].name} to {called[-1].name}" if called else ""
    return f"{len(called)} calls{first}"
