"""Options of sessions and of runs, with onnxruntime's names and defaults."""

from __future__ import annotations

import enum
import operator
import os
from collections.abc import Sequence

from ..dtypes import check_float_products

PLAN_CACHE_BYTES = 512 * 2**20
MAX_THREADS = 1024
MAX_KEY = 1024  # characters of the key of a configuration entry, as in onnxruntime


class GraphOptimizationLevel(enum.IntEnum):
    """How far onnxruntime rewrites a graph; accepted, without effect here: plans are always optimized.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> options = ort.SessionOptions()
    >>> options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    """

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """Whether onnxruntime runs branches of a graph in parallel; accepted, without effect here.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> options = ort.SessionOptions()
    >>> options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    """

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(enum.IntEnum):
    """In which order onnxruntime visits nodes; accepted, without effect here.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> options = ort.SessionOptions()
    >>> options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    """

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


class _Checked:
    """Fields of fixed names and types, given as ``FIELDS = {name: default}``; the default's type is the field's."""

    FIELDS: dict[str, object] = {}
    __slots__ = ("_entries",)

    def __init__(self):
        self._entries = {}
        for name, default in self.FIELDS.items():
            setattr(self, name, default)

    def __setattr__(self, name: str, value) -> None:
        if name in self.FIELDS:
            value = self._checked(name, value)
        elif name not in self._internal():
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; there are {', '.join(self.FIELDS)}")
        object.__setattr__(self, name, value)

    @classmethod
    def _internal(cls) -> set[str]:
        return {name for base in cls.__mro__ for name in getattr(base, "__slots__", ())}

    def _checked(self, name: str, value):
        kind = type(self.FIELDS[name])
        where = f"{type(self).__name__}.{name}"
        if kind is bool and isinstance(value, int) and value in (0, 1):
            return bool(value)
        if kind is int and not isinstance(value, bool):
            try:
                return operator.index(value)
            except TypeError:
                pass
        if kind is str and isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        if issubclass(kind, enum.Enum) and isinstance(value, int):
            try:
                return kind(value)
            except ValueError:
                raise ValueError(f"{where} must be one of {', '.join(kind.__members__)}, got {value!r}") from None
        raise TypeError(f"{where} must be of type {kind.__name__}, got {value!r}")

    def _add(self, what: str, key: str, value: str) -> None:
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{what}: key and value must be str, got {key!r} and {value!r}")
        if not 0 < len(key) <= MAX_KEY:
            raise ValueError(f"{what}: the key must have 1 to {MAX_KEY} characters, got {len(key)}")
        self._entries[key] = value

    def _get(self, key: str) -> str:
        if key not in self._entries:
            raise RuntimeError(f"{type(self).__name__} does not have configuration with key: {key}")
        return self._entries[key]

    def __repr__(self):
        changed = (f"{n}={getattr(self, n)!r}" for n, v in self.FIELDS.items() if getattr(self, n) != v)
        return f"{type(self).__name__}({', '.join(changed)})"


class SessionOptions(_Checked):
    """Options of a session: onnxruntime's, ``plan_cache_bytes`` and ``float_products``.

    Parameters
    ----------
    intra_op_num_threads, plan_cache_bytes : int
        The attributes of these names.

    Raises
    ------
    AttributeError
        If a field does not exist; the message names it and lists the fields.
    TypeError, ValueError
        If a value has the wrong type or is out of range.

    Attributes
    ----------
    intra_op_num_threads : int
        Threads of one run; 0 takes ``pycompress.get_num_threads()``.
    plan_cache_bytes : int
        Of a session on a model: how much memory its plans for different input shapes may take (activations and steps;
        weights are shared). Beyond it, the least recently used plans are dropped, and made again when they are needed.
    float_products : {"float32", "bfloat16"}
        Of a session on a model: what the operands of float products are rounded to, as in ``pycompress.compile``.
    enable_profiling : bool
        Record every run, for ``InferenceSession.end_profiling``.
    profile_file_prefix : str
        How the name of that file begins.
    optimized_model_filepath : str
        Refused by the session unless empty: there is no optimized .onnx; save a plan with ``pycompress.compile``.
    inter_op_num_threads, execution_mode, execution_order, graph_optimization_level, enable_cpu_mem_arena, \
enable_mem_pattern, enable_mem_reuse, use_deterministic_compute, use_per_session_threads, logid, \
log_severity_level, log_verbosity_level
        Accepted, without effect: steps run one after the other, plans are always optimized, activations share one
        arena, results are the same for every thread count, each session has its own threads, nothing is logged.

    Examples
    --------
    >>> import pycompress
    >>> options = pycompress.SessionOptions()
    >>> options.intra_op_num_threads = 2
    >>> options
    SessionOptions(intra_op_num_threads=2)
    >>> options.threads = 2
    Traceback (most recent call last):
    AttributeError: SessionOptions has no field 'threads'; there are intra_op_num_threads, ...
    """

    FIELDS = {
        "intra_op_num_threads": 0,
        "inter_op_num_threads": 0,
        "execution_mode": ExecutionMode.ORT_SEQUENTIAL,
        "execution_order": ExecutionOrder.DEFAULT,
        "graph_optimization_level": GraphOptimizationLevel.ORT_ENABLE_ALL,
        "enable_cpu_mem_arena": True,
        "enable_mem_pattern": True,
        "enable_mem_reuse": True,
        "enable_profiling": False,
        "profile_file_prefix": "onnxruntime_profile_",
        "optimized_model_filepath": "",
        "use_deterministic_compute": False,
        "use_per_session_threads": True,
        "logid": "",
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "plan_cache_bytes": PLAN_CACHE_BYTES,
        "float_products": "float32",
    }
    __slots__ = (*FIELDS, "_dimensions")

    intra_op_num_threads: int
    inter_op_num_threads: int
    execution_mode: ExecutionMode
    execution_order: ExecutionOrder
    graph_optimization_level: GraphOptimizationLevel
    enable_cpu_mem_arena: bool
    enable_mem_pattern: bool
    enable_mem_reuse: bool
    enable_profiling: bool
    profile_file_prefix: str
    optimized_model_filepath: str
    use_deterministic_compute: bool
    use_per_session_threads: bool
    logid: str
    log_severity_level: int
    log_verbosity_level: int
    plan_cache_bytes: int
    float_products: str

    def __init__(
        self,
        intra_op_num_threads: int = 0,
        plan_cache_bytes: int = PLAN_CACHE_BYTES,
        float_products: str = "float32",
    ):
        """The default options, but for these three."""
        super().__init__()
        self._dimensions = {}  # {("dim_param" or "denotation", word): size}
        self.intra_op_num_threads = intra_op_num_threads
        self.plan_cache_bytes = plan_cache_bytes
        self.float_products = float_products

    def _checked(self, name: str, value):
        value = super()._checked(name, value)
        if name == "intra_op_num_threads" and not 0 <= value <= MAX_THREADS:
            raise ValueError(f"intra_op_num_threads must be an integer from 0 to {MAX_THREADS}, got {value!r}")
        if name == "plan_cache_bytes" and value < 0:
            raise ValueError(f"plan_cache_bytes must be an integer of at least 0, got {value!r}")
        return check_float_products(value) if name == "float_products" else value

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Store a configuration entry, as onnxruntime does with every key; a second value replaces the first.

        ``session.model_external_initializers_file_folder_path`` is the folder of the external data of a model that is given
        as bytes (like ``base_dir``). Other keys have no effect here.

        Raises
        ------
        TypeError, ValueError
            If key or value is not a str, or the key is empty or longer than 1024 characters.

        Examples
        --------
        >>> import pycompress
        >>> options = pycompress.SessionOptions()
        >>> options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        >>> options.get_session_config_entry("session.intra_op.allow_spinning")
        '0'
        """
        self._add("add_session_config_entry", key, value)

    def get_session_config_entry(self, key: str) -> str:
        """The value stored for `key`; RuntimeError if there is none."""
        return self._get(key)

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        """Give the open dimensions called `name` (``dim_param``) a fixed size; names that the model lacks are ignored.

        Raises
        ------
        TypeError, ValueError
            If `name` is not a str, or `size` is not an integer of at least 0.

        Examples
        --------
        >>> import pycompress
        >>> options = pycompress.SessionOptions()
        >>> options.add_free_dimension_override_by_name("batch", 1)
        """
        self._override("dim_param", name, size)

    def add_free_dimension_override_by_denotation(self, denotation: str, size: int) -> None:
        """Give the open dimensions with this ONNX denotation ("DATA_BATCH") a fixed size."""
        self._override("denotation", denotation, size)

    def _override(self, kind: str, word: str, size: int) -> None:
        if not isinstance(word, str):
            raise TypeError(f"the name of a dimension must be a str, got {word!r}")
        if isinstance(size, bool) or (size := operator.index(size)) < 0:
            raise ValueError(f"dimension {word!r}: the size must be an integer of at least 0, got {size!r}")
        self._dimensions[kind, word] = size

    def register_custom_ops_library(self, path: str | os.PathLike) -> None:
        """Refused (NotImplementedError): onnxruntime's shared libraries of operators cannot run here."""
        raise NotImplementedError(
            f"custom operators of onnxruntime ({os.fspath(path)}) cannot run here; run the model on onnxruntime"
        )

    def add_initializer(self, name: str, value: object) -> None:
        """Refused (NotImplementedError): put the tensor into the model."""
        raise NotImplementedError(f"add_initializer({name!r}): weights are read from the model; put the tensor into it")

    def add_external_initializers(self, names: Sequence[str], values: Sequence[object]) -> None:
        """Refused (NotImplementedError): put the tensors into the model."""
        raise NotImplementedError("add_external_initializers: weights are read from the model; put the tensors into it")


class RunOptions(_Checked):
    """Options of one run, with onnxruntime's names.

    Attributes
    ----------
    terminate : bool
        If True, runs with these options raise ``pycompress.ort.Fail``, also those that have begun, within a fraction of a
        second; set it on another thread. (``run_with_iobinding`` looks at it when it begins.)
    only_execute_path_to_fetches, logid, log_severity_level, log_verbosity_level
        Accepted, without effect: the whole graph runs, and nothing is logged.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> options = ort.RunOptions()
    >>> options.terminate = True
    """

    FIELDS = {
        "terminate": False,
        "only_execute_path_to_fetches": False,
        "logid": "",
        "log_severity_level": -1,
        "log_verbosity_level": 0,
    }
    __slots__ = tuple(FIELDS)

    terminate: bool
    only_execute_path_to_fetches: bool
    logid: str
    log_severity_level: int
    log_verbosity_level: int

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Store a configuration entry; none has an effect here."""
        self._add("add_run_config_entry", key, value)

    def get_run_config_entry(self, key: str) -> str:
        """The value stored for `key`; RuntimeError if there is none."""
        return self._get(key)

    def add_active_adapter(self, adapter: object) -> None:
        """Refused (NotImplementedError): LoRA adapters of onnxruntime's format are not read."""
        raise NotImplementedError("LoRA adapters in onnxruntime's format are not read; merge them into the model")
