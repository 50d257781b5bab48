"""Element types: one row each, with every name that something calls it by.

`word` is ours (contracts, lowering), `numpy` is NumPy's and ml_dtypes', `code` is C's (`PCX_U8` ...), `file` is
safetensors', `onnx` stands in "tensor(float)".
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple


class DType(NamedTuple):
    word: str
    numpy: str
    code: int
    file: str
    onnx: str


TABLE = (
    DType("u8", "uint8", 1, "U8", "uint8"),
    DType("i8", "int8", 2, "I8", "int8"),
    DType("i32", "int32", 3, "I32", "int32"),
    DType("f32", "float32", 4, "F32", "float"),
    DType("i64", "int64", 5, "I64", "int64"),
    DType("bool", "bool", 6, "BOOL", "bool"),
    DType("f16", "float16", 7, "F16", "float16"),
    DType("f64", "float64", 8, "F64", "double"),
    DType("i16", "int16", 9, "I16", "int16"),
    DType("u16", "uint16", 10, "U16", "uint16"),
    DType("u32", "uint32", 11, "U32", "uint32"),
    DType("u64", "uint64", 12, "U64", "uint64"),
    DType("bf16", "bfloat16", 13, "BF16", "bfloat16"),
)
BY_WORD = {row.word: row for row in TABLE}
BY_NUMPY = {row.numpy: row for row in TABLE}
BY_CODE = {row.code: row for row in TABLE}
BY_ONNX = {row.onnx: row for row in TABLE}

NUMPY = {row.word: row.numpy for row in TABLE}
WORD = {row.numpy: row.word for row in TABLE}

ROWS = "#rows"  # output "y#rows0" of a plan: how many of the elements of y along axis 0 are used

FLOAT_PRODUCTS = ("float32", "bfloat16")  # what the operands of float products may be rounded to


def check_float_products(name) -> str:
    """`name`, if float products can be asked for in it; ValueError if not."""
    if name not in FLOAT_PRODUCTS:
        raise ValueError(f"float_products must be one of {', '.join(FLOAT_PRODUCTS)}, got {name!r}")
    return name


def numpy_type(name: str):
    """The numpy type of that name; that of "bfloat16" stands in ml_dtypes, which onnx brings along."""
    import numpy as np

    if name == "bfloat16":
        import ml_dtypes  # noqa: F401
    return np.dtype(name)


@cache  # NumPy computes `dtype.name` each time, in microseconds, and planning needs it thousands of times
def word(dtype) -> str:
    """Our word for a numpy type; KeyError for unknown types."""
    return WORD[dtype.name]
