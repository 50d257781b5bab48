"""The methods of onnxruntime's session besides ``run``: the part of InferenceSession that only calls its other methods."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ..errors import Fail
from .binding import IOBinding
from .metadata import ModelMetadata, NodeArg
from .options import RunOptions, SessionOptions
from .profiling import Profiler
from .providers import CPU, check_providers
from .values import OrtValue

Session = TypeVar("Session", bound="SessionMethods")


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

    def set_providers(
        self,
        providers: Sequence[str | tuple[str, Mapping[str, object]]] | str | None = None,
        provider_options: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Check providers as the constructor does; the CPU remains the only one.

        Raises
        ------
        TypeError, ValueError
            As the constructor.
        """
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

        A plan keeps the producer (with its version), the graph's name and the map; its other fields are empty.

        Examples
        --------
        >>> import pycompress
        >>> pruned = pycompress.prune(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4), 0.5)
        >>> session = pycompress.InferenceSession(pruned)
        >>> sorted(session.get_modelmeta().custom_metadata_map)
        ['pycompress.prune', 'pycompress.verdict']
        """
        return self._source.modelmeta()

    def get_overridable_initializers(self) -> list[NodeArg]:
        """``[]``: initializers are constants here, even if the model lists them as inputs."""
        return []

    def io_binding(self) -> IOBinding:
        """A binding of this session's inputs and outputs to memory; see ``pycompress.ort.IOBinding``."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Run with the arrays that `iobinding` binds; its outputs hold the results.

        Raises
        ------
        ValueError, TypeError
            If a bound array does not fit, or the binding belongs to another session.
        pycompress.ort.Fail
            If no output is bound, or `run_options` sets ``terminate``.
        """
        if not isinstance(iobinding, IOBinding):
            raise TypeError(f"iobinding must be an IOBinding, got {type(iobinding).__name__}")
        check_run_options(run_options)
        iobinding._run(self)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | str | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """``run`` with OrtValues as inputs and outputs.

        Raises
        ------
        TypeError, ValueError
            If an input is not an OrtValue, or as ``run``.

        Examples
        --------
        >>> import numpy as np
        >>> import pycompress
        >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
        >>> x = pycompress.ort.OrtValue.ortvalue_from_numpy(np.zeros((1, 3, 32, 32), np.float32))
        >>> (y,) = session.run_with_ort_values(None, {"input": x})
        >>> y.shape()
        [1, 4]
        """
        if not isinstance(input_dict_ort_values, Mapping):
            raise TypeError(f"a dict of OrtValues is needed, got {type(input_dict_ort_values).__name__}")
        for name, value in input_dict_ort_values.items():
            if not isinstance(value, OrtValue):
                raise TypeError(f"input {name!r} must be an OrtValue, got {type(value).__name__}")
        return [OrtValue(x) for x in self.run(output_names, input_dict_ort_values, run_options)]

    def run_async(
        self,
        output_names: Sequence[str] | str | None,
        input_feed: Mapping[str, object],
        callback: Callable[[list[np.ndarray], Any, str], object],
        user_data: object = None,
        run_options: RunOptions | None = None,
    ) -> None:
        """Start a run on another thread and return at once; that thread calls ``callback(results, user_data, error)``.

        Parameters
        ----------
        output_names, input_feed, run_options
            As for ``run``.
        callback : callable
            Called with the outputs, `user_data` and ""; if the run failed, with [], `user_data` and the message.
        user_data : object
            Passed to `callback`.

        Raises
        ------
        ValueError, TypeError
            If `callback` cannot be called, an input is missing, or `run_options` has another type.

        Examples
        --------
        >>> import numpy as np
        >>> import pycompress
        >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
        >>> x = np.zeros((1, 3, 32, 32), np.float32)
        >>> session.run_async(None, {"input": x}, lambda results, n, error: print(n, error or results[0].shape), 7)
        >>> session.close()  # waits for it
        7 (1, 4)
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
            except Exception:  # no caller waits for it: report it as threading does
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

        with _making:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="pycompress")
            pool = self._pool
        pool.submit(work)

    def end_profiling(self) -> str:
        """Write what ``enable_profiling`` recorded, and return the file's path; "" if nothing was recorded.

        The file is a list of events as onnxruntime writes them, for chrome://tracing and Perfetto: "Node" for each step,
        named by its node (fused nodes are one step), and "Session" for each run. Closing or deleting the session
        writes the file, too.
        """
        return self._profiler.end() if self._profiler is not None else ""

    def get_profiling_start_time_ns(self) -> int:
        """When profiling began, in nanoseconds since 1970; 0 without profiling."""
        return self._profiler.start_ns if self._profiler is not None else 0

    def close(self) -> None:
        """Free plans and threads after the current runs; later runs raise ValueError.

        Examples
        --------
        >>> import numpy as np
        >>> import pycompress
        >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
        >>> with pycompress.InferenceSession(model) as session:
        ...     (logits,) = session.run(None, {"input": np.zeros((1, 3, 32, 32), np.float32)})
        """
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self.end_profiling()
        self._source = Closed()

    def __enter__(self: Session) -> Session:
        return self

    def __exit__(self, *error) -> None:
        self.close()


_making = threading.Lock()


class Closed:
    """The source of a closed session: any use of it is an error."""

    def __getattr__(self, name: str):
        raise ValueError("this session is closed")


def check_run_options(options, terminate: bool = True) -> None:
    """Refuse anything but RunOptions, and, if `terminate`, a run that they forbid."""
    if options is None:
        return
    if not isinstance(options, RunOptions):
        raise TypeError(f"run_options must be a RunOptions, got {type(options).__name__}")
    if terminate and options.terminate:
        raise Fail("Exiting due to terminate flag being set to true.")
