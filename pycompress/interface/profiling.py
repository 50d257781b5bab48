"""A record of all runs of a session, as a file that chrome://tracing and Perfetto read."""

from __future__ import annotations

import json
import os
import threading
import time
import warnings
from datetime import datetime

import numpy as np

MAX_EVENTS = 10**6  # as in onnxruntime: beyond, runs are not recorded


class Profiler:
    """Collects the steps' times of runs and writes them once.

    The file is made at once, so that a folder that cannot be written is found before the work.
    """

    def __init__(self, prefix: str):
        self.start_ns = time.time_ns()
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")[:-3]
        self.path = f"{prefix}_{stamp}.json"
        with open(self.path, "w") as file:
            file.write("[]\n")
        self._origin = time.perf_counter()
        self._runs: list[tuple] = []
        self._events = 0
        self._full = self._written = False
        self._lock = threading.Lock()

    def add(self, program, began: float, ended: float, times: np.ndarray) -> None:
        """One run of `program`: when it began and ended (``time.perf_counter``), and each step's start and end."""
        with self._lock:
            if self._written or self._full:
                return
            self._runs.append((program, threading.get_native_id(), began, ended, times))
            self._events += len(times) + 1
            self._full = self._events >= MAX_EVENTS
        if self._full:
            warnings.warn(f"profiling: {self._events} events are recorded; further runs are not", stacklevel=4)

    def end(self) -> str:
        """Write the file, and return its path; "" the second time."""
        with self._lock:
            if self._written:
                return ""
            self._written = True
            runs, self._runs = self._runs, []
        with open(self.path, "w") as file:
            file.write("[\n" + ",\n".join(map(json.dumps, self._trace(runs))) + "\n]\n")
        return self.path

    def _trace(self, runs):
        explained: dict[int, list[dict]] = {}
        for program, thread, began, ended, times in runs:
            if id(program) not in explained:
                explained[id(program)] = program.explain()
            common = {"pid": os.getpid(), "tid": thread, "ph": "X"}
            for row, (start, end) in zip(explained[id(program)], times):
                yield {
                    "cat": "Node", **common,
                    "ts": round((began - self._origin + start) * 1e6),
                    "dur": round((end - start) * 1e6),
                    "name": f"{row['node'] or row['kernel']}_kernel_time",
                    "args": {
                        "op_name": row["op"] or row["kernel"], "provider": "CPUExecutionProvider", "kernel": row["kernel"],
                        "isa": row["isa"], "dtype": row["dtype"],
                    },
                }  # fmt: skip
            yield {
                "cat": "Session", **common, "ts": round((began - self._origin) * 1e6),
                "dur": round((ended - began) * 1e6), "name": "model_run", "args": {},
            }  # fmt: skip
