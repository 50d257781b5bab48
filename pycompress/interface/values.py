"""OrtValue: a tensor in memory that runs read or write in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._pcx import ffi
from ..dtypes import BY_NUMPY, BY_ONNX, numpy_type
from ..errors import InvalidArgument
from .metadata import type_word

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# TensorProto.DataType, which a caller may give in place of a numpy type.
ELEMENT_TYPES = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "double": 11, "uint32": 12, "uint64": 13, "bfloat16": 16,
}  # fmt: skip
_BY_CODE = {code: word for word, code in ELEMENT_TYPES.items()}


def check_device(device_type, device_id=0) -> None:
    """Refuse any device but the CPU, which is the only one here."""
    if not isinstance(device_type, str):
        raise TypeError(f"a device is named by a str, got {device_type!r}")
    if device_type.lower() != "cpu" or device_id != 0:
        raise InvalidArgument(f"there is no device {device_type!r} {device_id}: tensors lie in the memory of the CPU")


def element_type_of(element_type: DTypeLike | int) -> np.dtype:
    """The numpy type that `element_type` (one, or an ONNX TensorProto code) stands for."""
    if isinstance(element_type, (int, np.integer)) and not isinstance(element_type, bool):
        if element_type not in _BY_CODE:
            raise InvalidArgument(f"element type {element_type} is not one of a tensor here; there are {_BY_CODE}")
        return numpy_type(BY_ONNX[_BY_CODE[element_type]].numpy)
    dtype = np.dtype(element_type)
    if dtype.name not in BY_NUMPY:
        raise InvalidArgument(f"tensors of {dtype.name} do not exist here; there are {', '.join(BY_NUMPY)}")
    return dtype


def from_pointer(element_type, shape, pointer: int) -> np.ndarray:
    """The memory at `pointer` as an array; the caller answers for its size and life."""
    dtype, shape = element_type_of(element_type), tuple(int(d) for d in shape)
    if any(d < 0 for d in shape):
        raise InvalidArgument(f"shape {shape} has a negative dimension")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if not size:
        return np.empty(shape, dtype)
    if not pointer:
        raise InvalidArgument("buffer_ptr is null")
    return np.frombuffer(ffi.buffer(ffi.cast("char *", int(pointer)), size), dtype).reshape(shape)


class OrtValue:
    """A tensor on the CPU, as onnxruntime's class of this name.

    Parameters
    ----------
    array : numpy.ndarray
        Of numbers, in the machine's byte order; it is copied only if it is not contiguous.

    Raises
    ------
    TypeError, ValueError
        If it is not such an array.

    Examples
    --------
    >>> import numpy as np
    >>> from pycompress.ort import OrtValue
    >>> x = OrtValue.ortvalue_from_numpy(np.zeros((1, 3), np.float32))
    >>> x.shape(), x.data_type(), x.device_name()
    ([1, 3], 'tensor(float)', 'cpu')
    >>> x.update_inplace(np.ones((1, 3), np.float32))
    >>> x.numpy()
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(self, array: np.ndarray):
        """On the memory of `array`."""
        if not isinstance(array, np.ndarray):
            raise TypeError(f"an OrtValue is made of a numpy array, got {type(array).__name__}")
        if array.dtype.name not in BY_NUMPY or not array.dtype.isnative:
            raise InvalidArgument(f"an OrtValue holds numbers in the machine's byte order, got {array.dtype}")
        self._array = array if array.flags.c_contiguous and array.flags.aligned else np.array(array, order="C")

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: np.ndarray, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """An OrtValue on the array's own memory (on a copy if the array is not contiguous).

        Raises
        ------
        ValueError, TypeError
            If it is not an array of numbers, or the device is not the CPU.
        """
        check_device(device_type, device_id)
        return cls(numpy_obj)

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data: np.ndarray, /, onnx_element_type: int) -> OrtValue:
        """The array's memory read as another type of the same size: bfloat16 (16) from uint16, for example.

        Raises
        ------
        ValueError
            If the type is unknown, or its elements have another size.
        """
        dtype = element_type_of(onnx_element_type)
        if not isinstance(data, np.ndarray) or data.dtype.itemsize != dtype.itemsize:
            raise InvalidArgument(f"data must be an array of elements of {dtype.itemsize} bytes")
        return cls(np.ascontiguousarray(data).view(dtype))

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: DTypeLike | int,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
    ) -> OrtValue:
        """An OrtValue with new memory, not initialized; `element_type` is NumPy's, or ONNX's code.

        Raises
        ------
        ValueError
            If the type is unknown, or the device is not the CPU.
        """
        check_device(device_type, device_id)
        return cls(np.empty(tuple(shape), element_type_of(element_type)))

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """An OrtValue on the memory of a tensor that supports DLPack (torch's, for example)."""
        return cls(np.from_dlpack(data))

    def numpy(self) -> np.ndarray:
        """The array: the same memory, not a copy."""
        return self._array

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> np.ndarray:
        if dtype is None or np.dtype(dtype) == self._array.dtype:
            return self._array.copy() if copy else self._array
        return self._array.astype(dtype)

    def __dlpack__(self, **how: Any) -> Any:
        return self._array.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def update_inplace(self, data: np.ndarray | OrtValue) -> None:
        """Copy an array or OrtValue of the same shape and type into this one's memory.

        Raises
        ------
        TypeError, ValueError
            If `data` is neither, or has another shape or type.
        """
        source = data.numpy() if isinstance(data, OrtValue) else data
        if not isinstance(source, np.ndarray):
            raise TypeError(f"data must be a numpy.ndarray or an OrtValue, got {type(data).__name__}")
        if (source.dtype, source.shape) != (self._array.dtype, self._array.shape):
            raise InvalidArgument(
                f"data must be {self._array.dtype.name}{self.shape()}, got {source.dtype.name}{list(source.shape)}"
            )
        if not self._array.flags.writeable:
            raise InvalidArgument("the memory of this OrtValue is read-only")
        self._array[...] = source

    def shape(self) -> list[int]:
        """The sizes, as a list."""
        return list(self._array.shape)

    def data_type(self) -> str:
        """ONNX's word: ``"tensor(float)"``."""
        return type_word(self._array.dtype)

    def element_type(self) -> int:
        """ONNX's code (TensorProto.DataType)."""
        return ELEMENT_TYPES[BY_NUMPY[self._array.dtype.name].onnx]

    def device_name(self) -> str:
        """``"cpu"``."""
        return "cpu"

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array.__array_interface__["data"][0]

    def tensor_size_in_bytes(self) -> int:
        """The bytes of all elements."""
        return self._array.nbytes

    def has_value(self) -> bool:
        """True."""
        return True

    def is_tensor(self) -> bool:
        """True: there are neither sparse tensors nor sequences here."""
        return True

    def is_sparse_tensor(self) -> bool:
        """False."""
        return False

    def is_tensor_sequence(self) -> bool:
        """False."""
        return False


class OrtDevice:
    """The device of a tensor: the CPU.

    Examples
    --------
    >>> from pycompress.ort import OrtDevice
    >>> OrtDevice.make("cpu").device_type()
    0
    """

    @staticmethod
    def make(ort_device_name: str, device_id: int = 0, vendor_id: int = -1) -> OrtDevice:
        """The CPU; ValueError for any other device."""
        check_device(ort_device_name, device_id)
        return OrtDevice()

    def device_type(self) -> int:
        """0, onnxruntime's number of the CPU."""
        return 0

    def device_id(self) -> int:
        """0."""
        return 0
