import numpy as np
import pytest
from onnx import TensorProto, helper

import pycompress as pc
from prunable import images, small
from pycompress.compress.calibration.samples import Samples, feeds

X = images(4)


def two_inputs():
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("a", "b", "y")]
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    graph = helper.make_graph(nodes, "g", infos[:2], infos[2:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Reader:
    """As onnxruntime's CalibrationDataReader."""

    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        return next(self.samples, None)


class Tensor:
    """As torch's: an array to NumPy, no ndarray."""

    def __init__(self, x):
        self.x, self.dtype, self.shape = x, "torch.float32", x.shape

    def __array__(self, dtype=None, copy=None):
        return self.x


FORMS = {
    "one array": lambda: X,
    "a list of arrays": lambda: list(X[:, None]),
    "a list of single images": lambda: list(X),
    "a generator": lambda: (x[None] for x in X),
    "dicts": lambda: [{"input": x[None]} for x in X],
    "a dict of arrays": lambda: {"input": X},
    "a reader": lambda: Reader([{"input": x[None]} for x in X]),
    "pairs with labels": lambda: [(x[None], i) for i, x in enumerate(X)],
    "pairs of single images": lambda: [(x, np.int64(i)) for i, x in enumerate(X)],
    "lists as a DataLoader has them": lambda: [
        [Tensor(X[:2]), Tensor(np.arange(2))],
        [Tensor(X[2:]), Tensor(np.arange(2))],
    ],
    "pairs of a dict and a label": lambda: [({"input": x[None]}, 0) for x in X],
    "nested lists": lambda: [x[None].tolist() for x in X],
    "batches": lambda: [X[:3], X[3:]],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_of_calibration_gives_the_same_samples(form):
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    got = list(feeds(model, FORMS[form]()))
    assert [set(x) for x in got] == [{"input"}] * 4
    np.testing.assert_array_equal(np.concatenate([x["input"] for x in got]), X)


def test_parts_are_taken_for_the_inputs_in_their_order_and_the_label_is_left_out():
    a, b = np.ones((1, 2), "f4"), np.zeros((1, 2), "f4")
    for sample in ((a, b), [a, b], (a, b, 7), ((a, b), 7), {"a": a, "b": b}, ({"b": b, "a": a}, np.array([7]))):
        (got,) = feeds(two_inputs(), [sample])
        assert got["a"] is not None and (got["a"] == 1).all() and (got["b"] == 0).all()


def test_rows_of_an_input_in_a_list_are_one_sample():
    model = two_inputs()
    del model.graph.input[1]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    (got,) = feeds(model, [[np.ones(2, "f4"), np.zeros(2, "f4")]])
    np.testing.assert_array_equal(got["a"], [[1, 1], [0, 0]])


def test_a_spent_generator_is_refused_in_words():
    def samples():
        yield from X[:, None]

    given = samples()
    pc.quantize(small(), given)
    with pytest.raises(ValueError, match="the generator is spent; a generator or an iterator gives its samples once"):
        pc.quantize(small(), given)
    for spent in (iter([]), map(np.asarray, []), Reader([])):
        with pytest.raises(ValueError, match="no samples; a generator or an iterator gives its samples once"):
            Samples(small(), spent)
    with pytest.raises(ValueError, match="no samples$"):
        Samples(small(), [])


@pytest.mark.parametrize(
    "calibration, message",
    [
        ([(X[:1], X[:1], X[:1])], "sample 0 has 3 parts"),
        ([{"other": X[:1]}], r"sample 0 has \['other'\]"),
        ({"other": X}, "must be an iterable of samples"),
        ({"input": 3}, "must be an iterable of samples"),
        ("photos", "must be an iterable of samples, got str"),
        ([X[:1].astype(float)], "must be float32, sample 0 is float64"),
        ([X[:1], X[:1, :, :5]], r"must have shape \[\?, 3, .*, sample 1 has"),
        ([X[:1], X[:0]], "'input' is empty in sample 1"),
    ],
)
def test_what_does_not_fit_is_named(calibration, message):
    with pytest.raises(ValueError, match=message):
        list(feeds(small(), calibration))
    if isinstance(calibration, dict) and "other" in calibration:
        with pytest.raises(ValueError, match="different numbers of samples"):
            list(feeds(two_inputs(), {"a": np.ones((2, 2), "f4"), "b": np.ones((3, 2), "f4")}))


def test_one_element_of_any_shape_is_a_scalar():
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
        for n, shape in (("x", [1, 2]), ("s", []), ("y", [1, 2]))
    ]
    model = helper.make_model(
        helper.make_graph([helper.make_node("Mul", ["x", "s"], ["y"])], "g", infos[:2], infos[2:])
    )
    given = [{"x": np.ones((1, 2), np.float32), "s": np.full(shape, 2, np.float32)} for shape in ((), 1, (1, 1))]
    assert [feed["s"].shape for feed in feeds(model, given)] == [()] * 3
