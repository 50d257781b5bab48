"""An opened plan with its threads: what a session runs."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple, NoReturn, TypedDict

import numpy as np

from ._pcx import ffi, lib
from .dtypes import BY_CODE, ROWS, numpy_type
from .errors import Fail, InvalidArgument
from .plan import Plan
from .sparse import pointer

_ANY, _LIST = ffi.typeof("void *"), ffi.typeof("void *[]")


class StepRow(TypedDict):
    """What ``InferenceSession.explain`` tells of a step; `shapes` are those of its first input and of its output."""

    node: str
    op: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    kernel: str
    isa: str
    dtype: str
    reason: str
    macs: int


class ProfileRow(StepRow):
    """A step with its median time, and its start and end in the fastest run, all in seconds."""

    seconds: float
    start: float
    end: float


class Port(NamedTuple):
    """An input or output of a program."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


class Program:
    """One program of an open plan, ready to run."""

    def __init__(self, session, plan: Plan, index: int):
        self.session, self.plan, self.index = session, plan, index
        handle = plan.handle
        self.inputs = [_port(lib.pcx_plan_input(handle, index, i)) for i in range(lib.pcx_plan_inputs(handle, index))]
        ports = [_port(lib.pcx_plan_output(handle, index, i)) for i in range(lib.pcx_plan_outputs(handle, index))]
        self.used = _counts(
            ports
        )  # by the number of an output: the axis of which a part is used, and which output counts it
        counts = {at for _, at in self.used.values()}
        self.outputs = [port for i, port in enumerate(ports) if i not in counts]
        self.steps = lib.pcx_plan_steps(handle, index)

    def run(
        self, arrays: list[np.ndarray], outputs: list[np.ndarray], seconds=ffi.NULL, options=None
    ) -> list[np.ndarray]:
        """Fill `outputs`; returns them, or the parts of them that are used.

        On the main thread a signal handler that raises, as that of Ctrl-C does, ends the run; so does ``options.terminate``.
        """
        if self.used:
            return self._run_and_cut(arrays, outputs, seconds, options)
        self._call(arrays, outputs, seconds, options)
        return outputs

    def _run_and_cut(self, arrays, outputs, seconds, options) -> list[np.ndarray]:
        count = len(outputs)
        outputs = [*outputs, *(np.zeros(1, np.int64) for _ in self.used)]
        self._call(arrays, outputs, seconds, options)
        for i, (axis, at) in self.used.items():
            outputs[i] = outputs[i][(slice(None),) * axis + (slice(max(0, int(outputs[at][0]))),)]
        return outputs[:count]

    def _call(self, arrays, outputs, seconds, options) -> None:
        pointers = ffi.new(_LIST, list(map(_memory, arrays))), ffi.new(_LIST, list(map(_memory, outputs)))
        if options is None and threading.get_ident() != threading.main_thread().ident:
            code = lib.pcx_session_run(self.session, self.index, *pointers, seconds)
        else:
            asked = ffi.NULL if options is None else ffi.new_handle(options)
            _raised.__dict__.pop("error", None)  # of a run that ended all the same
            code = lib.pcx_session_run_asking(self.session, self.index, *pointers, seconds, lib.pycompress_ask, asked)
        if code:
            self._fail(code)

    def _fail(self, code: int) -> NoReturn:
        if code == lib.PCX_STOPPED:
            raise _raised.__dict__.pop("error", None) or Fail(TERMINATED)
        if code == lib.PCX_NO_MEMORY:
            raise MemoryError("no memory for the activations")
        if code >= lib.PCX_FAILED_STEP:
            raise InvalidArgument(self._failed(code - lib.PCX_FAILED_STEP))
        raise Fail(f"the run failed with code {code}")

    def _failed(self, step: int) -> str:
        """Why a run failed at that step."""
        row = self.explain()[step]
        where = f"node {row['node']!r} ({row['op']})" if row["op"] else f"step {step}"
        if "::" not in row["kernel"]:
            return f"{where}: an index is outside of the axis that it points into"
        return f"{where}: the operator {row['kernel']} failed; called from Python, its function tells why"

    def explain(self) -> list[StepRow]:
        handle = self.plan.handle
        rows: list[StepRow] = []
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


TERMINATED = "Exiting due to terminate flag being set to true."
_raised = threading.local()  # by a signal's handler, or into this thread: the run that it ends raises it


def _keep_error(kind, error, traceback) -> None:
    _raised.error = error


@ffi.def_extern(name="pycompress_ask", error=1, onerror=_keep_error)
def _ask(options: Any) -> bool:
    """Whether a run shall end. That this is Python lets pending signals' handlers run; what they raise ends it, too."""
    for _ in range(2):  # some versions look for signals where loops go on
        stop = options != ffi.NULL and ffi.from_handle(options).terminate
    return bool(stop)


class Runner:
    """A plan with its threads."""

    def __init__(self, plan: Plan, threads: int):
        session = lib.pcx_session_new(plan.handle, threads)
        if session == ffi.NULL:
            raise MemoryError("no memory for a session")
        self.plan = plan
        self.session = ffi.gc(session, lib.pcx_session_free)
        self.programs = [Program(self.session, plan, i) for i in range(lib.pcx_plan_programs(plan.handle))]

    @property
    def nbytes(self) -> int:
        """About the memory that this plan alone takes: activations, and what describes its steps."""
        arenas = sum(lib.pcx_plan_arena(self.plan.handle, i) for i in range(len(self.programs)))
        return arenas + 4 * sum(map(len, self.plan.metadata.values()))


def _port(port) -> Port:
    shape = tuple(port.shape[i] for i in range(port.rank))
    return Port(ffi.string(port.name).decode(), numpy_type(BY_CODE[port.dtype].numpy), shape)


def _counts(ports: list[Port]) -> dict[int, tuple[int, int]]:
    """The outputs at the end that say how much of another is used; see ``ROWS``."""
    numbers, found = {port.name: i for i, port in enumerate(ports)}, {}
    for at in reversed(range(len(ports))):
        name, mark, axis = ports[at].name.rpartition(ROWS)
        i = numbers.get(name, at)
        counts = mark and axis.isdecimal() and i < at and int(axis) < len(ports[i].shape)
        if not counts or ports[at].shape != (1,) or ports[at].dtype != np.int64:
            break
        found[i] = int(axis), at
    return dict(sorted(found.items(), key=lambda item: item[1][1]))


def _memory(x: np.ndarray):
    """What C gets of an array; `pointer` says which arrays have no buffer."""
    try:
        return ffi.from_buffer(x)
    except ValueError:
        return pointer(_ANY, x)
