"""What onnxruntime's session has beside ``run``: the part of InferenceSession that only calls its other methods."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from ..errors import Fail
from .binding import IOBinding
from .metadata import ModelMetadata, NodeArg
from .options import RunOptions, SessionOptions
from .profiling import Profiler
from .providers import CPU, check_providers
from .values import OrtValue


class SessionMethods:
    """Base of InferenceSession; `_options`, `_profiler`, `_threads`, `_source` and `_match` are the session's."""

    _options: SessionOptions
    _profiler: Profiler | None
    _threads: int
    _pool: ThreadPoolExecutor | None = None

    def get_providers(self) -> list[str]:
        """``["CPUExecutionProvider"]``."""
        return [CPU]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """``{"CPUExecutionProvider": {}}``."""
        return {CPU: {}}

    def set_providers(self, providers=None, provider_options=None) -> None:
        """Check providers as the constructor does; the CPU stays the one that runs."""
        check_providers(providers, provider_options)

    def enable_fallback(self) -> None:
        """Without effect: there is no provider to fall back from."""

    def disable_fallback(self) -> None:
        """Without effect: there is no provider to fall back from."""

    def get_session_options(self) -> SessionOptions:
        """A copy of the options that the session was made with."""
        return copy.deepcopy(self._options)

    def get_modelmeta(self) -> ModelMetadata:
        """Producer, names, version and ``custom_metadata_map`` of the model.

        A plan keeps producer (with its version), graph name and map; the other fields are empty.

        Examples
        --------
        >>> session.get_modelmeta().custom_metadata_map["character"].splitlines()
        """
        return self._source.modelmeta()

    def get_overridable_initializers(self) -> list[NodeArg]:
        """``[]``: initializers are constants here, also where the model lists them as inputs."""
        return []

    def io_binding(self) -> IOBinding:
        """A binding of this session's inputs and outputs to memory; see ``pycompress.ort.IOBinding``."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Run on what `iobinding` binds; its outputs hold the results.

        Raises
        ------
        ValueError, TypeError
            If a bound array does not fit, or the binding belongs to another session.
        pycompress.ort.Fail
            If no output is bound, or `run_options` says terminate.
        """
        if not isinstance(iobinding, IOBinding):
            raise TypeError(f"iobinding must be an IOBinding, got {type(iobinding).__name__}")
        check_run_options(run_options)
        iobinding._run(self)

    def run_with_ort_values(
        self, output_names, input_dict_ort_values: Mapping[str, OrtValue], run_options: RunOptions | None = None
    ) -> list[OrtValue]:
        """``run`` with OrtValues as inputs and as outputs.

        Examples
        --------
        >>> x = OrtValue.ortvalue_from_numpy(np.zeros((1, 3, 224, 224), np.float32))
        >>> (y,) = session.run_with_ort_values(None, {"x": x})
        """
        if not isinstance(input_dict_ort_values, Mapping):
            raise TypeError(f"a dict of OrtValues is needed, got {type(input_dict_ort_values).__name__}")
        for name, value in input_dict_ort_values.items():
            if not isinstance(value, OrtValue):
                raise TypeError(f"input {name!r} must be an OrtValue, got {type(value).__name__}")
        return [OrtValue(x) for x in self.run(output_names, input_dict_ort_values, run_options)]

    def run_async(
        self,
        output_names,
        input_feed: Mapping[str, object],
        callback: Callable[[list, object, str], None],
        user_data=None,
        run_options: RunOptions | None = None,
    ) -> None:
        """Start a run on another thread and return; then ``callback(results, user_data, error)`` is called there.

        Parameters
        ----------
        callback : callable
            Gets the outputs, `user_data`, and ""; or [], `user_data` and the message, if the run failed.

        Raises
        ------
        ValueError, TypeError
            If `callback` cannot be called, an input is missing, or `run_options` are of another type.

        Examples
        --------
        >>> session.run_async(None, {"x": x}, lambda results, user, error: print(user, error or results[0].shape), 7)
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        check_run_options(run_options, terminate=False)
        self._check_feed(input_feed)

        def work():
            results, error = [], ""
            try:
                results = self.run(output_names, input_feed, run_options)
            except Exception as failure:
                error = str(failure) or type(failure).__name__
            try:
                callback(results, user_data, error)
            except Exception:  # nobody waits for it: say it as a thread of its own would
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

        with _making:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="pycompress")
            pool = self._pool
        pool.submit(work)

    def end_profiling(self) -> str:
        """Write what ``enable_profiling`` recorded, and return the file's path; "" if nothing is recorded.

        The file is a list of events that chrome://tracing and Perfetto open, in onnxruntime's form: "Node" per step (by
        the node that the step comes from; fused nodes are one step) and "Session" per run. A session that is closed or
        forgotten writes it too.
        """
        return self._profiler.end() if self._profiler is not None else ""

    def get_profiling_start_time_ns(self) -> int:
        """When profiling began, in nanoseconds since 1970; 0 without profiling."""
        return self._profiler.start_ns if self._profiler is not None else 0

    def close(self) -> None:
        """Let go of plans and threads once the runs that are under way have ended; later runs raise ValueError.

        Examples
        --------
        >>> with pycompress.InferenceSession("model.onnx") as session:
        ...     (y,) = session.run(None, {"x": x})
        """
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self.end_profiling()
        self._source = Closed()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.close()


_making = threading.Lock()


class Closed:
    """What is left of a closed session: anything asked of it is an error."""

    def __getattr__(self, name: str):
        raise ValueError("this session is closed")


def check_run_options(options, terminate: bool = True) -> None:
    """Refuse what is no RunOptions, and, if `terminate`, a run that they forbid."""
    if options is None:
        return
    if not isinstance(options, RunOptions):
        raise TypeError(f"run_options must be a RunOptions, got {type(options).__name__}")
    if terminate and options.terminate:
        raise Fail("Exiting due to terminate flag being set to true.")
