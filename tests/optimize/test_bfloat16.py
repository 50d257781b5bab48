"""Float products of operands rounded to bfloat16: what has them, what is said of it, and how far off the answers are."""

import json
from functools import partial

import numpy as np
import pytest
from ml_dtypes import bfloat16
from onnx import helper

import pycompress as pc
from half_models import network, to_half
from interpret import interpret
from oracle import as_model
from pycompress import native, zoo
from pycompress._pcx import lib
from pycompress.cpu import LEVELS
from pycompress.lower import load, lower
from pycompress.optimize import optimize, place, verify
from pycompress.pack import pack

ASKED = "products of operands rounded to bfloat16, as asked"


@pytest.fixture(scope="module")
def mobilenet():
    """A small MobileNetV2, an image, and its logits in float32."""
    model = zoo.mobilenetv2(width=0.35, resolution=64, classes=100)
    x = np.random.default_rng(2).integers(0, 256, (1, 3, 64, 64)).astype(np.float32) / 128 - 1
    return model, x, run(model, x)[0]


def run(model, x, cpu=None, **options):
    plan = pc.compile(model, cpu=cpu, **options)
    session = pc.InferenceSession(plan)
    return session.run(None, {session.get_inputs()[0].name: x})[0], session.explain()


@pytest.mark.parametrize("cpu", [level for level, bits in LEVELS.items() if not bits & ~lib.pcx_cpu()])
def test_a_network_s_logits_are_within_3_percent_of_their_range(mobilenet, cpu):
    model, x, expected = mobilenet
    got, rows = run(model, x, cpu, float_products="bfloat16")
    assert 0 < abs(got - expected).max() <= 0.03 * np.ptp(expected)
    kernels = {row["kernel"] for row in rows}
    assert {"bgemm", "bconv", "dwconv"} <= kernels and not kernels & {"sgemm", "sconv"}


class On:
    """The kernels, those of rounded operands on one instruction set."""

    def __init__(self, isa):
        self.isa = isa

    def __getattr__(self, name):
        kernel = getattr(native, name)
        return partial(kernel, isa=self.isa) if name in ("bgemm", "bconv") else kernel


@pytest.mark.parametrize("isa", native.bgemm.impls())
def test_every_instruction_set_s_products_give_such_logits(isa):
    model = zoo.mobilenetv2(width=0.35, resolution=32, classes=50)
    x = np.random.default_rng(2).integers(0, 256, (1, 3, 32, 32)).astype(np.float32) / 128 - 1
    expected = run(model, x)[0]
    (got,), program = interpret(model, {"input": x}, kernels=On(isa), float_products="bfloat16")
    assert {"bgemm", "bconv"} <= {step.kernel for step in program.steps}
    assert 0 < abs(got - expected).max() <= 0.03 * np.ptp(expected)


def test_explain_says_what_was_rounded_and_why_other_products_were_not(mobilenet):
    model, x, _ = mobilenet
    for row in run(model, x, float_products="bfloat16")[1]:
        if row["kernel"] in ("bgemm", "bconv"):
            assert row["reason"].endswith(ASKED)
        elif row["kernel"] == "dwconv":
            assert row["reason"].endswith("products in float32: dwconv has no kernel for bfloat16")
        else:
            assert "bfloat16" not in row["reason"]


def test_fused_activations_and_residuals_stay_in_the_product(mobilenet):
    model, x, _ = mobilenet
    single, rounded = run(model, x)[1], run(model, x, float_products="bfloat16")[1]
    assert [r["node"] for r in rounded] == [r["node"] for r in single]
    twins = {"sgemm": "bgemm", "sconv": "bconv"}
    assert [r["kernel"] for r in rounded] == [twins.get(r["kernel"], r["kernel"]) for r in single]
    program = lower(load(model), {"input": (1, 3, 64, 64)})
    optimize(program, float_products="bfloat16")
    steps = [s for s in program.steps if s.kernel == "bgemm"]
    assert any(s.args["residual"] is not None for s in steps) and any(s.args["act"] for s in steps)


def test_nothing_is_rounded_unasked(mobilenet):
    model, x, expected = mobilenet
    got, rows = run(model, x, float_products="float32")
    assert got.tobytes() == expected.tobytes() and not any("bfloat16" in r["reason"] for r in rows)
    assert "float_products" not in pc.compile(model).provenance


@pytest.mark.parametrize("word", ["float16", "bf16", "", None, 16])
def test_other_words_are_refused_with_those_that_are_not(mobilenet, word):
    with pytest.raises(ValueError, match="float_products must be one of float32, bfloat16, got"):
        pc.compile(mobilenet[0], float_products=word)


def test_a_plan_says_so_and_keeps_weights_at_16_bits(mobilenet, tmp_path):
    model, x, _ = mobilenet
    plan = pc.compile(model, float_products="bfloat16")
    plan.save(tmp_path / "b.plan.safetensors")
    assert plan.nbytes < 0.6 * pc.compile(model).nbytes
    loaded = pc.Plan.load(tmp_path / "b.plan.safetensors")
    assert loaded.provenance["float_products"] == "bfloat16"
    assert {"bgemm", "bconv"} <= {name for name, _ in json.loads(loaded.metadata["pycompress"])["kernels"]}
    first, again = (pc.InferenceSession(p).run(None, {"input": x})[0] for p in (plan, loaded))
    assert first.tobytes() == again.tobytes()


def test_any_number_of_threads_gives_the_same_bytes(mobilenet):
    model, x, _ = mobilenet
    plan = pc.compile(model, float_products="bfloat16")
    one, *others = [pc.InferenceSession(plan, pc.SessionOptions(t)).run(None, {"input": x})[0] for t in (1, 2, 3)]
    assert all(one.tobytes() == other.tobytes() for other in others)


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3_small"])
def test_every_pass_keeps_the_program_whole(name):
    model = load(zoo.build(name, width=0.35, resolution=64, classes=10, batch=None))
    program = lower(model, {model.graph.input[0].name: (2, 3, 64, 64)})
    optimize(program, after=verify, float_products="bfloat16")
    pack(program, model.packed)
    verify(program, place(program)[0])


def test_products_of_half_models_are_rounded_where_asked():
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    (expected, _), half = run(network(), x), to_half(network())
    got, rows = run(half, x.astype(np.float16), float_products="bfloat16")
    assert {r["kernel"] for r in rows if r["node"] in ("gemm", "matmul", "point")} == {"bgemm"}
    assert abs(got - expected).max() < 0.02 * np.ptp(expected)


def product(w, x):
    """y = x . w, both constants or inputs as their names say."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    return as_model(nodes, {"x": x, "w": w}, ["y"], () if w is None else ("w",))


def test_a_product_is_that_of_its_rounded_operands():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 37)).astype(np.float32), rng.standard_normal((37, 21)).astype(np.float32)
    got, _ = run(product(w, x), x, float_products="bfloat16")
    want = x.astype(bfloat16).astype(np.float64) @ w.astype(bfloat16).astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_weights_that_bfloat16_cannot_hold_stay_float32():
    x, w = np.ones((2, 4), np.float32), np.ones((4, 8), np.float32)
    w[2, 3] = 3.4e38
    (row,) = run(product(w, x), x, float_products="bfloat16")[1]
    assert row["kernel"] == "sgemm"
    assert row["reason"].endswith("products in float32: bfloat16 cannot hold the weights")


def test_weights_made_at_run_time_stay_float32():
    x, w = np.ones((2, 3, 4), np.float32), np.ones((2, 4, 8), np.float32)
    model = as_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": x, "w": w}, ["y"])
    session = pc.InferenceSession(pc.compile(model, float_products="bfloat16"))
    (y,) = session.run(None, {"x": x, "w": w})
    assert (y == 4).all() and "bgemm" not in {r["kernel"] for r in session.explain()}
    for row in session.explain():
        assert row["kernel"] != "sgemm" or row["reason"].endswith("the weights are made at run time")


def test_sparse_products_stay_float32_and_say_so():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((20, 64)).astype(np.float32), rng.standard_normal((64, 64)).astype(np.float32)
    w[rng.random(w.shape) < 0.9] = 0
    (row,) = run(product(w, x), x, float_products="bfloat16", sparse=True)[1]
    assert row["kernel"] in ("spmm", "bspmm") and "has no kernel for bfloat16" in row["reason"]
    (row,) = run(product(w, x), x, float_products="bfloat16", sparse=False)[1]
    assert row["kernel"] == "bgemm"


def test_thin_factors_are_two_products_then():
    rng = np.random.default_rng(0)
    x, u, v = (rng.standard_normal(s).astype(np.float32) for s in ((64, 96), (96, 8), (8, 96)))
    nodes = [helper.make_node("MatMul", ["x", "u"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    model = as_model(nodes, {"x": x, "u": u, "v": v}, ["y"], ("u", "v"))
    assert [r["kernel"] for r in run(model, x)[1]] == ["lowrank"]
    assert [r["kernel"] for r in run(model, x, float_products="bfloat16")[1]] == ["bgemm", "bgemm"]


def test_a_session_on_a_model_takes_the_option(mobilenet):
    model, x, _ = mobilenet
    options = pc.SessionOptions(float_products="bfloat16")
    session = pc.InferenceSession(model, options)
    (got,) = session.run(None, {"input": x})
    assert got.tobytes() == run(model, x, float_products="bfloat16")[0].tobytes()
    assert {"bgemm", "bconv"} <= {r["kernel"] for r in session.explain()}
    with pytest.raises(ValueError, match="float_products must be one of float32, bfloat16, got 'int8'"):
        options.float_products = "int8"
    with pytest.raises(TypeError, match="float_products"):
        options.float_products = 16


def test_a_session_on_a_plan_takes_it_where_the_plan_was_compiled_so(mobilenet):
    options = pc.SessionOptions(float_products="bfloat16")
    pc.InferenceSession(pc.compile(mobilenet[0], float_products="bfloat16"), options)
    with pytest.raises(ValueError, match="this plan was compiled without bfloat16; compile the model with"):
        pc.InferenceSession(pc.compile(mobilenet[0]), options)


def test_plans_for_further_shapes_share_the_rounded_weights():
    model = zoo.mobilenetv2(width=0.35, resolution=64, classes=10, batch=None)
    shapes = [(1, 3, 64, 64), (2, 3, 64, 64)]
    both = pc.compile(model, input_shapes=shapes, float_products="bfloat16")
    one = pc.compile(model, input_shapes=shapes[0], float_products="bfloat16")
    assert len(both._tensors) == len(one._tensors)
