"""Integer plans give the same bytes on every instruction set, run here or in the emulator, and on 1 to 3 threads."""

import numpy as np
import pytest
from emulator import emulator, why_not

import pycompress as pc
from pycompress import zoo
from pycompress._pcx import ffi, lib
from pycompress.cpu import LEVELS

SIZE = 32
CPUS = ("avx2", "avxvnni", "avx512vnni", "avx512vbmi", "amx")
RAN = {
    "avxvnni": "avxvnni",
    "avx512vnni": "avx512vnni",
    "avx512vbmi": "avx512vbmi",
    "amx": "amx",
}  # a row that must run


def samples(model):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32) for _ in range(2)]


def networks():
    """Integer networks by name."""
    v1, v2 = (build(width=0.25, resolution=SIZE, classes=20) for build in (zoo.mobilenetv1, zoo.mobilenetv2))
    v3 = zoo.mobilenetv3_small(width=0.5, resolution=SIZE, classes=20)
    return {
        "v1": pc.quantize(v1, samples(v1), quantize_outputs=True),
        "v2, full range of weights": pc.quantize(v2, samples(v2), target="vnni", quantize_outputs=True),
        "v3": pc.quantize(v3, samples(v3), quantize_outputs=True),
        "v1, zeros in 1x4": pc.quantize(pc.prune(v1, 0.75, pattern="1x4"), samples(v1), quantize_outputs=True),
        "v1, 4 bits": pc.quantize(v1, samples(v1), weights=4, rounding="plain", quantize_outputs=True),
        "v2, low rank": pc.quantize(pc.factorize(v2, ratio=0.5), samples(v2), quantize_outputs=True),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The networks' plans, with an input and what the portable kernels answer."""
    folder, found = tmp_path_factory.mktemp("plans"), {}
    for name, model in networks().items():
        plan = pc.compile(model, sparse=True, int4_activations="dynamic")
        path = folder / f"{name}.plan.safetensors".replace(" ", "_")
        plan.save(path)
        x = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
        found[name] = path, x, answer(path, x, 0, 1)[0]
    return found


def answer(path, x, cpu: int, threads: int, emulated: bool = False):
    """(the first output's bytes, the instruction sets of all steps) of a plan opened for these PCX_* bits."""

    def call(function, *args):
        if not emulated:
            return function(*args)
        address = int(ffi.cast("uintptr_t", ffi.addressof(lib, function.__name__)))
        values = [a if isinstance(a, int) else int(ffi.cast("uintptr_t", a)) for a in args]
        return emulator().call(address, *values) & 0xFFFFFFFF

    plan, why = ffi.new("pcx_plan **"), ffi.new("char[256]")
    name = ffi.new("char[]", str(path).encode())
    assert not call(lib.pcx_plan_load, name, cpu, plan, why, 256), ffi.string(why)
    steps = lib.pcx_plan_steps(plan[0], 0)
    isas = {ffi.string(lib.pcx_plan_step_isa(plan[0], 0, i)).decode() for i in range(steps)}
    session = lib.pcx_session_new(plan[0], threads)
    out = np.full(lib.pcx_plan_output(plan[0], 0, 0).bytes, 77, np.uint8)
    inputs = ffi.new("void *[]", [ffi.from_buffer(x)])
    outputs = ffi.new("void *[]", [ffi.from_buffer(out)])
    assert not call(lib.pcx_session_run, session, 0, inputs, outputs, ffi.NULL)
    lib.pcx_session_free(session)
    lib.pcx_plan_free(plan[0])
    return out.tobytes(), isas


@pytest.mark.parametrize("cpu", [c for c in CPUS if not LEVELS[c] & ~lib.pcx_cpu()])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_integer_plans_give_the_same_bytes_on_any_number_of_threads(files, cpu, threads):
    for name, (path, x, want) in files.items():
        assert answer(path, x, LEVELS[cpu], threads)[0] == want, name


@pytest.mark.parametrize("cpu", [c for c in CPUS if LEVELS[c] & ~lib.pcx_cpu()])
def test_integer_plans_give_the_same_bytes_on_instruction_sets_that_are_emulated(files, cpu):
    if why_not():
        pytest.skip(why_not())
    ran = set()
    for name, (path, x, want) in files.items():
        got, isas = answer(path, x, LEVELS[cpu], 1, emulated=True)
        assert got == want, name
        ran |= isas
    assert RAN[cpu] in ran
