"""With ``--arm=max``: integer plans of all networks of the zoo, in full size, give the same bytes on x86 and, under qemu-user, on AArch64."""

from functools import partial

import numpy as np
import pytest

import pycompress as pc
from pycompress import zoo

MACHINES = {  # CPUs of qemu, and the instruction sets that they are lowered to
    "max": ("scalar", "neon", "dotprod", "i8mm"),
    "cortex-a76": ("scalar", "dotprod"),
    "cortex-a72": ("scalar", "neon"),
}
FORMS = {
    "int8": pc.quantize,
    "int8 of full range": partial(pc.quantize, target="vnni"),
    "4 bits": partial(pc.quantize, weights=4, rounding="plain"),
    "zeros in 1x4": lambda model, data, **options: pc.quantize(
        pc.prune(model, 0.75, pattern="1x4"), data, target="vnni", **options
    ),
    "low rank": lambda model, data, **options: pc.quantize(pc.factorize(model, ratio=0.5), data, **options),
}


@pytest.mark.filterwarnings("ignore:quantize. the outputs")  # random weights, 4 bits: what is compared are bytes
@pytest.mark.parametrize("library", ["arm"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", zoo.names())
def test_integer_plans_give_the_same_bytes_on_every_instruction_set(name, form, library, tmp_path, request):
    if not request.config.getoption("--arm"):
        pytest.skip("needs --arm")
    import arm

    x, *data = np.random.default_rng(0).standard_normal((3, 1, 3, 224, 224)).astype(np.float32)
    path = tmp_path / "plan.safetensors"
    pc.compile(FORMS[form](zoo.build(name, resolution=224), data, quantize_outputs=True), sparse=True).save(path)
    np.save(tmp_path / "x.npy", x)
    (want,) = pc.InferenceSession(pc.Plan.load(path, cpu="scalar")).run(None, {"input": x})
    assert len(np.unique(want)) > 10
    (here,) = pc.InferenceSession(pc.Plan.load(path, cpu="avx2")).run(None, {"input": x})
    np.testing.assert_array_equal(here, want, "avx2")
    for cpu, isas in MACHINES.items():
        for isa in isas:
            np.testing.assert_array_equal(arm.run_plan(tmp_path, cpu, f"2:{isa}"), want, f"{isa} on {cpu}")
