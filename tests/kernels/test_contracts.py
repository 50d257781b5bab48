"""Each kernel's C table row, C struct and reference say the same."""

import numpy as np
import pytest

from pycompress import kernels, native
from pycompress._pcx import ffi


def flat(struct):
    for name, field in struct.fields:
        if field.type.kind == "struct":
            yield from flat(field.type)
        else:
            yield name, field.type


@pytest.mark.parametrize("name", kernels.NAMES)
def test_c_and_python_state_the_same_contract(name):
    kernel = getattr(native, name)
    assert ffi.string(kernel.c.contract).decode() == kernel.spec.contract
    assert ffi.string(kernel.c.name).decode() == name


@pytest.mark.parametrize("name", kernels.NAMES)
def test_struct_has_the_contract_s_slots(name):
    kernel = getattr(native, name)
    types = {
        "f32": "float",
        "u8": "uint8_t",
        "u16": "uint16_t",
        "i8": "int8_t",
        "i32": "int32_t",
        "i64": "int64_t",
        "bool": "uint8_t",
        "bf16": "uint16_t",
    }
    fields = list(flat(ffi.typeof(f"pcx_{name}_args")))
    assert ffi.sizeof(f"pcx_{name}_args") == 8 * len(kernel.spec.slots)
    assert [n for n, _ in fields] == [n for n, _ in kernel.spec.slots]
    for (_, ctype), (_, arg) in zip(fields, kernel.spec.slots):
        if arg is None or arg.kind == "size":
            assert ctype.cname == "size_t"
        elif arg.kind == "array" and arg.type_size is None:
            assert ctype.item.cname.removesuffix(" const").removeprefix("const ") == types[arg.types[0]]
        else:
            assert ctype.kind == "pointer" and ctype.item.kind == "void"


@pytest.mark.parametrize("name", kernels.NAMES)
def test_implementations_are_ordered_and_end_with_scalar(name):
    rows, i = [], 0
    while not rows or rows[-1].needs:
        rows.append(getattr(native, name).c.impls[i])
        i += 1
    assert ffi.string(rows[-1].isa) == b"scalar"
    assert all(row.needs for row in rows[:-1])


def test_byte_swapped_arrays_lists_and_giant_sizes_are_refused():
    a, w, out = np.ones((2, 3), np.float32), np.ones((1, 3, 16), np.float32), np.empty((2, 16), np.float32)
    for bad in (a.astype(">f4"), a.tolist(), "a"):
        with pytest.raises(ValueError, match="sgemm: a must be"):
            native.sgemm(bad, w, None, 0, np.zeros(2, np.float32), None, out)
    with pytest.raises(ValueError, match="sgemm: act must be a size"):
        native.sgemm(a, w, None, 2**64, np.zeros(2, np.float32), None, out)
