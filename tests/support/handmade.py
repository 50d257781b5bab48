"""Plans written by hand: the graph as a dict, the file as bytes, and C's answer to them."""

import inspect
import json
import struct

import numpy as np
import pytest

from pycompress import kernels, native
from pycompress._pcx import ffi, lib
from pycompress.cpu import cpu_mask
from pycompress.dtypes import BY_CODE, BY_NUMPY, WORD
from pycompress.kernels import module

M, K, N = 5, 7, 18  # of `two_products`


class Refused(Exception):
    """C refused a plan; `code` is the PCX_* code, the text its reason."""

    def __init__(self, code, why):
        super().__init__(why)
        self.code = code


def safetensors(graph, tensors, header=None):
    """A file's bytes.  `graph` may be text; `header` changes the header before it is written."""
    text = graph if isinstance(graph, str) else json.dumps(graph)
    entries, parts, end = {"__metadata__": {"pycompress": text, "note": "by hand"}}, [], 0
    for name, x in tensors.items():
        if gap := -end % 64:
            entries[f"pad{end}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [end, end + gap]}
            parts.append(bytes(gap))
            end += gap
        entries[name] = {
            "dtype": BY_NUMPY[x.dtype.name].file,
            "shape": list(x.shape),
            "data_offsets": [end, end + x.nbytes],
        }
        parts.append(x.tobytes())
        end += x.nbytes
    if header:
        entries = header(entries) or entries
    head = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    head += b" " * (-(len(head) + 8) % 64)
    return struct.pack("<Q", len(head)) + head + b"".join(parts)


class Handle:
    """An open plan."""

    def __init__(self, call, *keep):
        plan, why = ffi.new("pcx_plan **"), ffi.new("char[]", 300)
        code = call(plan, why, 300)
        text = ffi.string(why).decode("utf-8", "replace")
        if code:
            assert plan[0] == ffi.NULL and text and "\n" not in text
            raise Refused(code, text)
        assert not text
        self.c = ffi.gc(plan[0], lib.pcx_plan_free)
        self.keep = keep

    def session(self, threads=1):
        return Session(self, threads)


def load(path, cpu=None):
    return Handle(lambda *out: lib.pcx_plan_load(str(path).encode(), cpu_mask() if cpu is None else cpu, *out))


def parse(data, cpu=None):
    raw = np.frombuffer(data, np.uint8)
    copy = native.aligned(raw.shape, np.uint8, raw)
    pointer = ffi.cast("void *", copy.ctypes.data)
    mask = cpu_mask() if cpu is None else cpu
    return Handle(lambda *out: lib.pcx_plan_open(pointer, len(data), mask, *out), copy)


def build(graph, tensors, cpu=None):
    text = (graph if isinstance(graph, str) else json.dumps(graph)).encode()
    rows, keep = ffi.new("pcx_tensor[]", max(len(tensors), 1)), []
    for row, (name, x) in zip(rows, tensors.items()):
        x = native.aligned(x.shape, x.dtype, x)
        parts = [x, ffi.new("char[]", name.encode()), ffi.new("size_t[]", [*x.shape, 0])]
        keep += parts
        row.name, row.shape, row.rank = parts[1], parts[2], x.ndim
        row.dtype, row.bytes, row.data = (
            BY_NUMPY[x.dtype.name].code,
            x.nbytes,
            ffi.cast("void *", x.ctypes.data),
        )
    mask = cpu_mask() if cpu is None else cpu
    return Handle(lambda *out: lib.pcx_plan_build(text, len(text), rows, len(tensors), mask, *out), keep, rows)


class Session:
    def __init__(self, plan, threads):
        self.plan = plan
        self.c = ffi.gc(lib.pcx_session_new(plan.c, threads), lib.pcx_session_free)

    def run(self, inputs, program=0, seconds=ffi.NULL):
        """The outputs, as arrays."""
        count = lib.pcx_plan_outputs(self.plan.c, program)
        ports = [lib.pcx_plan_output(self.plan.c, program, i) for i in range(count)]
        outputs = [np.full([p.shape[i] for i in range(p.rank)], 77, BY_CODE[p.dtype].numpy) for p in ports]
        code = self.call(program, inputs, outputs, seconds)
        assert code == lib.PCX_OK, code
        return outputs

    def call(self, program, inputs, outputs, seconds=ffi.NULL):
        sides = [
            ffi.new("void *[]", [ffi.cast("void *", x.ctypes.data) for x in side] or 1) for side in (inputs, outputs)
        ]
        return lib.pcx_session_run(self.c, program, *sides, seconds)


SIZES = {
    "m": 5,
    "n": 17,
    "k": 9,
    "b": 1,
    "ih": 5,
    "iw": 4,
    "c": 9,
    "g": 4,
    "t": 3,
    "h": 9,
}  # where an example has no sizes of its own


def example(name, rng):
    """Random arguments of a kernel, small, as a dict."""
    make = module(name).example
    needed = [
        n for n, p in inspect.signature(make).parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    ][1:]
    return dict(zip(getattr(kernels, name).spec.by_name, make(rng, *(SIZES[n] for n in needed))))


def port(name, x):
    return {"name": name, "dtype": WORD[x.dtype.name], "shape": list(x.shape)}


def program_of(name, args, variable=()):
    """One kernel call as (graph, tensors, inputs): what is written is output, `variable` input, the rest constant."""
    spec = getattr(kernels, name).spec
    values = dict(zip(spec.by_name, args.values() if isinstance(args, dict) else args))
    sizes = spec.bind(values)
    tensors, inputs, outputs, slots = {}, {}, {}, []
    for slot, arg in spec.slots:
        x = values.get(slot) if arg else None
        if arg is None or arg.kind == "size":
            slots.append(sizes[slot])
        elif x is None:
            slots.append(None)
        else:
            side, region = (outputs, 3) if slot in spec.outputs else (inputs, 2) if slot in variable else (tensors, 1)
            side[slot] = span(x)
            slots.append([region, len(side) - 1, 0])
    program = {
        "inputs": [port(n, x) for n, x in inputs.items()], "outputs": [port(n, x) for n, x in outputs.items()],
        "arena": 0, "steps": [[0, *slots]],
    }  # fmt: skip
    version = int(getattr(native, name).c.version)
    graph = {"format": 1, "kernels": [[name, version]], "tensors": list(tensors), "programs": [program]}
    return graph, tensors, list(inputs.values())


def span(x):
    """The elements from the first of `x` to its last, as they lie in memory."""
    if x.flags.c_contiguous:
        return x
    reach = sum((d - 1) * s for d, s in zip(x.shape, x.strides)) // x.itemsize + 1 if x.size else 0
    return np.lib.stride_tricks.as_strided(x, (reach,), (x.itemsize,))


def two_products() -> tuple[dict, dict]:
    """The graph and the tensors of a good plan: x . w -> arena, then arena . w2 -> y."""
    rng = np.random.default_rng(0)
    pack = module("sgemm").pack
    tensors = {
        "w": pack(rng.standard_normal((N, K), np.float32)),
        "w2": pack(rng.standard_normal((3, N), np.float32)),
        "bias": rng.standard_normal(N, np.float32),
        "params": np.zeros(2, np.float32),
    }
    first = [M, K, K, [2, 0, 0], N, K * 16, [1, 0, 0], [1, 2, 0], 0, [1, 3, 0], 0, None, N, [0, 0, 64]]
    second = [M, N, N, [0, 0, 64], 3, N * 16, [1, 1, 0], None, 0, [1, 3, 0], 0, None, 3, [3, 0, 0]]
    program = {
        "inputs": [{"name": "x", "dtype": "f32", "shape": [M, K]}],
        "outputs": [{"name": "y", "dtype": "f32", "shape": [M, 3]}],
        "arena": 64 + M * N * 4,
        "steps": [[0, *first], [0, *second]],
    }
    return {"format": 1, "kernels": [["sgemm", 1]], "tensors": list(tensors), "programs": [program]}, tensors


def refused(graph, *words, tensors=None, code=lib.PCX_BAD_PLAN):
    """Hold the plan of `graph` to be refused with `code` and a message that has all `words`."""
    with pytest.raises(Refused) as caught:
        build(graph, tensors or two_products()[1]).session()
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value), str(caught.value)
