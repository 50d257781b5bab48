"""Run a plan or a model: the part of onnxruntime's interface that most callers use."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ._pcx import ffi, lib
from .cpu import get_num_threads
from .dtypes import BY_CODE, BY_NUMPY, NUMPY, numpy_type
from .plan import Plan

PLAN_CACHE_BYTES = 512 * 2**20


class SessionOptions:
    """Options of a session.

    Attributes
    ----------
    intra_op_num_threads : int
        Threads of one run; 0 takes ``pycompress.get_num_threads()``.
    plan_cache_bytes : int
        Of a session on a model: how much memory its plans for different input shapes may take (activations and steps;
        weights are shared). Beyond, those that ran longest ago are forgotten, and planned again when they are needed.
    """

    def __init__(self, intra_op_num_threads: int = 0, plan_cache_bytes: int = PLAN_CACHE_BYTES):
        self.intra_op_num_threads = intra_op_num_threads
        self.plan_cache_bytes = plan_cache_bytes

    def __repr__(self):
        return f"SessionOptions(intra_op_num_threads={self.intra_op_num_threads!r})"


class NodeArg(NamedTuple):
    """An input or output: `name`, `shape` (None or a word where it varies) and `type` ("tensor(float)")."""

    name: str
    shape: list
    type: str


def _type(dtype: np.dtype) -> str:
    """ONNX's word for a tensor's type, as in onnxruntime."""
    return f"tensor({BY_NUMPY[dtype.name].onnx})"


class _Port(NamedTuple):
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


class _Program:
    """One program of an open plan, ready to run."""

    def __init__(self, session, plan: Plan, index: int):
        self.session, self.plan, self.index = session, plan, index
        handle = plan.handle
        self.inputs = [_port(lib.pcx_plan_input(handle, index, i)) for i in range(lib.pcx_plan_inputs(handle, index))]
        self.outputs = [
            _port(lib.pcx_plan_output(handle, index, i)) for i in range(lib.pcx_plan_outputs(handle, index))
        ]
        self.steps = lib.pcx_plan_steps(handle, index)

    def run(self, arrays: list[np.ndarray], outputs: list[np.ndarray], seconds=ffi.NULL) -> None:
        pointers = [ffi.new("void *[]", [_pointer(x) for x in group] or [ffi.NULL]) for group in (arrays, outputs)]
        code = lib.pcx_session_run(self.session, self.index, *pointers, seconds)
        if code == lib.PCX_NO_MEMORY:
            raise MemoryError("no memory for the activations")
        if code:
            raise RuntimeError(f"the run failed with code {code}")

    def explain(self) -> list[dict]:
        handle, rows = self.plan.handle, []
        notes = self.plan.notes[self.index] if self.index < len(self.plan.notes) else []
        for i in range(self.steps):
            note = notes[i] if i < len(notes) else {}
            rows.append({
                "node": note.get("node", ""),
                "op": note.get("op", ""),
                "shapes": (tuple(note.get("in", ())), tuple(note.get("out", ()))),
                "kernel": ffi.string(lib.pcx_plan_step_kernel(handle, self.index, i)).decode(),
                "isa": ffi.string(lib.pcx_plan_step_isa(handle, self.index, i)).decode(),
                "dtype": note.get("dtype", ""),
                "reason": note.get("reason", ""),
                "macs": note.get("macs", 0),
            })  # fmt: skip
        return rows


class _Runner:
    """A plan with its threads."""

    def __init__(self, plan: Plan, threads: int):
        session = lib.pcx_session_new(plan.handle, threads)
        if session == ffi.NULL:
            raise MemoryError("no memory for a session")
        self.plan = plan
        self.session = ffi.gc(session, lib.pcx_session_free)
        self.programs = [_Program(self.session, plan, i) for i in range(lib.pcx_plan_programs(plan.handle))]

    @property
    def nbytes(self) -> int:
        """About the memory that this plan alone takes: activations, and what describes its steps."""
        arenas = sum(lib.pcx_plan_arena(self.plan.handle, i) for i in range(len(self.programs)))
        return arenas + 4 * sum(map(len, self.plan.metadata.values()))


def _port(port) -> _Port:
    shape = tuple(port.shape[i] for i in range(port.rank))
    return _Port(ffi.string(port.name).decode(), numpy_type(BY_CODE[port.dtype].numpy), shape)


def _pointer(x: np.ndarray):
    return ffi.cast("void *", x.__array_interface__["data"][0])


class InferenceSession:
    """Runs a plan, or a model that is planned for each set of input shapes as it comes.

    Float arithmetic flushes subnormal numbers (nearer to 0 than 2^-126) to zero, in what it reads and what it computes:
    on many CPUs they take a hundred times as long. The caller's own float mode is as before when a run returns.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Plan
        A saved plan (*.plan.safetensors), an ONNX model, or a plan in memory.
    sess_options : SessionOptions, optional
    base_dir : path, optional
        Where external data of a model may be read from.

    Raises
    ------
    FileNotFoundError, ModelError, PlanError
        If there is no such file, or it is not a model or plan that can be run.
    """

    def __init__(self, model, sess_options: SessionOptions | None = None, *, base_dir: str | os.PathLike | None = None):
        options = sess_options or SessionOptions()
        threads, budget = options.intra_op_num_threads, options.plan_cache_bytes
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
            raise ValueError(f"plan_cache_bytes must be an integer of at least 0, got {budget!r}")
        if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= 1024:
            raise ValueError(f"intra_op_num_threads must be an integer from 0 to 1024, got {threads!r}")
        self._threads = threads or get_num_threads()
        plan = model if isinstance(model, Plan) else _as_plan(model)
        self._source = (
            _Fixed(plan, self._threads) if plan is not None else _Planner(model, self._threads, base_dir, budget)
        )

    def get_inputs(self) -> list[NodeArg]:
        """Name, shape and type of each input."""
        return self._source.inputs()

    def get_outputs(self) -> list[NodeArg]:
        """Name, shape and type of each output."""
        return self._source.outputs()

    @property
    def labels(self) -> list[str] | None:
        """Names of the classes, where the plan or the model has them."""
        return self._source.labels()

    def run(
        self, output_names, input_feed: Mapping[str, np.ndarray], run_options=None, *, out=None
    ) -> list[np.ndarray]:
        """Compute outputs.

        Parameters
        ----------
        output_names : sequence of str or None
            Which outputs, in this order; None for all.
        input_feed : dict
            An array per input, of the declared type; copied only where it is not contiguous.
        run_options : None
            Accepted for likeness with onnxruntime.
        out : sequence of arrays, optional
            Where to write the outputs: contiguous, of the right type and shape, overlapping nothing.

        Returns
        -------
        list of numpy.ndarray

        Raises
        ------
        ValueError
            If a name, type or shape does not fit.
        """
        program, arrays = self._source.match(_feed(input_feed))
        return self._run(program, arrays, output_names, out)

    def _run(self, program: _Program, arrays, output_names, out, seconds=ffi.NULL) -> list[np.ndarray]:
        names = [p.name for p in program.outputs]
        wanted = (
            names if output_names is None else [output_names] if isinstance(output_names, str) else list(output_names)
        )
        if unknown := [n for n in wanted if n not in names]:
            raise ValueError(f"there is no output {unknown[0]!r}; there are {names}")
        given = {} if out is None else dict(zip(wanted, out := list(out)))
        if out is not None and not len(out) == len(wanted) == len(given):
            raise ValueError(f"out must hold an array for each of {wanted}, all different, got {len(out)}")
        outputs = [
            _checked_out(given[p.name], p, arrays) if p.name in given else np.empty(p.shape, p.dtype)
            for p in program.outputs
        ]
        for i, x in enumerate(outputs):
            if any(np.may_share_memory(x, y) for y in outputs[:i]):
                raise ValueError(f"out: {names[i]!r} overlaps another output")
        program.run(arrays, outputs, seconds)
        by_name = dict(zip(names, outputs))
        return [by_name[n] for n in wanted]

    def profile(self, input_feed: Mapping[str, np.ndarray], runs: int = 20) -> list[dict]:
        """The rows of ``explain`` with ``seconds``, the median time of each step over `runs` runs."""
        if runs < 1:
            raise ValueError(f"runs must be at least 1, got {runs}")
        program, arrays = self._source.match(_feed(input_feed))
        times = np.empty((runs, program.steps, 2))
        for row in times:
            self._run(program, arrays, None, None, ffi.from_buffer("double[]", row, require_writable=True))
        rows = program.explain()
        spans = times[..., 1] - times[..., 0]
        middle = np.median(spans, axis=0)
        best = int(spans.sum(axis=1).argmin())
        for i, row in enumerate(rows):
            row["seconds"] = float(middle[i])
            row["start"], row["end"] = (float(t) for t in times[best, i])
        return rows

    def explain(self, input_feed: Mapping[str, np.ndarray] | None = None) -> list[dict]:
        """What runs: a row per step with node, op, shapes, kernel, isa, dtype, reason (and macs).

        For a session on a model, of the shapes run last, or of `input_feed`.
        """
        if input_feed is not None:
            return self._source.match(_feed(input_feed))[0].explain()
        return self._source.current().explain()


def _feed(feed) -> dict[str, object]:
    if not isinstance(feed, Mapping):
        raise TypeError(f"input_feed must be a dict of arrays by input name, got {type(feed).__name__}")
    return dict(feed)


def _word(dtype: np.dtype) -> str:
    """A type for messages, its byte order said where it is not the machine's."""
    return dtype.name if dtype.isnative else f"byte-swapped {dtype.name}"


def _checked_out(x, port: _Port, inputs) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.dtype != port.dtype or x.shape != port.shape:
        got = f"{_word(x.dtype)}{list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"out: {port.name!r} must be {port.dtype.name}{list(port.shape)}, got {got}")
    if not x.flags.c_contiguous or not x.flags.writeable or not x.flags.aligned:
        raise ValueError(f"out: {port.name!r} must be contiguous, aligned and writable")
    if any(np.may_share_memory(x, y) for y in inputs):
        raise ValueError(f"out: {port.name!r} overlaps an input")
    return x


def _as_plan(model) -> Plan | None:
    """The plan that `model` is, or None where it is an ONNX model."""
    if isinstance(model, (str, os.PathLike)):
        if not os.path.isfile(model):
            raise FileNotFoundError(f"no such model: {os.fspath(model)}")
        with open(model, "rb") as file:
            return Plan.load(model) if _is_plan(file.read(9)) else None
    if isinstance(model, (bytes, bytearray, memoryview)):
        return Plan.from_bytes(bytes(model)) if _is_plan(bytes(model[:9])) else None
    return None


def _is_plan(start: bytes) -> bool:
    """Whether a file that starts so is a safetensors file: a length below 2^32, then a JSON object."""
    return len(start) == 9 and start[4:8] == b"\0\0\0\0" and start[8:9] == b"{"


def _matched(name: str, x, dtype: np.dtype) -> np.ndarray:
    """An input as a contiguous, aligned array of its declared type."""
    x = np.asarray(x)
    if x.dtype != dtype:
        raise ValueError(f"input {name!r} must be {dtype.name}, got {_word(x.dtype)}")
    return x if x.flags.c_contiguous and x.flags.aligned else np.array(x, order="C", copy=True)


def _check_names(given, wanted) -> None:
    if missing := [n for n in wanted if n not in given]:
        raise ValueError(f"input {missing[0]!r} is missing; the inputs are {list(wanted)}")
    if unknown := [n for n in given if n not in wanted]:
        raise ValueError(f"there is no input {unknown[0]!r}; the inputs are {list(wanted)}")


class _Fixed:
    """The programs of one plan."""

    def __init__(self, plan: Plan, threads: int):
        self.plan = plan
        self.runner = _Runner(plan, threads)
        self.last = self.runner.programs[0]

    def inputs(self):
        return self._merged("inputs")

    def outputs(self):
        return self._merged("outputs")

    def _merged(self, side: str) -> list[NodeArg]:
        """Ports of all programs: a dimension in which they differ is None."""
        merged = []
        for ports in zip(*(getattr(p, side) for p in self.runner.programs)):
            same_rank = len({len(p.shape) for p in ports}) == 1
            shape = [d[0] if len(set(d)) == 1 else None for d in zip(*(p.shape for p in ports))] if same_rank else []
            merged.append(NodeArg(ports[0].name, shape, _type(ports[0].dtype)))
        return merged

    def labels(self):
        return self.plan.labels

    def match(self, feed):
        first = self.runner.programs[0]
        _check_names(feed, [p.name for p in first.inputs])
        arrays = [_matched(p.name, feed[p.name], p.dtype) for p in first.inputs]
        for program in self.runner.programs:
            if all(x.shape == p.shape for x, p in zip(arrays, program.inputs)):
                self.last = program
                return program, arrays
        for i, port in enumerate(first.inputs):
            held = sorted({p.inputs[i].shape for p in self.runner.programs})
            if arrays[i].shape not in held:
                raise ValueError(f"input {port.name!r}: this plan holds shapes {held}, got {arrays[i].shape}")
        raise ValueError("no program of this plan has these input shapes together")

    def current(self):
        return self.last


class _Planner:
    """A model, planned for shapes as they come; as many of the most recent plans are kept as `budget` bytes hold."""

    def __init__(self, model, threads: int, base_dir=None, budget: int = PLAN_CACHE_BYTES):
        try:
            from . import lower
        except ModuleNotFoundError as error:
            if error.name and error.name.split(".")[0] == "onnx":
                raise ModuleNotFoundError("models need onnx: pip install 'pycompress-engine[onnx]'") from None
            raise
        import threading

        self.threads = threads
        self.model = lower.load(model, base_dir=base_dir)
        self.declared = lower.declared_inputs(self.model)
        self.values = lower.value_inputs(self.model)
        self.runners: OrderedDict[tuple, _Runner] = OrderedDict()
        self.budget = budget
        self.lock = threading.Lock()  # of `runners`: held for a moment only, so that shapes that are known always run
        self.planning = threading.Lock()  # one plan is made at a time: plans share packed weights
        self.last: _Program | None = None

    def inputs(self):
        return [
            NodeArg(n, list(shape or ()), _type(numpy_type(NUMPY[dtype])))
            for n, (dtype, shape) in self.declared.items()
        ]

    def outputs(self):
        from . import lower

        return [
            NodeArg(name, list(shape or ()), _type(numpy_type(NUMPY[dtype])))
            for name, (dtype, shape) in lower.declared_outputs(self.model).items()
        ]

    def labels(self):
        from .compiler import _labels

        return _labels(self.model)

    def match(self, feed):
        from .compiler import forget_unused

        _check_names(feed, list(self.declared))
        arrays = {n: _matched(n, feed[n], numpy_type(NUMPY[dtype])) for n, (dtype, _) in self.declared.items()}
        values = {n: arrays.pop(n) for n in self.declared if n in self.values}
        key = (tuple(x.shape for x in arrays.values()), tuple((x.shape, x.tobytes()) for x in values.values()))
        runner = self._known(key)
        if runner is None:
            with self.planning:
                runner = self._known(key)  # another thread may have planned it meanwhile
                if runner is None:
                    runner = self._plan({n: x.shape for n, x in arrays.items()}, values)
                    if self._keep(key, runner):
                        forget_unused(self.model, [r.plan for r in list(self.runners.values())])
        program = self.last = runner.programs[0]
        return program, list(arrays.values())

    def _known(self, key) -> _Runner | None:
        with self.lock:
            if key in self.runners:
                self.runners.move_to_end(key)
            return self.runners.get(key)

    def _keep(self, key, runner: _Runner) -> bool:
        """Adds a plan; True where others had to go for it."""
        with self.lock:
            self.runners[key] = runner
            before, total = len(self.runners), sum(r.nbytes for r in self.runners.values())
            while total > self.budget and len(self.runners) > 1:
                total -= self.runners.popitem(last=False)[1].nbytes
            return len(self.runners) < before

    def _plan(self, shapes, values) -> _Runner:
        from .compiler import lowered, program_plan

        return _Runner(program_plan(self.model, [lowered(self.model, shapes, values)]), self.threads)

    def current(self):
        if self.last is None:
            from .compiler import input_shapes_of

            shapes = input_shapes_of(self.model, None, {})
            self.match({n: np.zeros(s, numpy_type(NUMPY[self.declared[n][0]])) for n, s in shapes.items()})
        return self.last
