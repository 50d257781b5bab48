"""MatMul and Gemm against onnxruntime."""

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycompress as pc
from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

few = settings(max_examples=30, deadline=None, derandomize=True)
size = st.integers(1, 20)


@few
@given(size, size, size, st.booleans())
def test_matmul_of_broadcast_batches(m, k, n, constant):
    rng = np.random.default_rng(0)
    for a, b in [
        ((m, k), (k, n)),
        ((k,), (k, n)),
        ((m, k), (k,)),
        ((k,), (k,)),
        ((3, m, k), (k, n)),
        ((2, 1, m, k), (3, k, n)),
        ((k,), (2, k, n)),
        ((2, m, k), (k,)),
    ]:
        check("MatMul", {"a": floats(rng, *a), "b": floats(rng, *b)}, ("b",) if constant else (), atol=1e-4)


@pytest.mark.parametrize(
    "a,b", [((40, 5, 7), (40, 7, 9)), ((3, 16, 5, 1), (16, 1, 9)), ((2, 3, 64, 4, 8), (3, 1, 8, 6)), ((600, 2, 3), (3, 4)),
            ((4, 3), (64, 3, 5)), ((33, 1, 1, 5), (2, 5, 4))],
)  # fmt: skip
@pytest.mark.parametrize("constant", [(), ("a",), ("b",)])
def test_matmul_of_many_small_matrices(a, b, constant):
    rng = np.random.default_rng(0)
    check("MatMul", {"a": floats(rng, *a), "b": floats(rng, *b)}, constant, atol=1e-4)


def test_the_products_of_a_large_batch_are_one_step_and_heads_that_lie_apart_a_few():
    a, b = np.zeros((80, 80, 4, 8), np.float32), np.zeros((80, 80, 8, 4), np.float32)
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 17]>
        g (float[80,80,4,8] a, float[80,80,8,4] b, float[2,50,40,8] q) => (float[80,80,4,4] y, float[2,40,50,50] z) {
            y = MatMul(a, b)
            heads = Transpose<perm = [0, 2, 1, 3]>(q)
            keys = Transpose<perm = [0, 2, 3, 1]>(q)
            z = MatMul(heads, keys)
        }""")
    q = np.random.default_rng(0).standard_normal((2, 50, 40, 8)).astype(np.float32)
    session = pc.InferenceSession(model)
    _, z = session.run(None, {"a": a, "b": b, "q": q})
    assert [row["kernel"] for row in session.explain()] == ["matmul", "matmul", "matmul", "permute"]  # z to the output
    np.testing.assert_allclose(z, np.einsum("bshd,bthd->bhst", q, q), rtol=1e-4, atol=1e-4)


@few
@given(size, size, size, st.data())
def test_gemm(m, k, n, data):
    rng = np.random.default_rng(0)
    ta, tb = data.draw(st.booleans()), data.draw(st.booleans())
    alpha, beta = (data.draw(st.sampled_from([1.0, 0.5, -2.0])) for _ in range(2))
    c = data.draw(st.sampled_from([None, (), (1,), (n,), (1, n), (m, 1), (m, n)]))
    inputs = {
        "a": floats(rng, *((k, m) if ta else (m, k))),
        "b": floats(rng, *((n, k) if tb else (k, n))),
        "c": None if c is None else floats(rng, *c) if c else np.array(0.5, np.float32),
    }
    constants = data.draw(st.sampled_from([(), ("b",), ("b", "c"), ("c",)]))
    check("Gemm", inputs, constants, transA=int(ta), transB=int(tb), alpha=alpha, beta=beta, atol=1e-4)


@pytest.mark.parametrize("op,a,b,words", [("MatMul", (2, 3), (4, 5), "do not multiply"), ("MatMul", (), (4, 5), "dimension"),
                                          ("Gemm", (2, 3), (4, 5), "do not multiply"), ("Gemm", (2,), (2, 5), "matrices")])  # fmt: skip
def test_what_does_not_multiply_is_refused_by_name(op, a, b, words):
    inputs = {"a": np.zeros(a, np.float32), "b": np.zeros(b, np.float32)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, inputs), inputs)
