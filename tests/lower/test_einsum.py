"""Einsum against numpy, and onnxruntime where both agree what is allowed."""

import numpy as np
import pytest

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

CASES = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)]),
    ("bind,bjnd->bnij", [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ("...ij,...jk->...ik", [(2, 3, 4, 5), (2, 3, 5, 6)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i->", [(3,), (3,)]),
    ("ij,ij->ij", [(3, 4), (3, 4)]),
    ("ijk->kji", [(2, 3, 4)]),
    ("ijk->j", [(2, 3, 4)]),
    ("ii->i", [(4, 4)]),
    ("bii->b", [(2, 4, 4)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("ij,kj,kl->il", [(2, 3), (4, 3), (4, 5)]),
    ("abc,cd->abd", [(2, 3, 4), (4, 5)]),
    ("ab,c->a", [(2, 3), (4,)]),
    ("ij,k->ij", [(2, 3), (1,)]),
    ("bij,bjk->bik", [(1, 3, 4), (5, 4, 2)]),  # an extent of 1 broadcasts
    ("ij,jk->ik", [(3, 1), (4, 5)]),
    ("ij,ij->ij", [(2, 3), (1, 3)]),
    ("ij,ij,ij->j", [(1, 3), (2, 1), (2, 3)]),
    ("...ij,...jk->...ik", [(1, 2, 3), (5, 3, 4)]),
    ("i,i->i", [(1,), (0,)]),
]


@pytest.mark.parametrize("equation, shapes", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_any_contraction(equation, shapes, dtype):
    rng = np.random.default_rng(0)
    inputs = {f"x{i}": (3 * floats(rng, *shape)).astype(dtype) for i, shape in enumerate(shapes)}
    got = ours(one_node("Einsum", inputs, equation=equation), inputs)[0][0]
    want = np.einsum(equation, *inputs.values())
    assert got.shape == want.shape and got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("equation, shapes", CASES[:12])
def test_as_onnxruntime_does(equation, shapes):
    rng = np.random.default_rng(0)
    inputs = {f"x{i}": floats(rng, *shape) for i, shape in enumerate(shapes)}
    check("Einsum", inputs, equation=equation)
    check("Einsum", inputs, ("x1",), equation=equation)


def test_a_contraction_of_floats_is_a_matrix_product():
    rng = np.random.default_rng(0)
    inputs = {"a": floats(rng, 3, 4), "w": floats(rng, 5, 4)}
    program = check("Einsum", inputs, ("w",), equation="ij,kj->ik")
    assert "sgemm" in [step.kernel for step in program.steps]


@pytest.mark.parametrize("equation, shapes, words", [
    ("ij,jk->ik", [(3, 4), (5, 6)], "'j' is 4 and 5"),
    ("ij->ik", [(3, 4)], "output"),
    ("ij->ii", [(3, 4)], "output"),
    ("ijk->i", [(3, 4)], "does not fit"),
    ("i->i", [(3, 4)], "does not fit"),
    ("ij,jk->ik", [(3, 4)], "does not fit"),
    ("i0->i", [(3, 4)], "does not fit"),
    ("i..j->i", [(3, 4)], "does not fit"),
])  # fmt: skip
def test_an_equation_that_does_not_fit_is_refused(equation, shapes, words):
    inputs = {f"x{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \(Einsum\): attribute 'equation'.*{words}"):
        ours(one_node("Einsum", inputs, equation=equation), inputs)
