"""Low-rank pairs become one step, where it pays, and change no result."""

import numpy as np
import pytest
from onnx import helper

import pycompress as pc
from interpret import interpret
from oracle import as_model, floats, ort_outputs, ours, same
from pycompress import native, zoo
from pycompress.lower import load, lower
from pycompress.optimize import optimize
from qdq import Builder

K, R, N = 33, 9, 40


def conv(rng, x, y, n, k, bias=True):
    return helper.make_node("Conv", [x, f"{y}w", *[f"{y}b"] * bias], [y]), {
        f"{y}w": floats(rng, n, k, 1, 1), f"{y}b": floats(rng, n),
    }  # fmt: skip


def gemm(rng, x, y, n, k, bias=True):
    return helper.make_node("Gemm", [x, f"{y}w", *[f"{y}b"] * bias], [y], transB=1), {
        f"{y}w": floats(rng, n, k), f"{y}b": floats(rng, n),
    }  # fmt: skip


def matmul(rng, x, y, n, k, bias=True):
    return helper.make_node("MatMul", [x, f"{y}w"], [y]), {f"{y}w": floats(rng, k, n)}


SHAPES = {conv: (1, K, 7, 8), gemm: (56, K), matmul: (2, 28, K)}


def run(nodes, constants, x, outputs=("y",)):
    """Check against onnxruntime and against the steps unfused; returns the kernels and reasons."""
    used = {n for node in nodes for n in node.input}
    constants = {n: v for n, v in constants.items() if n in used}
    model = as_model(nodes, {"x": x} | constants, list(outputs), tuple(constants), 17)
    plain, _ = ours(model, {"x": x}, optimized=False)
    fused, program = ours(model, {"x": x})
    same(fused, plain, 1e-4, 1e-4)
    same(fused, ort_outputs(model, {"x": x}), 1e-4, 1e-4)
    steps = [s for s in program.steps if s.kernel != "permute"]
    return [s.kernel for s in steps], [s.reason for s in steps]


def two(make, m=None, r=R, n=N, bias=True):
    rng = np.random.default_rng(r)
    shape = SHAPES[make] if m is None else (m, K)
    first, a = make(rng, "x", "h", r, K, bias)
    second, b = make(rng, "h", "y", n, r, bias)
    return first, second, a | b, floats(rng, *shape)


@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("make", SHAPES)
def test_two_products_in_a_row_become_one_step(make, bias):
    first, second, constants, x = two(make, bias=bias)
    kernels, reasons = run([first, second], constants, x)
    assert kernels == ["lowrank"] and f"rank {R}" in reasons[0]


@pytest.mark.parametrize("make", (gemm, matmul))
def test_with_what_joined_them_before(make):
    first, second, constants, x = two(make, n=K)
    nodes = [first, helper.make_node("Relu", ["h"], ["hr"]), second]
    nodes[2].input[0] = "hr"
    nodes += [helper.make_node("Add", ["y", "x"], ["z"]), helper.make_node("Relu", ["z"], ["out"])]
    assert run(nodes, constants, x, ["out"])[0] == ["lowrank"]


@pytest.mark.parametrize("m,r,n", [(47, 9, 40), (56, 33, 40), (56, 9, 8), (56, 20, 33)])
def test_few_rows_and_ranks_that_save_nothing_stay_two_steps(m, r, n):
    first, second, constants, x = two(gemm, m, r, n)
    assert run([first, second], constants, x)[0] == ["sgemm", "sgemm"]


def test_what_somebody_else_reads_stays():
    first, second, constants, x = two(gemm)
    assert run([first, second], constants, x, ["y", "h"])[0].count("sgemm") == 2
    again = [first, second, helper.make_node("Sigmoid", ["h"], ["s"])]
    assert run(again, constants, x, ["y", "s"])[0].count("sgemm") == 2


def test_a_reshape_that_makes_other_rows_of_them_stays():
    first, second, constants, x = two(gemm, 112, 8, 40)
    second.input[0] = "flat"
    nodes = [first, helper.make_node("Reshape", ["h", "to"], ["flat"]), second]
    constants |= {"to": np.array([56, 16]), "yw": floats(np.random.default_rng(0), 40, 16)}
    assert run(nodes, constants, x)[0] == ["sgemm", "sgemm"]


@pytest.mark.parametrize("name", zoo.names())
def test_ordinary_networks_have_no_such_pairs(name):
    model = load(zoo.build(name, resolution=64))
    program = lower(model, {"input": (1, 3, 64, 64)})
    optimize(program)
    assert not {s.kernel for s in program.steps} & {"lowrank", "qlowrank"}


# ---- int8 ----


def quantized(rng, between=False, w_type=np.int8, per_channel=True, zero=0, after=None, bias=True, size=7):
    """x -> Q, DQ -> two 1x1 convolutions with int8 weights (-> after) -> Q, DQ, and its weights in float64."""
    g = Builder(rng)
    offset = 128 if w_type == np.uint8 else 0

    def factor(x, n, k):
        channels = (n,) if per_channel else ()
        codes = np.clip(rng.normal(0, 30, (n, k, 1, 1)).round(), -128, 127).astype(int)
        scale = (rng.uniform(0.5, 1.5, channels) / 30 / np.sqrt(k)).astype(np.float32)
        zeros = np.full(channels, offset + zero, w_type)
        w = g.codes((codes + offset).astype(w_type), scale, zeros)
        b = rng.normal(0, 0.3, n).astype(np.float32)
        real = (codes - zero)[:, :, 0, 0] * scale.reshape(-1, 1).astype(np.float64)
        return g.op("Conv", x, w, *[g.constant(b)] * bias, kernel_shape=[1, 1]), (real, b * bias)

    x = g.quantize("x", 0.03, np.uint8(120))
    h, first = factor(x, R, K)
    if between:
        h = g.quantize(h, 0.04, np.uint8(128))
    y, second = factor(h, N, R)
    if after:
        y = g.op(after, y)
    y = g.quantize(y, 0.05, np.uint8(130))
    return g.model((K, size, size + 1), y), (first, second)


def kernels_of(model, x):
    program = lower(load(model), {"x": x.shape})
    optimize(program)
    return [s.kernel for s in program.steps if s.kernel != "permute"], program


def image(rng, size=7):
    return rng.normal(0, 1, (1, K, size, size + 1)).astype(np.float32)


@pytest.mark.parametrize("w_type", (np.int8, np.uint8))
@pytest.mark.parametrize("per_channel", (False, True))
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("after", (None, "Relu", "HardSwish"))
def test_nothing_between_int8_factors_keeps_16_bits(w_type, per_channel, bias, after):
    rng = np.random.default_rng(3)
    model, ((w, b), (v, c)) = quantized(rng, w_type=w_type, per_channel=per_channel, after=after, bias=bias)
    x = image(rng)
    kernels, program = kernels_of(model, x)
    assert kernels[:2] == ["quantize", "qlowrank"] and not {"sgemm", "qgemm"} & set(kernels)
    step = next(s for s in program.steps if s.kernel == "qlowrank")
    assert f"rank {R}, its {R} results rounded to 16 bits" in step.reason
    if after != "HardSwish":
        assert "to uint8" in step.reason
    codes = np.clip(np.rint(x / np.float32(0.03)) + 120, 0, 255) - 120
    rows = codes.astype(np.float64).reshape(K, -1).T * 0.03
    exact = ((rows @ w.T + b) @ v.T + c).T.reshape(1, N, *x.shape[2:])
    if after:
        exact = np.maximum(exact, 0) if after == "Relu" else exact * np.clip(exact / 6 + 0.5, 0, 1)
    wanted = (np.clip(np.rint(exact / 0.05) + 130, 0, 255) - 130) * 0.05
    (got,), _ = interpret(model, {"x": x})
    assert abs(got - wanted).max() < 0.0501  # one code
    assert (abs(got - wanted) > 0.01).mean() < 0.01


def test_every_thread_count_and_instruction_set_answers_the_same():
    rng = np.random.default_rng(4)
    model, _ = quantized(rng, size=20)
    x = image(rng, 20)
    answers = set()
    for threads in (1, 2, 3):
        for cpu in native.qlowrank.impls():
            plan = pc.compile(model, input_shapes={"x": x.shape}, cpu=cpu)
            session = pc.InferenceSession(plan, pc.SessionOptions(intra_op_num_threads=threads))
            answers.add(session.run(None, {"x": x})[0].tobytes())
    (expected,), _ = interpret(model, {"x": x})
    assert answers == {expected.tobytes()}


def test_codes_between_int8_factors_stay_as_the_file_says():
    model, _ = quantized(np.random.default_rng(5), between=True)
    assert kernels_of(model, image(np.random.default_rng(0)))[0][:3] == ["quantize", "qgemm", "qgemm"]


def test_weights_with_zero_points_stay_in_two_steps():
    model, _ = quantized(np.random.default_rng(6), zero=3)
    assert "qlowrank" not in kernels_of(model, image(np.random.default_rng(0)))[0]


def test_strict_takes_the_pair_for_compressed():
    model, _ = quantized(np.random.default_rng(7))
    plan = pc.compile(model, input_shapes={"x": (1, K, 7, 8)}, strict=True)
    assert "qlowrank" in str(pc.InferenceSession(plan).explain())


def test_scales_along_the_rank_stay_in_two_steps():
    rng = np.random.default_rng(8)
    g = Builder(rng)
    x = g.quantize("x", 0.03, np.uint8(120))
    w = g.codes(rng.integers(-99, 99, (R, K, 1, 1)).astype(np.int8), np.full(R, 0.01), np.zeros(R, np.int8))
    v = g.codes(
        rng.integers(-99, 99, (N, R, 1, 1)).astype(np.int8), rng.uniform(0.01, 0.02, R), np.zeros(R, np.int8), 1
    )
    h = g.op("Conv", x, w, kernel_shape=[1, 1])
    model = g.model((K, 7, 8), g.op("Conv", h, v, kernel_shape=[1, 1]))
    assert kernels_of(model, image(rng))[0][-2:] == ["qgemm", "sgemm"]
