"""A NaN among the inputs reaches the same outputs on every instruction set as in the reference, whatever the activation."""

import numpy as np
import pytest

import handmade
from pycompress import kernels, native

NAMES = [
    n
    for n in kernels.NAMES
    if {"act", "act_params"} <= set(getattr(kernels, n).spec.by_name)
    and all(
        t == "f32" for t in (getattr(kernels, n).spec.by_name.get("x") or getattr(kernels, n).spec.by_name["a"]).types
    )
]


@pytest.mark.parametrize("act", range(9))
@pytest.mark.parametrize("name", NAMES)
def test_a_nan_reaches_the_same_outputs_everywhere(name, act):
    spec, values = getattr(kernels, name).spec, handmade.example(name, np.random.default_rng(0))
    data = "x" if "x" in values else "a"
    x = values[data] = values[data].copy()
    x.reshape(-1)[:: max(x.size // 5, 1)] = np.nan
    values["act"], values["act_params"] = act, np.array([-1, 1], np.float32)
    answers = []
    for isa in [None, *getattr(native, name).impls()]:
        out = values["out"] = np.zeros_like(values["out"])
        if isa is None:
            with np.errstate(invalid="ignore"):
                getattr(kernels, name)(**values)
        else:
            getattr(native, name)(**values, isa=isa)
        answers.append(np.isnan(out))
    assert answers[0].any() and spec.outputs == ("out",)
    for isa, answer in zip(getattr(native, name).impls(), answers[1:]):
        np.testing.assert_array_equal(answer, answers[0], isa)
