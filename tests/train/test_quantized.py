import copy
import json
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import pycompress as pc  # noqa: E402
from pycompress import kernels, zoo  # noqa: E402
from pycompress.train import Twin  # noqa: E402
from pycompress.train.acc16 import Bounds  # noqa: E402
from pycompress.train.fake import REACH, Activation, Step, Weight  # noqa: E402
from pycompress.train.schedule import Optimizers, Training  # noqa: E402

WAYS = {
    "int8": {"accumulate": 4},
    "int8 of full range": {"target": "vnni"},
    "int4": {"weights": 4, "rounding": "plain"},
    "int4 with zero points": {"weights": 4, "rounding": "plain", "zero_points": True, "first_last": 4},
    "int4 per channel": {"weights": 4, "rounding": "plain", "group_size": None},
}
every = pytest.mark.parametrize("way", WAYS)


def images(count=8):
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32), np.float32)


@cache
def quantized(way="int8", name="mobilenetv2"):
    model = zoo.build(name, width=0.25, resolution=32, batch=None, classes=10)
    return pc.quantize(model, images(), **WAYS[way])


def answer(model, x=None):
    return pc.InferenceSession(model).run(None, {"input": images() if x is None else x})[0]


def train(twin, count=3):
    x, labels = torch.from_numpy(images()), torch.arange(8) % 4
    optimizer, losses = torch.optim.Adam(twin.parameters(), 2e-3), []
    twin.train()
    for _ in range(count):
        loss = torch.nn.functional.cross_entropy(twin(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    twin.eval()
    return losses


def tensors(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("way, name", [*((way, "mobilenetv2") for way in WAYS), ("int8", "mobilenetv3_small")])
def test_a_twin_that_was_not_trained_leaves_as_it_came(way, name):
    model = quantized(way, name)
    left = Twin(model).onnx()
    for key, value in tensors(model).items():
        assert np.array_equal(tensors(left)[key], value), key
    assert len(left.graph.node) == len(model.graph.node)
    np.testing.assert_array_equal(answer(left), answer(model))


@every
def test_training_lowers_the_loss_and_leaves_integers(way):
    twin = Twin(quantized(way))
    losses = train(twin, 8)
    assert losses[-1] < losses[0]
    before, after = tensors(quantized(way)), tensors(twin.onnx())
    assert {n: x.dtype for n, x in before.items()} == {n: x.dtype for n, x in after.items()}
    changed = [n for n in before if not np.array_equal(before[n], after[n])]
    assert any(n.endswith((".i8", ".i4", ".u4")) for n in changed) and any(n.endswith("out.scale") for n in changed)
    assert not any(n.endswith("zero_point") for n in changed)
    with torch.no_grad():
        mine = twin(torch.from_numpy(images())).numpy()
    expected = answer(twin.onnx())
    assert np.square(mine - expected).mean() < 0.03 * expected.var()


def depths(model):
    """The accumulation depth of each layer with int8 weights."""
    found = {}
    for layer in Twin(model).layers:
        w = tensors(model)[layer.weight]
        if w.dtype != np.int8:
            continue
        if layer.kind == "depthwise":
            found[layer.node] = int(
                kernels.module("qdwconv").accumulation_depth(w.reshape(len(w), -1), w.shape[2:]).min()
            )
        else:
            cells = int(np.prod(w.shape[2:]))
            rows = w.reshape(len(w), -1, cells).transpose(0, 2, 1).reshape(len(w), -1)
            found[layer.node] = int(kernels.module("qgemm").accumulation_depth(rows, cells).min())
    return found


def test_int16_accumulation_still_holds_after_training():
    model, twin = quantized(), Twin(quantized())
    for layer in twin.layers:
        with torch.no_grad():
            layer.parameter.mul_(3)  # far beyond the bounds
    train(twin, 2)
    before, after = depths(model), depths(twin.onnx())
    assert all(before.values())
    told = json.loads({p.key: p.value for p in model.metadata_props}["pycompress.accumulate"])
    assert all(after[n] >= told.get(n, 7) for n in before)
    assert all(one.bounds is None for one in Twin(quantized("int8 of full range")).quantization.weights.values())


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("cells", [1, 9])
def test_codes_within_the_bounds_are_near_the_wanted_ones(depth, cells):
    rng = np.random.default_rng(0)
    shape = (16, 13, 3, 3) if cells == 9 else (16, 70, 1, 1)
    q = torch.from_numpy(np.clip(np.rint(rng.standard_normal(shape) * 50), -127, 127).astype(np.float32))
    bounds = Bounds("Conv", 0, shape, depth, False)
    fitted = bounds(q)
    rows = bounds.rows_of(fitted).numpy().astype(np.int8)
    assert kernels.module("qgemm").fits(rows, depth, cells).all()
    assert torch.equal(bounds(fitted), fitted)
    assert (fitted.abs() <= q.abs()).all() and (fitted * q >= 0).all()
    total = fitted.abs().sum() / q.abs().sum()
    assert total > {1: 0.97, 2: 0.95, 4: 0.6, 8: 0.3}[depth]


def test_depthwise_codes_stay_within_their_bounds():
    q = torch.from_numpy(np.random.default_rng(0).integers(-127, 128, (32, 1, 5, 5)).astype(np.float32))
    fitted = Bounds("Conv", 0, q.shape, 7, True)(q)
    assert kernels.module("qdwconv").fits(fitted.reshape(32, -1).numpy().astype(np.int8), 7, (5, 5)).all()


def test_masked_weights_have_the_code_of_zero():
    for way in ("int8", "int4 with zero points"):
        twin = Twin(quantized(way))
        layer = [layer for layer in twin.layers if layer.pointwise][2]
        twin.masks[layer.weight] = torch.rand_like(layer.parameter) < 0.4
        train(twin, 2)
        model = twin.onnx()
        codes = tensors(model)[layer.weight].astype(int)
        zero = twin.quantization.weight(layer.weight)
        zero = zero.spread(zero.zero).expand(codes.shape).numpy()
        assert (codes == zero)[twin.masks[layer.weight].numpy() == 0].all()


def test_half_scales_stay_half():
    twin = Twin(quantized("int4"))
    train(twin)
    kinds = {t.name: t.data_type for t in twin.onnx().graph.initializer}
    assert TensorProto.FLOAT16 in kinds.values() and TensorProto.INT4 in kinds.values()
    assert "q4gemm" in str(pc.InferenceSession(twin.onnx()).explain())


def test_rearranged_tensors_share_a_step():
    twin = Twin(quantized())
    train(twin, 4)
    held = tensors(twin.onnx())
    assert held["pool.out.scale"] == held["flatten.out.scale"]
    assert held["pool.out.scale"] != tensors(quantized())["pool.out.scale"]


def test_codes_can_be_kept():
    twin = Twin(quantized()).eval()
    _, kept = twin(torch.from_numpy(images()), keep=["stem.act.out.u8"])
    codes = kept["stem.act.out.u8"]
    assert codes.dtype == torch.int32 and codes.min() >= 0 and 100 < codes.max() <= 255


def test_steps_have_a_group_of_their_own():
    twin = Twin(quantized())
    groups = twin.groups()
    assert sum(map(len, groups.values())) == len(list(twin.parameters())) and not groups["norms"]
    assert len(groups["steps"]) == len(twin.quantization.activations) + len(twin.layers)


def test_a_trained_state_loads():
    twin, other = Twin(quantized()), Twin(quantized())
    train(twin)
    other.load_state_dict(twin.state_dict())
    assert other.onnx().SerializeToString() == twin.onnx().SerializeToString()


def test_a_copy_trains_apart():
    twin = Twin(quantized())
    other = copy.deepcopy(twin)
    before = twin.onnx().SerializeToString()
    train(other, 2)
    assert twin.onnx().SerializeToString() == before != other.onnx().SerializeToString()


def test_scales_of_one_tensor_under_two_names_stay_equal():
    model = onnx.ModelProto()
    model.CopyFrom(quantized())
    node = next(n for n in model.graph.node if n.name == "stem.act.out.dequantize")
    again = onnx.TensorProto()
    again.CopyFrom(next(t for t in model.graph.initializer if t.name == node.input[1]))
    again.name = node.input[1] = "the same scale"
    model.graph.initializer.append(again)
    twin = Twin(model)
    train(twin)
    held = tensors(twin.onnx())
    assert held["the same scale"] == held["stem.act.out.scale"] != tensors(model)["stem.act.out.scale"]


def test_a_verdict_on_other_weights_is_dropped():
    keys = {p.key for p in Twin(quantized()).onnx().metadata_props}
    assert keys == {p.key for p in quantized().metadata_props} - {"pycompress.verdict"}


def test_gradients_are_those_of_learned_step_sizes():
    x = torch.tensor([[-0.4, 0.26, 1.9, 90.0]], requires_grad=True)
    one = Activation(torch.tensor(0.5), 10, 0, 20)  # codes -10 to 10 about the zero point
    y = one(x)
    assert torch.equal(y.detach(), torch.tensor([[-0.5, 0.5, 2.0, 5.0]]))
    y.sum().backward()
    assert x.grad.tolist() == [[1, 1, 1, 0]]
    by_step = (-1 + 0.8) + (1 - 0.52) + (4 - 3.8) + 10
    assert one.step.exponent.grad.item() == pytest.approx(by_step / (0.5 * (4 * 20) ** 0.5), rel=1e-5)


def test_weights_in_groups_have_steps_of_their_own():
    w = torch.tensor([[1.0, 2.0, 30.0, 40.0, 0.5]])
    one = Weight(w.shape, torch.tensor([[0.5, 10.0, 0.25]]), torch.zeros(1, 3), -8, 7, 1, 2, False, None)
    assert one(w).tolist() == [[1, 2, 30, 40, 0.5]]
    assert one.codes(w).tolist() == [[2, 4, 3, 4, 2]]
    one(w).sum().backward()
    assert one.step.exponent.grad.shape == (1, 3)


def test_rounding_that_cannot_be_trained_is_named():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="odd", axis=1),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], axis=1),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy"]
    values = [numpy_helper.from_array(np.ones(2, np.float32), "s")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports[:1], ports[1:], values), opset_imports=[helper.make_opsetid("", 21)]
    )
    onnx.checker.check_model(model)
    with pytest.raises(NotImplementedError, match=r"node 'odd' \(QuantizeLinear\)"):
        Twin(model)


def test_steps_cannot_run_away():
    step = Step(torch.tensor([0.1, 0.2]), 4.0)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.step = step

        def groups(self):
            return {"weights": [], "biases": [], "norms": [], "steps": [step.exponent]}

    other = torch.nn.Linear(1, 1)
    for sign, optimizer in ((1, "sgd"), (-1, "adamw")):
        training = Training(optimizer=optimizer, rate=50.0, epochs=1)
        each = Optimizers([Model(), other], training)
        for _ in range(5):
            each.zero_grad()
            (sign * step().sum()).backward()
            each.set_rate(50.0)
            each.step()
        assert step().tolist() == pytest.approx([0.1 * REACH**-sign, 0.2 * REACH**-sign])
    step.exponent.data.fill_(float("nan"))
    Step.bound([step.exponent])
    assert step.exponent.isnan().all(), "what is no number is not hidden"
