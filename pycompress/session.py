"""Run a plan or a model, with onnxruntime's interface (most of it is in ``interface``)."""

from __future__ import annotations

import copy
import os
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._pcx import ffi
from .cpu import get_num_threads
from .errors import InvalidArgument, NoSuchFile
from .interface.feed import as_feed, check_names, type_name
from .interface.metadata import NodeArg
from .interface.methods import SessionMethods, check_run_options
from .interface.options import RunOptions, SessionOptions
from .interface.profiling import Profiler
from .interface.providers import check_providers
from .plan import Plan
from .runner import Port, ProfileRow, Program, StepRow
from .sources import FixedSource, PlanningSource

if TYPE_CHECKING:
    import onnx

__all__ = ["InferenceSession", "NodeArg", "SessionOptions"]
EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


class InferenceSession(SessionMethods):
    """Runs a plan, or a model, which is planned for each new set of input shapes.

    A drop-in for ``onnxruntime.InferenceSession``; ``pycompress.ort`` stands in for its module. Sessions can be used from
    several threads, as context managers, and pickled: by path, or with the bytes or the plan that they were made from.

    Float arithmetic treats subnormal numbers (smaller than 2^-126) as zero, in inputs and results: many CPUs need a hundred
    times as long for them. The caller's own float mode is restored when a run returns.

    Parameters
    ----------
    path_or_bytes : path, bytes, onnx.ModelProto or Plan
        A saved plan (*.plan.safetensors), an ONNX model, or a plan in memory.
    sess_options : SessionOptions, optional
    providers : sequence of str or (str, dict), optional
        Only ``"CPUExecutionProvider"`` exists; others are skipped with a UserWarning.
    provider_options : sequence of dict, optional
        One per provider; none has an effect.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of the model, if that is a path.
    disabled_optimizers, enable_fallback
        Accepted as by onnxruntime, without effect.

    Raises
    ------
    FileNotFoundError, ModelError, PlanError
        If there is no such file, or it is not a model or plan that can be run.
    TypeError, ValueError
        If an argument has the wrong type or value.

    Examples
    --------
    >>> import numpy as np
    >>> import onnx
    >>> import pycompress
    >>> onnx.save(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4), "model.onnx")
    >>> session = pycompress.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    >>> session.get_inputs()[0].name, session.get_inputs()[0].shape
    ('input', [1, 3, 32, 32])
    >>> (logits,) = session.run(None, {"input": np.zeros((1, 3, 32, 32), np.float32)})
    >>> logits.shape
    (1, 4)
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike | bytes | bytearray | memoryview | onnx.ModelProto | Plan,
        sess_options: SessionOptions | None = None,
        providers: Sequence[str | tuple[str, Mapping[str, object]]] | str | None = None,
        provider_options: Sequence[Mapping[str, object]] | None = None,
        *,
        base_dir: str | os.PathLike | None = None,
        disabled_optimizers: Iterable[str] | None = None,
        enable_fallback: bool | int = True,
    ):
        """Read the model or plan; see the class."""
        if sess_options is not None and not isinstance(sess_options, SessionOptions):
            raise TypeError(f"sess_options must be a SessionOptions, got {type(sess_options).__name__}")
        check_providers(providers, provider_options)
        self._options = options = SessionOptions() if sess_options is None else copy.deepcopy(sess_options)
        if options.optimized_model_filepath:
            raise ValueError(
                "optimized_model_filepath: there is no optimized .onnx to write; save a plan with pycompress.compile"
            )
        is_path = isinstance(path_or_bytes, (str, os.PathLike))
        self._made_from = os.path.abspath(path_or_bytes) if is_path else path_or_bytes  # to be pickled
        base_dir = base_dir if base_dir is not None else options._entries.get(EXTERNAL_FOLDER)
        self._base_dir = None if base_dir is None else os.path.abspath(base_dir)
        self._threads = options.intra_op_num_threads or get_num_threads()
        plan = path_or_bytes if isinstance(path_or_bytes, Plan) else _as_plan(path_or_bytes)
        if plan is None:
            budget, sizes, products = options.plan_cache_bytes, options._dimensions, options.float_products
            self._source = PlanningSource(path_or_bytes, self._threads, base_dir, budget, sizes, products)
        else:
            _check_compiled_for(plan, options.float_products)
            self._source = FixedSource(plan, self._threads)
        self._profiler = Profiler(options.profile_file_prefix) if options.enable_profiling else None
        if self._profiler is not None:
            weakref.finalize(self, self._profiler.end)

    def __reduce__(self):
        model = self._made_from
        model = bytes(model) if isinstance(model, memoryview) else model
        return _unpickled, (model, self._options, self._base_dir)

    def get_inputs(self) -> list[NodeArg]:
        """Name, shape and type of each input."""
        return self._source.inputs()

    def get_outputs(self) -> list[NodeArg]:
        """Name, shape and type of each output."""
        return self._source.outputs()

    @property
    def labels(self) -> list[str] | None:
        """Names of the classes, or None if the plan or the model has none."""
        return self._source.labels()

    def run(
        self,
        output_names: Sequence[str] | str | None,
        input_feed: Mapping[str, object],
        run_options: RunOptions | None = None,
        *,
        out: Sequence[np.ndarray] | None = None,
    ) -> list[np.ndarray]:
        """Compute outputs.

        Parameters
        ----------
        output_names : sequence of str or None
            The outputs to return, in this order; None or an empty sequence for all.
        input_feed : dict
            An array for each input, of the declared type; it is copied only if it is not contiguous. An OrtValue, a list or
            a number is converted if the type can hold its values.
        run_options : RunOptions, optional
            Setting its ``terminate`` on another thread ends the run.
        out : sequence of arrays, optional
            Arrays to write the outputs to: contiguous, of the right type and shape, overlapping no other array.

        Returns
        -------
        list of numpy.ndarray
            An output whose size is only known at run time (of NonMaxSuppression, NonZero, Compress) is the used part of an
            array, also of one in `out`, that has room for the most.

        Raises
        ------
        ValueError
            If a name, type or shape does not fit (``pycompress.ort.InvalidArgument``).
        pycompress.ort.Fail
            If `run_options` sets ``terminate``.
        KeyboardInterrupt
            On the main thread: Ctrl-C, and what other signals' handlers raise, ends the run within a fraction of a second.

        Examples
        --------
        >>> import numpy as np
        >>> import pycompress
        >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
        >>> x, y = np.zeros((1, 3, 32, 32), np.float32), np.empty((1, 4), np.float32)
        >>> (same,) = session.run(["logits"], {"input": x}, out=[y])
        >>> same is y
        True
        """
        check_run_options(run_options)
        program, arrays = self._match(input_feed)
        return self._run(program, arrays, output_names, out, options=run_options)

    def _match(self, input_feed: Mapping[str, object]) -> tuple[Program, list[np.ndarray]]:
        return self._source.match(as_feed(input_feed))

    def _check_feed(self, input_feed) -> None:
        check_names(as_feed(input_feed), [port.name for port in self.get_inputs()])

    def _run(self, program: Program, arrays, output_names, out, seconds=ffi.NULL, options=None) -> list[np.ndarray]:
        if output_names is None and out is None and (self._profiler is None or seconds != ffi.NULL):
            return program.run(arrays, [np.empty(p.shape, p.dtype) for p in program.outputs], seconds, options)
        names = [p.name for p in program.outputs]
        wanted = [output_names] if isinstance(output_names, str) else list(output_names or names)
        if unknown := [n for n in wanted if n not in names]:
            raise InvalidArgument(f"there is no output {unknown[0]!r}; there are {names}")
        given = {} if out is None else dict(zip(wanted, out := list(out)))
        if out is not None and not len(out) == len(wanted) == len(given):
            raise InvalidArgument(f"out must hold an array for each of {wanted}, all different, got {len(out)}")
        outputs = [
            _checked_out(given[p.name], p, arrays) if p.name in given else np.empty(p.shape, p.dtype)
            for p in program.outputs
        ]
        for i, x in enumerate(outputs if given else ()):
            if any(np.may_share_memory(x, y) for y in outputs[:i]):
                raise InvalidArgument(f"out: {names[i]!r} overlaps another output")
        if self._profiler is not None and seconds == ffi.NULL:
            times, began = np.zeros((program.steps, 2)), time.perf_counter()
            outputs = program.run(arrays, outputs, ffi.from_buffer("double[]", times, require_writable=True), options)
            self._profiler.add(program, began, time.perf_counter(), times)
        else:
            outputs = program.run(arrays, outputs, seconds, options)
        by_name = dict(zip(names, outputs))
        return [by_name[n] for n in wanted]

    def profile(self, input_feed: Mapping[str, object], runs: int = 20) -> list[ProfileRow]:
        """The time of each step.

        Parameters
        ----------
        input_feed : dict
            As for ``run``.
        runs : int
            At least 1.

        Returns
        -------
        list of dict
            The rows of ``explain`` with ``seconds``, the median over the runs, and ``start`` and ``end`` in the fastest run.

        Raises
        ------
        ValueError
            If `runs` is less than 1, or as ``run``.

        Examples
        --------
        >>> import numpy as np
        >>> import pycompress
        >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
        >>> rows = session.profile({"input": np.zeros((1, 3, 32, 32), np.float32)}, runs=3)
        >>> slowest = max(rows, key=lambda row: row["seconds"])
        >>> sorted(slowest)
        ['dtype', 'end', 'isa', 'kernel', 'macs', 'node', 'op', 'reason', 'seconds', 'shapes', 'start']
        """
        if runs < 1:
            raise ValueError(f"runs must be at least 1, got {runs}")
        program, arrays = self._match(input_feed)
        times = np.empty((runs, program.steps, 2))
        for row in times:
            self._run(program, arrays, None, None, ffi.from_buffer("double[]", row, require_writable=True))
        spans = times[..., 1] - times[..., 0]
        middle = np.median(spans, axis=0)
        fastest = times[int(spans.sum(axis=1).argmin())]
        return [
            {**row, "seconds": float(seconds), "start": float(start), "end": float(end)}
            for row, seconds, (start, end) in zip(program.explain(), middle, fastest)
        ]

    def explain(self, input_feed: Mapping[str, object] | None = None) -> list[StepRow]:
        """The steps that run, and why on these kernels.

        Parameters
        ----------
        input_feed : dict, optional
            As for ``run``: the steps for these shapes; default: those of the last run.

        Returns
        -------
        list of dict
            For each step ``node``, ``op``, ``shapes`` (of input and output), ``kernel``, ``isa``, ``dtype``, ``reason``,
            and ``macs``, its multiply-accumulates. A plan that was saved without notes knows no nodes, operators, reasons.

        Raises
        ------
        ModelError
            If nothing was run yet, and the model leaves a shape open.
        ValueError
            As ``run``.

        Examples
        --------
        >>> import pycompress
        >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
        >>> session.explain()[-1]["kernel"]
        'sgemm'
        """
        if input_feed is not None:
            return self._match(input_feed)[0].explain()
        return self._source.current().explain()


def _checked_out(x, port: Port, inputs) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.dtype != port.dtype or x.shape != port.shape:
        got = f"{type_name(x.dtype)}{list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise InvalidArgument(f"out: {port.name!r} must be {port.dtype.name}{list(port.shape)}, got {got}")
    if not x.flags.c_contiguous or not x.flags.writeable or not x.flags.aligned:
        raise InvalidArgument(f"out: {port.name!r} must be contiguous, aligned and writable")
    if any(np.may_share_memory(x, y) for y in inputs):
        raise InvalidArgument(f"out: {port.name!r} overlaps an input")
    return x


def _unpickled(model, options, base_dir):
    return InferenceSession(model, options, base_dir=base_dir)


def _as_plan(model) -> Plan | None:
    """`model` as a plan, or None if it is an ONNX model."""
    if isinstance(model, (str, os.PathLike)):
        if not os.path.isfile(model):
            raise NoSuchFile(f"no such model: {os.fspath(model)}")
        with open(model, "rb") as file:
            return Plan.load(model) if _is_plan(file.read(9)) else None
    if isinstance(model, (bytes, bytearray, memoryview)):
        return Plan.from_bytes(bytes(model)) if _is_plan(bytes(model[:9])) else None
    return None


def _is_plan(start: bytes) -> bool:
    """Whether these first bytes are those of a safetensors file: a length below 2^32, then a JSON object."""
    return len(start) == 9 and start[4:8] == b"\0\0\0\0" and start[8:9] == b"{"


def _check_compiled_for(plan: Plan, float_products: str) -> None:
    """Raise where a plan was compiled without the float products that a session asks for."""
    if float_products != "float32" and plan.provenance.get("float_products") != float_products:
        raise ValueError(
            f"float_products: this plan was compiled without {float_products}; "
            f"compile the model with float_products={float_products!r}"
        )
