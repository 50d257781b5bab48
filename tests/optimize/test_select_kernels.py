"""Dense or sparse: what is chosen, what is said of it, and that the answers are the same."""

import numpy as np
import onnx
import pytest
from onnx import helper

import pycompress as pc
from oracle import as_model, ort_outputs
from pycompress import zoo
from pycompress.optimize.costs import LISTED, Costs, curves
from pycompress.optimize.select_kernels import share

M, K, N = 20, 36, 40
CHEAP, DEAR = 1e-6, 1.0
AVX2 = dict.fromkeys(LISTED, "avx2")


def table(**seconds):
    """A table in which a product of any density takes as long as is given, by kernel."""
    return Costs(AVX2, "a test", {f: curves([(M, K, N, 1.0, s)]) for f, s in seconds.items()})


FAVOUR = {
    "spmm": table(sgemm=DEAR, spmm=CHEAP, bspmm=DEAR),
    "bspmm": table(sgemm=DEAR, spmm=DEAR, bspmm=CHEAP),
    "sgemm": table(sgemm=CHEAP, spmm=DEAR, bspmm=DEAR),
}


def pruned(rng, n=N, k=K, block=(1, 1), kept=0.2):
    w = rng.standard_normal((n, k), np.float32)
    blocks = rng.random((-(-n // block[0]), -(-k // block[1]))) < kept
    return w * np.kron(blocks, np.ones(block, np.float32))[:n, :k]


def products(rng, relu=True, **options):
    """x -> MatMul -> Add -> Relu -> Gemm with a residual, weights pruned."""
    w, bias, w2 = pruned(rng, **options), rng.standard_normal(N, np.float32), pruned(rng, N, N)
    x = rng.standard_normal((M, K), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Add", ["h", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["t"], name="second"),
        helper.make_node("Add", ["t", "r"], ["y"]),
    ]
    given = {"x": x, "w": np.ascontiguousarray(w.T), "b": bias, "w2": np.ascontiguousarray(w2.T)}
    return as_model(nodes, given, ["y"], ("w", "b", "w2")), x


def run(model, x, **options):
    session = pc.InferenceSession(pc.compile(model, **options))
    return session.run(None, {session.get_inputs()[0].name: x})[0], session.explain()


@pytest.mark.parametrize("kernel", FAVOUR)
@pytest.mark.parametrize("block", [(1, 1), (16, 1)])
def test_the_cheapest_kernel_is_taken_and_answers_as_onnxruntime(kernel, block):
    model, x = products(np.random.default_rng(0), block=block)
    got, rows = run(model, x, costs=FAVOUR[kernel])
    np.testing.assert_allclose(got, ort_outputs(model, {"x": x})[0], rtol=1e-4, atol=1e-4)
    assert [r["kernel"] for r in rows] == [kernel, kernel]
    assert all("% zeros" in r["reason"] for r in rows)


def test_a_sparse_layer_keeps_bias_activation_and_residual_in_one_step():
    model, x = products(np.random.default_rng(1))
    _, rows = run(model, x, costs=FAVOUR["spmm"])
    assert len(rows) == 2


def test_asked_for_dense_or_sparse_it_is_so():
    model, x = products(np.random.default_rng(2))
    assert {r["kernel"] for r in run(model, x, sparse=False)[1]} == {"sgemm"}
    assert {r["kernel"] for r in run(model, x, sparse=True, costs=FAVOUR["sgemm"])[1]} <= {"spmm", "bspmm"}
    with pytest.raises(ValueError, match="sparse must be"):
        pc.compile(model, sparse="often")


def test_a_layer_that_stays_dense_says_from_when_on_it_would_not():
    model, x = products(np.random.default_rng(3))
    costs = Costs(AVX2, "a test", {
        "sgemm": curves([(M, K, N, 1.0, 1e-6)]), "spmm": curves([(M, K, N, 0.0, 1e-9), (M, K, N, 1.0, 2e-5)]),
        "bspmm": curves([(M, K, N, 1.0, 1e-3)]),
    })  # fmt: skip
    reasons = [r["reason"] for r in run(model, x, costs=costs)[1]]
    assert all("but dense: unstructured is faster from 9" in r for r in reasons)


def test_weights_without_zeros_are_left_alone():
    model, x = products(np.random.default_rng(4), kept=1.1)
    rows = run(model, x, costs=FAVOUR["spmm"])[1]
    assert rows[0]["kernel"] == "sgemm" and "zeros" not in rows[0]["reason"]


def test_convolutions_with_zeros_say_that_there_is_no_sparse_kernel():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, 3, 8, 8), np.float32)
    w = rng.standard_normal((4, 3, 3, 3), np.float32) * (rng.random((4, 3, 3, 3)) < 0.2)
    model = as_model([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": x, "w": w.astype(np.float32)}, ["y"], ("w",))
    rows = run(model, x)[1]
    assert any("zeros, but sconv has no sparse kernel" in r["reason"] for r in rows)


@pytest.mark.parametrize("threads", [1, 3])
def test_sparse_integers_answer_with_the_bytes_of_dense_ones(threads):
    model = zoo.mobilenetv2(width=0.35, resolution=48, classes=10)
    rng = np.random.default_rng(6)
    for tensor in model.graph.initializer:
        w = onnx.numpy_helper.to_array(tensor)
        if w.ndim == 4 and w.shape[2:] == (1, 1):
            zeros = pruned(rng, *w.shape[:2], block=(1, 4), kept=0.3) == 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.where(zeros[..., None, None], 0, w), tensor.name))
    x = rng.standard_normal((4, 3, 48, 48), np.float32)
    model = pc.quantize(model, x)
    options = pc.SessionOptions(intra_op_num_threads=threads)
    answers, kernels = [], []
    for sparse in (False, True):
        session = pc.InferenceSession(pc.compile(model, sparse=sparse), options)
        answers.append(session.run(None, {"input": x[:1]})[0])
        kernels.append([r["kernel"] for r in session.explain()])
    np.testing.assert_array_equal(*answers)
    assert "qspmm" in kernels[1] and "qspmm" not in kernels[0]


def test_a_sparse_plan_is_smaller_and_runs_from_its_file(tmp_path):
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal((M, 512), np.float32), pruned(rng, 512, 512, kept=0.1)
    model = as_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": x, "w": np.ascontiguousarray(w.T)}, ["y"], ("w",)
    )
    plans = {sparse: pc.compile(model, sparse=sparse) for sparse in (False, True)}
    for sparse, plan in plans.items():
        plan.save(tmp_path / f"{sparse}.plan.safetensors")
    sizes = [(tmp_path / f"{sparse}.plan.safetensors").stat().st_size for sparse in plans]
    assert sizes[1] < 0.2 * sizes[0]
    got = pc.InferenceSession(tmp_path / "True.plan.safetensors").run(None, {"x": x})[0]
    np.testing.assert_allclose(got, x @ w.T, rtol=1e-4, atol=1e-4)


def test_batches_and_one_row_run_sparse_too():
    rng = np.random.default_rng(8)
    w = pruned(rng, 50, 70)
    for m in (0, 1, 2, 3, 9):
        x = rng.standard_normal((m, 70), np.float32)
        given = {"x": x, "w": np.ascontiguousarray(w.T)}
        model = as_model([helper.make_node("MatMul", ["x", "w"], ["y"])], given, ["y"], ("w",))
        got, rows = run(model, x, sparse=True, costs=FAVOUR["spmm"])
        np.testing.assert_allclose(got, x @ w.T, rtol=1e-4, atol=1e-4)
        assert [r["kernel"] for r in rows] == ["spmm"] or not m


def test_shares_count_ragged_blocks():
    w = np.zeros((17, 5))
    w[16, 4] = 1
    assert share(w, (1, 1)) == 1 / 85
    assert share(w, (16, 1)) == 1 / 10
    assert share(w, (1, 4)) == 1 / 34
    assert share(np.zeros((0, 5)), (1, 4)) == 1.0
