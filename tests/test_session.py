"""Sessions that are used wrongly, from many threads, and in great number."""

import os
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pycompress as pc
from oracle import as_model
from pycompress import zoo


def network():
    """Batch of any size: convolution, mean; the output's type is left open."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["c"], ["y"], "mean", axes=[2, 3], keepdims=0),
    ]
    model = as_model(nodes, {"x": np.zeros((1, 3, 5, 5), np.float32), "w": w}, ["y"], ("w",), opset=13)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def images(count):
    return np.random.default_rng(count).standard_normal((count, 3, 5, 5)).astype(np.float32)


def session(threads=2, **how):
    options = pc.SessionOptions(intra_op_num_threads=threads)
    return pc.InferenceSession(pc.compile(network(), **how) if how else network(), options)


def test_one_element_of_any_shape_is_a_scalar():
    model = as_model(
        [helper.make_node("Mul", ["x", "s"], ["y"])], {"x": np.ones(3, np.float32), "s": np.float32(2)}, ["y"]
    )
    for source in (model, pc.compile(model)):
        session = pc.InferenceSession(source)
        for scale in (np.array(3, np.float32), np.array([3], np.float32), np.array([[3]], np.float32), 3.0, [3.0]):
            assert session.run(None, {"x": np.ones(3, np.float32), "s": scale})[0].tolist() == [3, 3, 3]
        with pytest.raises(pc.errors.InvalidArgument, match="'s'.*shape"):
            session.run(None, {"x": np.ones(3, np.float32), "s": np.ones(2, np.float32)})


def test_undeclared_types_of_outputs_are_inferred():
    model = network()
    (port,) = pc.InferenceSession(model).get_outputs()
    assert (port.name, port.type) == ("y", "tensor(float)")
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.COMPLEX64
    with pytest.raises(pc.ModelError, match="graph output 'y'"):
        pc.InferenceSession(model).get_outputs()


@pytest.mark.parametrize("how", [{}, {"input_shapes": [(1, 3, 5, 5), (2, 3, 5, 5)]}], ids=["model", "plan"])
def test_misuse_is_refused_by_name(how):
    s, x = session(**how), images(2)
    y = np.empty((2, 4), np.float32)
    for feed in ([x], None):
        with pytest.raises(TypeError, match="input_feed"):
            s.run(None, feed)
    for feed in (
        {},
        {"z": x},
        {"x": x, "z": x},
        {"x": x.astype(">f4")},
        {"x": x[0].tolist()},
        {"x": None},
        {"x": x[0]},
    ):
        with pytest.raises(ValueError, match="input"):
            s.run(None, feed)
    for out in ([], [y, y], [None], [y.astype(">f4")], [y.astype(np.float64)], [y[:1]], [np.asfortranarray(y)], [x]):
        with pytest.raises(ValueError, match="out"):
            s.run(None, {"x": x}, out=out)
    with pytest.raises(ValueError, match="all different"):
        s.run(["y", "y"], {"x": x}, out=[y, y.copy()])
    with pytest.raises(ValueError, match="no output 'z'"):
        s.run(["z"], {"x": x})
    with pytest.raises(ValueError, match="runs"):
        s.profile({"x": x}, runs=0)
    (got,) = s.run("y", {"x": x}, out=iter([y]))
    assert got is y


def test_any_memory_layout_of_an_input_gives_the_same_answer():
    s, x = session(), images(2)
    (want,) = s.run(None, {"x": x})
    raw = np.zeros(x.nbytes + 1, np.uint8)
    odd = raw[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    fixed = x.copy()
    fixed.flags.writeable = False
    for same in (np.asfortranarray(x), x[..., ::-1].copy()[..., ::-1], np.repeat(x, 2, 0)[::2], odd, fixed):
        np.testing.assert_array_equal(s.run(None, {"x": same})[0], want)


@pytest.mark.parametrize("how", [{}, {"input_shapes": [(n, 3, 5, 5) for n in range(1, 4)]}], ids=["model", "plan"])
def test_runs_of_different_shapes_from_many_threads_do_not_meet(how):
    s, wrong = session(**how), []
    want = {n: s.run(None, {"x": images(n)})[0] for n in range(1, 4)}

    def work(seed):
        for n in np.random.default_rng(seed).integers(1, 4, 60):
            (y,) = s.run(None, {"x": images(int(n))})
            if not np.array_equal(y, want[n]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_a_dropped_session_ends_its_threads():
    plan = pc.compile(network())
    before = len(os.listdir("/proc/self/task"))
    for _ in range(50):
        pc.InferenceSession(plan, pc.SessionOptions(intra_op_num_threads=3)).run(None, {"x": images(1)})
    assert len(os.listdir("/proc/self/task")) <= before


def test_external_data_is_read_from_plain_files_in_the_given_folder_only(tmp_path):
    model, folder = network(), tmp_path / "models"
    folder.mkdir()
    w = model.graph.initializer[0]
    (folder / "w.bin").write_bytes(w.raw_data)
    (tmp_path / "secret").write_bytes(w.raw_data)
    (folder / "soft").symlink_to(tmp_path / "secret")
    x = {"x": images(1)}
    (want,) = pc.InferenceSession(model).run(None, x)
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    entry = w.external_data.add(key="location", value="w.bin")
    with pytest.raises(pc.ModelError, match="base_dir"):
        pc.InferenceSession(model)
    np.testing.assert_array_equal(pc.InferenceSession(model, base_dir=folder).run(None, x)[0], want)
    assert w.data_location == TensorProto.EXTERNAL  # the caller's model is left as it was
    for bad in ("../secret", "soft", "", ".", "none", "a\0b", "a" * 5000, str(tmp_path / "secret")):
        entry.value = bad
        with pytest.raises(pc.ModelError, match="is not a file in the model's folder or base_dir"):
            pc.compile(model, base_dir=folder)


def test_shapes_are_whole_numbers():
    model = network()
    assert (
        pc.compile(model, input_shapes=[2, 3, 5, 5]).metadata == pc.compile(model, input_shapes=(2, 3, 5, 5)).metadata
    )
    for bad in (5, (1.5, 3, 5, 5), "abcd", {"x": None}, {"x": [None, 3, 5, 5]}):
        with pytest.raises(TypeError, match="'x'"):
            pc.compile(model, input_shapes=bad)
    with pytest.raises(pc.ModelError, match="negative"):
        pc.compile(model, input_shapes=(-1, 3, 5, 5))


def test_labels_in_a_form_of_their_own_are_left_alone():
    model = network()
    model.metadata_props.add(key="labels", value="cat, dog")
    assert pc.compile(model).labels is None


def test_an_input_given_twice_is_refused():
    model = network()
    model.graph.input.append(model.graph.input[0])
    with pytest.raises(pc.ModelError, match="twice"):
        pc.compile(model)


def test_constants_of_forgotten_shapes_are_forgotten():
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], "resize", mode="linear")]
    scales = np.array([1, 1, 1.5, 2], np.float32)
    model = as_model(nodes, {"x": np.zeros((1, 1, 4, 4), np.float32), "scales": scales}, ["y"], ("scales",), opset=13)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    s = pc.InferenceSession(model, pc.SessionOptions(plan_cache_bytes=0))
    held = set()
    for height in range(4, 40):
        x = np.full((1, 1, height, 4), 3, np.float32)
        np.testing.assert_allclose(s.run(None, {"x": x})[0], 3)
        held.add(len(s._source.model.packed["tensors"].arrays))
    assert max(held) < 40


WHAT_WAS_IMPORTED = """
import sys, numpy
import pycompress as pc
session = pc.InferenceSession(sys.argv[1], pc.SessionOptions(intra_op_num_threads=1))
(port,) = session.get_inputs()
shape = [d if isinstance(d, int) else 1 for d in port.shape]
session.run(None, {port.name: numpy.zeros(shape, {"tensor(uint8)": "uint8"}.get(port.type, "float32"))})
print(*sorted({name.split(".")[0] for name in sys.modules} | {n for n in sys.modules if n.startswith("pycompress.")}))
"""


def imported_for(path) -> set[str]:
    """Modules of a fresh process that ran the model or plan at `path`."""
    command = [sys.executable, "-c", WHAT_WAS_IMPORTED, str(path)]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_a_saved_plan_answers_without_heavy_imports():
    heavy = {"onnx", "ml_dtypes", "numba", "google", "scipy", "pycompress.lower", "pycompress.kernels"}
    assert not imported_for(zoo.tiny()) & heavy


def test_a_model_answers_without_numba_and_scipy(tmp_path):
    onnx.save(network(), tmp_path / "model.onnx")
    assert not imported_for(tmp_path / "model.onnx") & {"numba", "scipy", "pycompress.compress", "pycompress.zoo"}


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_a_session_of_one_thread_starts_none():
    before = len(os.listdir("/proc/self/task"))
    one = session(threads=1, input_shapes=(2, 3, 5, 5))
    one.run(None, {"x": images(2)})
    assert len(os.listdir("/proc/self/task")) == before


def test_metadata_of_a_loaded_plan_is_that_of_the_saved_one(tmp_path):
    plan = pc.compile(network(), labels=list("abcd"))
    plan.save(tmp_path / "plan")
    loaded = pc.Plan.load(tmp_path / "plan")
    assert loaded.metadata == plan.metadata
    assert (loaded.labels, loaded.notes, loaded.provenance) == (plan.labels, plan.notes, plan.provenance)


def open_network():
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in "xy"]
    return helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:]),
                             opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip


def test_known_shapes_run_while_another_is_planned_and_a_shape_is_planned_once(monkeypatch):
    session = pc.InferenceSession(open_network())
    planner, planned = session._source, []
    session.run(None, {"x": np.ones((1, 3), np.float32)})
    begun, go_on, plan = threading.Event(), threading.Event(), planner._plan

    def slow(shapes, values):
        planned.append(shapes)
        begun.set()
        assert go_on.wait(60)
        return plan(shapes, values)

    monkeypatch.setattr(planner, "_plan", slow)
    others = [threading.Thread(target=session.run, args=(None, {"x": np.ones((2, 3), np.float32)})) for _ in range(3)]
    for thread in others:
        thread.start()
    assert begun.wait(60)
    assert session.run(None, {"x": np.ones((1, 3), np.float32)})[0].shape == (1, 3)  # though a plan is being made
    go_on.set()
    for thread in others:
        thread.join(60)
    assert planned == [{"x": (2, 3)}]


def test_plans_are_kept_as_far_as_their_memory_allows():
    large, small = (pc.InferenceSession(open_network(), pc.SessionOptions(1, plan_cache_bytes=b)) for b in (2**20, 0))
    for rows in range(1, 21):
        for session in (large, small):
            session.run(None, {"x": np.ones((rows, 3), np.float32)})
    assert len(large._source.runners) == 20 and len(small._source.runners) == 1
    with pytest.raises(ValueError, match="plan_cache_bytes must be an integer of at least 0"):
        pc.InferenceSession(open_network(), pc.SessionOptions(1, plan_cache_bytes=-1))
