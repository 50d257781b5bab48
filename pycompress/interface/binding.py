"""IOBinding: inputs and outputs bound to memory, for many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import Fail, InvalidArgument
from .metadata import NodeArg
from .values import OrtValue, check_device, from_pointer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


class Bindable(Protocol):
    """What a binding needs of its session."""

    def get_inputs(self) -> list[NodeArg]: ...
    def get_outputs(self) -> list[NodeArg]: ...
    def _match(self, input_feed: Mapping[str, object]) -> tuple[Any, list[np.ndarray]]: ...
    def _run(self, program: Any, arrays: Any, output_names: Any, out: Any) -> list[np.ndarray]: ...


class IOBinding:
    """The memory that a session reads its inputs from and writes its outputs to.

    ``session.io_binding()`` makes one; ``session.run_with_iobinding(binding)`` runs it.

    Parameters
    ----------
    session : InferenceSession

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
    >>> binding = session.io_binding()
    >>> binding.bind_cpu_input("input", np.zeros((1, 3, 32, 32), np.float32))
    >>> binding.bind_output("logits")
    >>> session.run_with_iobinding(binding)
    >>> (logits,) = binding.copy_outputs_to_cpu()
    >>> logits.shape
    (1, 4)
    """

    def __init__(self, session: Bindable):
        """For the inputs and outputs of `session`."""
        self._session = session
        self._inputs: dict[str, object] = {}
        self._outputs: dict[str, np.ndarray | None] = {}  # None: memory is made for each run
        self._results: list[np.ndarray] = []

    def bind_cpu_input(self, name: str, arr_on_cpu: object) -> None:
        """Feed this array in each run, with its values at that time.

        Raises
        ------
        ValueError
            If there is no such input.
        """
        self._check("input", name)
        self._inputs[name] = arr_on_cpu

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: DTypeLike | int,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """Feed the memory at the address `buffer_ptr`: `shape` elements of `element_type`.

        Raises
        ------
        ValueError
            If there is no such input, the device is not the CPU, or the type is not that of a tensor.
        """
        check_device(device_type, device_id)
        self._check("input", name)
        self._inputs[name] = from_pointer(element_type, shape, buffer_ptr)

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Feed this OrtValue in each run; ValueError if there is no such input."""
        self._check("input", name)
        self._inputs[name] = _array(ortvalue)

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: DTypeLike | int | None = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Request an output, in new memory for each run or at the address `buffer_ptr`.

        Raises
        ------
        ValueError
            If there is no such output, the device is not the CPU, or a pointer comes without `element_type` or `shape`.
        """
        check_device(device_type, device_id)
        self._check("output", name)
        if buffer_ptr is None:
            self._outputs[name] = None
            return
        if element_type is None or shape is None:
            raise InvalidArgument("element_type and shape must be given with buffer_ptr")
        self._outputs[name] = from_pointer(element_type, shape, buffer_ptr)

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Write an output into this OrtValue, whose shape and type must be the output's."""
        self._check("output", name)
        self._outputs[name] = _array(ortvalue)

    def synchronize_inputs(self) -> None:
        """Without effect on a CPU."""

    def synchronize_outputs(self) -> None:
        """Without effect on a CPU."""

    def get_outputs(self) -> list[OrtValue]:
        """The outputs of the last run, in the order in which they were bound; [] before the first."""
        return [OrtValue(x) for x in self._results]

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        """Copies of the outputs of the last run."""
        return [x.copy() for x in self._results]

    def clear_binding_inputs(self) -> None:
        """Forget all inputs."""
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        """Forget all outputs, and the results of the last run."""
        self._outputs.clear()
        self._results = []

    def _check(self, side: str, name: str) -> None:
        names = [port.name for port in getattr(self._session, f"get_{side}s")()]
        if name not in names:
            raise InvalidArgument(f"there is no {side} {name!r}; the {side}s are {names}")

    def _run(self, session: Bindable) -> None:
        if self._session is not session:
            raise InvalidArgument("this binding belongs to another session")
        if not self._outputs:
            raise Fail("no output is bound; call bind_output")
        program, arrays = session._match(self._inputs)
        ports = {p.name: p for p in program.outputs}
        made = [np.empty(ports[n].shape, ports[n].dtype) if x is None else x for n, x in self._outputs.items()]
        self._results = session._run(program, arrays, list(self._outputs), made)


def _array(value) -> np.ndarray:
    if not isinstance(value, OrtValue):
        raise TypeError(f"an OrtValue is needed, got {type(value).__name__}")
    return value.numpy()
