"""With ``--arm=CPU``: saved plans, run by ``examples/run_plan.c`` for AArch64 under qemu-user, give the bytes that the portable kernels give here."""

import numpy as np
import pytest

import pycompress as pc
from integer_networks import NETWORKS, network


@pytest.mark.parametrize("library", ["arm"])
@pytest.mark.parametrize("name", NETWORKS)
def test_integer_plans_of_the_zoo_give_the_same_bytes(name, library, tmp_path, request):
    if not request.config.getoption("--arm"):
        pytest.skip("needs --arm")
    import arm

    model, x, want = network(name)
    cpu, _, _ = request.config.getoption("--arm").partition(":")
    pc.compile(model, sparse=True).save(tmp_path / "plan.safetensors")
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_array_equal(arm.run_plan(tmp_path, cpu, "2"), want)
