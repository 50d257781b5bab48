"""Twins of recurrent networks and of what reads and writes by indices do what the engine does, and learn."""

import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import pycompress as pc  # noqa: E402
from pycompress.train import Twin  # noqa: E402

RNG = np.random.default_rng(3)


def model_of(nodes, shape, outputs=("y",), **constants):
    """A model of `nodes` from x to `outputs`."""
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    values = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], made, values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def compared(model, x):
    """The twin, whose first output is held to be the engine's."""
    wanted = pc.InferenceSession(model).run(None, {"x": x})[0]
    twin = Twin(model)
    np.testing.assert_allclose(twin(torch.from_numpy(x)).detach().numpy(), wanted, atol=1e-5, rtol=1e-5)
    return twin


def learns(twin, x):
    """Whether each parameter has a gradient, and the trained network leaves as what it has become."""
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    (twin(torch.from_numpy(x)) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())
    optimizer.step()
    wanted = pc.InferenceSession(twin.onnx()).run(None, {"x": x})[0]
    np.testing.assert_allclose(twin(torch.from_numpy(x)).detach().numpy(), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op, gates, more", [
    ("LSTM", 4, {}), ("GRU", 3, {"linear_before_reset": 1}), ("RNN", 1, {}), ("RNN", 1, {"activations": ["Relu"]}),
])  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
def test_recurrent_layers(op, gates, more, direction, bias):
    ways = 2 if direction == "bidirectional" else 1
    if "activations" in more:
        more = {"activations": more["activations"] * ways}
    h, size = 3, 5
    w = {
        "w": RNG.standard_normal((ways, gates * h, size)).astype(np.float32),
        "r": RNG.standard_normal((ways, gates * h, h)).astype(np.float32),
    }
    if bias:
        w["b"] = RNG.standard_normal((ways, 2 * gates * h)).astype(np.float32)
    node = helper.make_node(op, ["x", *w], ["y"], hidden_size=h, direction=direction, **more)
    x = RNG.standard_normal((6, 2, size)).astype(np.float32)
    learns(compared(model_of([node], (6, 2, size), **w), x), x)


def test_states_come_in_and_go_out():
    w = {n: RNG.standard_normal(s).astype(np.float32) for n, s in (("w", (1, 12, 4)), ("r", (1, 12, 3)))}
    states = {n: RNG.standard_normal((1, 2, 3)).astype(np.float32) for n in ("h", "c")}
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["", "last", "cell"], hidden_size=3),
        helper.make_node("Sub", ["last", "cell"], ["y"]),
    ]
    x = RNG.standard_normal((5, 2, 4)).astype(np.float32)
    compared(model_of(nodes, (5, 2, 4), **w, **states), x)


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_torch_with_an_lstm():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = torch.nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True), torch.nn.Linear(12, 3)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    file = io.BytesIO()
    torch.onnx.export(Net().eval(), torch.zeros(2, 7, 4), file, dynamo=False, opset_version=17, input_names=["x"])
    x = RNG.standard_normal((2, 7, 4)).astype(np.float32)
    learns(compared(onnx.load_from_string(file.getvalue()), x), x)


@pytest.mark.parametrize("why, more, inputs", [
    ("peepholes", {}, ["x", "w", "r", "", "", "", "", "p"]), ("sequence_lens", {}, ["x", "w", "r", "", "n"]),
    ("usual activations", {"activations": ["Sigmoid", "Relu", "Tanh"]}, ["x", "w", "r"]),
])  # fmt: skip
def test_what_recurrent_layers_cannot_do_is_said(why, more, inputs):
    constants = {
        "w": np.zeros((1, 8, 2)),
        "r": np.zeros((1, 8, 2)),
        "p": np.zeros((1, 6)),
        "n": np.array([1], np.int32),
    }
    constants = {k: v.astype(np.float32) if v.dtype == float else v for k, v in constants.items() if k in inputs}
    node = helper.make_node("LSTM", inputs, ["y"], hidden_size=2, **more)
    with pytest.raises(NotImplementedError, match=why):
        Twin(model_of([node], (3, 1, 2), **constants))(torch.zeros(3, 1, 2))


AT = np.array([[0, 2], [1, 1], [-1, 0]])
INDEXED = {
    "GatherElements": (["x", "e"], {"axis": 1}), "GatherND": (["x", "at"], {}),
    "ScatterElements": (["x", "e", "u"], {"axis": 1}), "ScatterND": (["x", "at", "v"], {}),
    "ScatterElements, added": (["x", "e", "u"], {"axis": -1, "reduction": "add"}),
    "ScatterElements, the largest": (["x", "e", "u"], {"axis": 1, "reduction": "max"}),
    "ScatterND, added": (["x", "at", "v"], {"reduction": "add"}),
}  # fmt: skip


@pytest.mark.parametrize("case", INDEXED)
def test_indices_read_and_write_as_in_the_engine(case):
    inputs, more = INDEXED[case]
    given = {
        "e": np.array([[0, 1], [2, -1], [1, 2]]),
        "at": AT,
        "u": RNG.standard_normal((3, 2)),
        "v": RNG.standard_normal(3),
    }
    given = {k: v.astype(np.float32) if v.dtype == float else v for k, v in given.items() if k in inputs}
    node = helper.make_node(case.split(",")[0], inputs, ["y"], **more)
    x = RNG.standard_normal((3, 3)).astype(np.float32)
    compared(model_of([node], (3, 3), **given), x)


def test_a_shape_of_one_image_is_kept_where_another_axis_is_as_long_as_the_batch():
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("Reshape", ["t", "s"], ["y"])]
    x = RNG.standard_normal((4, 4)).astype(np.float32)
    compared(model_of(nodes, (4, 4), s=np.array([1, 4, 4])), x)
