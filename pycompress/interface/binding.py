"""IOBinding: inputs and outputs tied to memory, for many runs."""

from __future__ import annotations

import numpy as np

from ..errors import Fail, InvalidArgument
from .values import OrtValue, check_device, from_pointer


class IOBinding:
    """Which memory a session's inputs are read from, and its outputs written to.

    ``session.io_binding()`` makes one; ``session.run_with_iobinding(binding)`` runs it.

    Examples
    --------
    >>> binding = session.io_binding()
    >>> binding.bind_cpu_input("x", x)
    >>> binding.bind_output("y")
    >>> session.run_with_iobinding(binding)
    >>> (y,) = binding.copy_outputs_to_cpu()
    """

    def __init__(self, session):
        self._session = session
        self._inputs: dict[str, object] = {}
        self._outputs: dict[str, np.ndarray | None] = {}  # None: memory is made for each run
        self._results: list[np.ndarray] = []

    def bind_cpu_input(self, name: str, arr_on_cpu) -> None:
        """Feed this array in each run (what it holds then); ValueError if there is no such input."""
        self._check("input", name)
        self._inputs[name] = arr_on_cpu

    def bind_input(self, name: str, device_type: str, device_id: int, element_type, shape, buffer_ptr: int) -> None:
        """Feed what lies at the address `buffer_ptr`: `shape` elements of `element_type`.

        Raises
        ------
        ValueError
            If there is no such input, the device is not the CPU, or the type is none of a tensor.
        """
        check_device(device_type, device_id)
        self._check("input", name)
        self._inputs[name] = from_pointer(element_type, shape, buffer_ptr)

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Feed this OrtValue in each run."""
        self._check("input", name)
        self._inputs[name] = _array(ortvalue)

    def bind_output(
        self, name: str, device_type="cpu", device_id=0, element_type=None, shape=None, buffer_ptr: int | None = None
    ) -> None:
        """Ask for an output, in new memory for each run or at the address `buffer_ptr`.

        Raises
        ------
        ValueError
            If there is no such output, the device is not the CPU, or `element_type` or `shape` lacks for a pointer.
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
        """Nothing is to be done on a CPU."""

    def synchronize_outputs(self) -> None:
        """Nothing is to be done on a CPU."""

    def get_outputs(self) -> list[OrtValue]:
        """The outputs of the last run, in the order in which they were bound; [] before the first."""
        return [OrtValue(x) for x in self._results]

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        """The outputs of the last run as arrays of their own."""
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

    def _run(self, session) -> None:
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
