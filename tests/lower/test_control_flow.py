"""If, Loop and Scan against onnxruntime."""

import numpy as np
import pytest
from onnx import parser

import pycompress as pc
from oracle import floats, ort_outputs, ours, same
from pycompress.errors import ModelError
from pycompress.lower import load, value_inputs


def model(text, opset=18):
    """A model from ONNX's text form."""
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')


def agree(text, feed, opset=18):
    """Run here and by onnxruntime, and compare; returns the outputs."""
    made = model(text, opset)
    got, _ = ours(made, feed)
    same(got, ort_outputs(made, feed))
    return got


@pytest.fixture
def rng():
    return np.random.default_rng(0)


POSITIVE = """g (float[2,3] x) => (float[2,3] y) {
    total = ReduceSum <keepdims = 0> (x)
    zero = Constant <value = float {0}> ()
    positive = Greater (total, zero)
    y = If (positive) <
        then_branch = a () => (float[2,3] t) { t = Mul (x, total) },
        else_branch = b () => (float[2,3] e) { n = Neg (x)  e = Softmax (n) }>
}"""


def test_a_condition_from_run_time_data_chooses_between_both_branches(rng):
    x = abs(floats(rng, 2, 3))
    for feed in ({"x": x}, {"x": -x}):
        agree(POSITIVE, feed)
    session = pc.InferenceSession(model(POSITIVE))
    same(session.run(None, {"x": x}), [x * x.sum()])
    assert "decided at run time" in " ".join(row["reason"] for row in session.explain())


def test_it_runs_from_a_saved_plan(rng, tmp_path):
    pc.compile(model(POSITIVE)).save(tmp_path / "a.plan.safetensors")
    session = pc.InferenceSession(tmp_path / "a.plan.safetensors")
    x = abs(floats(rng, 2, 3))
    for feed in ({"x": x}, {"x": -x}):
        same(session.run(None, feed), ort_outputs(model(POSITIVE), feed))


def test_branches_of_other_shapes_or_types_are_refused(rng):
    text = POSITIVE.replace("e = Softmax (n)", "e = ReduceSum <keepdims = 0> (n)").replace("[2,3] e", " e")
    with pytest.raises(
        ModelError, match=r"\(If\): its condition is only known at run time, and output 'y' is f32\[2, 3\] or f32"
    ):
        ours(model(text), {"x": floats(rng, 2, 3)})
    whole = POSITIVE.replace("e = Softmax (n)", "e = Cast <to = 7> (n)").replace("float[2,3] e", "int64[2,3] e")
    with pytest.raises(ModelError, match=r"\(If\): output 'y' is float in then_branch and int64 in else_branch"):
        ours(model(whole), {"x": floats(rng, 2, 3)})
    known = text.replace("positive = Greater (total, zero)", "positive = Constant <value = bool[1] {0}> ()")
    agree(known, {"x": floats(rng, 2, 3)})
    silent = POSITIVE.replace("e = Softmax (n)", "e = Cast <to = 7> (n)")  # declares float, as the other
    with pytest.raises(ModelError, match=r"is f32\[2, 3\] or i64\[2, 3\]"):
        ours(model(silent), {"x": floats(rng, 2, 3)})


def test_conditions_that_are_not_one_bool_are_refused(rng):
    many = POSITIVE.replace("Greater (total, zero)", "Greater (x, zero)")
    with pytest.raises(ModelError, match=r"cond must be one bool, got bool\[2, 3\]"):
        ours(model(many), {"x": floats(rng, 2, 3)})


RATE = """g (float[n] x, int64 rate) => (float[m] y) {
    high = Constant <value = int64 {16000}> ()
    fast = Equal (rate, high)
    slow = Not (fast)
    y = If (slow) <
        then_branch = a () => (float[m] t) { t = Concat <axis = 0> (x, x) },
        else_branch = b () => (float[m] e) { e = Exp (x) }>
}"""


def test_an_input_that_is_compared_with_a_constant_says_which_branch_is_planned(rng):
    session, x = pc.InferenceSession(model(RATE)), floats(rng, 5)
    for rate, length, kernels in ((16000, 5, {"unary"}), (8000, 10, {"permute"}), (16000, 5, {"unary"})):
        (y,) = session.run(None, {"x": x, "rate": np.array(rate)})
        assert y.shape == (length,) and {row["kernel"] for row in session.explain()} == kernels


def test_inputs_of_many_numbers_or_floats_are_never_planned_for():
    assert value_inputs(load(model(RATE))) == {"rate"}
    assert value_inputs(load(model(RATE.replace("int64 rate", "int64[4] rate")))) == set()
    assert value_inputs(load(model(RATE.replace("Equal (rate, high)", "Less (rate, high)")))) == set()
    assert value_inputs(load(model(POSITIVE))) == set()


def test_branches_within_branches_read_the_names_around_them(rng):
    text = """g (float[2,3] x, float[1] s) => (float[2,3] y) {
        zero = Constant <value = float[1] {0}> ()
        positive = Greater (s, zero)
        y = If (positive) <
            then_branch = a () => (float[2,3] t) {
                one = Constant <value = float[1] {1}> ()
                large = Greater (s, one)
                inner = Add (x, one)
                t = If (large) <
                    then_branch = c () => (float[2,3] u) { u = Mul (inner, s) },
                    else_branch = d () => (float[2,3] v) { v = Identity (inner) }>
            },
            else_branch = b () => (float[2,3] e) { e = Identity (x) }>
    }"""
    for s in (-1, 0.5, 3):
        agree(text, {"x": floats(rng, 2, 3), "s": np.array([s], np.float32)})


LOOP = """g (float[2] x) => (float[2] last, float[k,2] all) {
    count = Constant <value = int64 {5}> ()
    go = Constant <value = bool {1}> ()
    last, all = Loop (count, go, x) <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w, float[2] s) {
        d = Identity (c)
        f = Cast <to = 1> (i)
        plus = Add (v, f)
        w = Mul (plus, x)
        s = Tanh (w)
    }>
}"""


def test_a_loop_of_known_length_is_unrolled(rng):
    y = agree(LOOP, {"x": floats(rng, 2)})
    assert y[1].shape == (5, 2)


def test_a_loop_ends_when_its_condition_is_known_to_be_false(rng):
    text = LOOP.replace("d = Identity (c)", "three = Constant <value = int64 {2}> ()  d = Less (i, three)")
    assert agree(text, {"x": floats(rng, 2)})[1].shape == (3, 2)
    endless = text.replace("Loop (count, go, x)", 'Loop ("", go, x)').replace(
        "count = Constant <value = int64 {5}> ()", ""
    )
    endless = endless.replace('Loop ("", go', "Loop (, go")
    assert agree(endless, {"x": floats(rng, 2)})[1].shape == (3, 2)


def test_a_loop_may_grow_what_it_carries(rng):
    text = """g (float[2] x) => (float[m] y) {
        count = Constant <value = int64 {3}> ()
        y = Loop (count, , x) <body = b (int64 i, bool c, float[k] v) => (bool d, float[l] w) {
            d = Identity (c)
            w = Concat <axis = 0> (v, x)
        }>
    }"""
    assert agree(text, {"x": floats(rng, 2)})[0].shape == (8,)


def test_a_loop_that_ends_at_run_time_keeps_what_it_carried(rng):
    text = """g (float[2] x, float limit) => (float[2] y) {
        count = Constant <value = int64 {6}> ()
        go = Constant <value = bool {1}> ()
        y = Loop (count, go, x) <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) {
            w = Add (v, v)
            sum = ReduceSum <keepdims = 0> (w)
            d = Less (sum, limit)
        }>
    }"""
    for limit in (-100, 1, 5, 20, 1000):
        agree(text, {"x": np.array([0.5, 0.25], np.float32), "limit": np.array(limit, np.float32)})
    scans = LOOP.replace("d = Identity (c)", "sum = ReduceSum <keepdims = 0> (v)  d = Less (sum, sum)")
    with pytest.raises(
        ModelError, match=r"\(Loop\): how often it runs is only known at run time, and so is the length"
    ):
        ours(model(scans), {"x": floats(rng, 2)})


def test_a_loop_that_never_runs(rng):
    text = LOOP.replace("int64 {5}", "int64 {0}")
    assert agree(text, {"x": floats(rng, 2)})[1].shape == (0, 2)
    with pytest.raises(ModelError, match="never runs, and its graph does not say which shape 's' has"):
        ours(model(text.replace("float[2] s)", "float[q] s)")), {"x": floats(rng, 2)})


@pytest.mark.parametrize("times,said", [(5000, "this one 5000 times"), (2**62, "no more than 4096 times in all")])
def test_loops_that_run_too_often_are_refused_quickly(rng, times, said):
    text = LOOP.replace("int64 {5}", f"int64 {{{times}}}").replace("w = Mul (plus, x)", "w = Identity (v)")
    text = text.replace("s = Tanh (w)", "s = Identity (v)").replace("plus = Add (v, f)", "")
    with pytest.raises(ModelError, match=rf"\(Loop\): loops are unrolled, .*{said}"):
        ours(model(text), {"x": floats(rng, 2)})


def test_a_loop_without_an_end_that_is_known_says_so_at_once(rng):
    text = """g (float[2] x, float limit) => (float[2] y) {
        go = Constant <value = bool {1}> ()
        y = Loop (, go, x) <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) {
            w = Add (v, v)
            sum = ReduceSum <keepdims = 0> (w)
            d = Less (sum, limit)
        }>
    }"""
    feed = {"x": floats(rng, 2), "limit": np.array(1, np.float32)}
    with pytest.raises(ModelError, match=r"\(Loop\): it is a loop whose condition .* no M says how often"):
        ours(model(text), feed)
    endless = text.replace("Loop (,", "Loop (m,").replace(
        "go = C", f"m = Constant <value = int64 {{{2**63 - 1}}}> ()  go = C"
    )
    with pytest.raises(ModelError, match="no M says how often"):
        ours(model(endless), feed)


def test_how_often_a_loop_runs_may_be_an_input_but_not_a_result(rng):
    text = LOOP.replace("g (float[2] x)", "g (float[2] x, int64 count)").replace(
        "count = Constant <value = int64 {5}> ()", ""
    )
    session = pc.InferenceSession(model(text))
    for count in (1, 4):
        feed = {"x": floats(rng, 2), "count": np.array(count)}
        same(session.run(None, feed), ort_outputs(model(text), feed))
    computed = LOOP.replace("count = Constant <value = int64 {5}> ()", "count = ArgMax <keepdims = 0> (x)")
    with pytest.raises(ModelError, match="'M' must be known when planning"):
        ours(model(computed), {"x": floats(rng, 2)})


SCAN = """g (float[2] h, float[4,2] x, float[2,4,3] z) => (float[2] last, float[a,b] one, float[c,d,e] two) {
    last, one, two = Scan <num_scan_inputs = 2, ATTRIBUTES body = b (float[2] s, float[2] u, float[2,3] v) =>
            (float[2] n, float[2] p, float[2,3] q) {
        n = Add (s, u)
        p = Mul (n, u)
        axis = Constant <value = int64[1] {1}> ()
        m = Unsqueeze (n, axis)
        q = Add (v, m)
    }> (h, x, z)
}"""


@pytest.mark.parametrize(
    "attributes",
    [
        "scan_input_axes = [0, 1],",
        "scan_input_axes = [0, -2], scan_input_directions = [1, 0],",
        "scan_input_axes = [0, 1], scan_output_axes = [1, 2], scan_output_directions = [0, 1],",
    ],
)
def test_scan(rng, attributes):
    feed = {"h": floats(rng, 2), "x": floats(rng, 4, 2), "z": floats(rng, 2, 4, 3)}
    agree(SCAN.replace("ATTRIBUTES", attributes), feed)


def test_scans_that_do_not_fit_are_refused(rng):
    feed = {"h": floats(rng, 2), "x": floats(rng, 4, 2), "z": floats(rng, 2, 4, 3)}
    for attributes, said in (
        ("scan_input_axes = [0, 2],", r"its inputs have lengths \[3, 4\]"),
        ("scan_input_axes = [0, 3],", "axis 3 does not fit"),
        ("scan_input_axes = [0],", "must have 2 values"),
        ("scan_input_axes = [0, 1], scan_output_axes = [5, 0],", "axis 5 does not fit 'p'"),
    ):
        with pytest.raises(ModelError, match=rf"\(Scan\): .*{said}"):
            ours(model(SCAN.replace("ATTRIBUTES", attributes)), feed)
    with pytest.raises(ModelError, match="'num_scan_inputs' = 4 does not fit"):
        ours(model(SCAN.replace("ATTRIBUTES", "").replace("inputs = 2", "inputs = 4")), feed)


def test_a_loop_around_a_recurrent_layer_and_a_branch(rng):
    text = """g (float[3,1,4] x, float[1,8,4] W, float[1,8,8] R) => (float[1,1,8] y) {
        count = Constant <value = int64 {3}> ()
        zero = Constant <value = float {0}> ()
        start = Constant <value_float = 0.5> ()
        shape = Constant <value = int64[3] {1, 1, 8}> ()
        h = Expand (start, shape)
        y = Loop (count, , h) <body = b (int64 i, bool c, float[1,1,8] v) => (bool d, float[1,1,8] w) {
            d = Identity (c)
            a, n = RNN <hidden_size = 8> (x, W, R, , , v)
            sum = ReduceSum <keepdims = 0> (n)
            up = Greater (sum, zero)
            w = If (up) <
                then_branch = t () => (float[1,1,8] p) { p = Neg (n) },
                else_branch = e () => (float[1,1,8] q) { q = Identity (n) }>
        }>
    }"""
    agree(text, {"x": floats(rng, 3, 1, 4), "W": floats(rng, 1, 8, 4), "R": floats(rng, 1, 8, 8)})
