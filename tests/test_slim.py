"""Slim plans compute the same as the others, and tell what follows from their steps."""

import json

import numpy as np
import pytest
from onnx import TensorProto

import half_models
import handmade
import pycompress as pc
from pycompress import kernels, zoo
from pycompress.dtypes import NUMPY
from pycompress.plan import ALIGN, Plan
from pycompress.slim import UNSAID

KNOWN = ("kernel", "isa", "dtype", "shapes", "macs")


def slimmed(plan):
    return Plan.from_bytes(b"".join(plan._chunks(slim=True)))


def header(path):
    with open(path, "rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


@pytest.fixture(scope="module")
def plans():
    """Plans of float, sparse, int8, int4 and float16 weights, for several shapes and a batch in parts."""
    net = zoo.mobilenetv2(width=0.5, resolution=32, classes=10)
    thin = zoo.mobilenetv1(width=0.25, resolution=32, classes=10)
    images = np.random.default_rng(0).standard_normal((8, 1, 3, 32, 32), np.float32)
    open_batch = zoo.mobilenetv1(width=1.0, resolution=96, batch=None, classes=10)
    return {
        "float": pc.compile(net, labels=[f"class {i}" for i in range(10)]),
        "sparse": pc.compile(pc.prune(net, 0.9), sparse=True),
        "int8": pc.compile(pc.quantize(thin, list(images)), preprocess={"mean": 127, "std": 128}),
        "int4": pc.compile(pc.quantize(thin, list(images), weights=4)),
        "float16": pc.compile(half_models.to_half(half_models.network(), TensorProto.FLOAT16)),
        "several": pc.compile(open_batch, input_shapes=[(1, 3, 96, 96), (16, 3, 96, 96)]),
    }


FORMS = ("float", "sparse", "int8", "int4", "float16", "several")


@pytest.mark.parametrize("form", FORMS)
def test_a_slim_plan_gives_the_same_bytes(plans, form):
    made, rng = plans[form], np.random.default_rng(1)
    whole, slim = pc.InferenceSession(made), pc.InferenceSession(slimmed(made))
    for program in json.loads(made.metadata["pycompress"])["programs"]:
        (port,) = program["inputs"]
        x = rng.integers(0, 256, port["shape"]) if port["dtype"] == "u8" else rng.standard_normal(port["shape"])
        feed = {port["name"]: x.astype(NUMPY[port["dtype"]])}
        assert whole.run(None, feed)[0].tobytes() == slim.run(None, feed)[0].tobytes()


@pytest.mark.parametrize("name", kernels.NAMES)
def test_every_kernel_reads_constants_that_stand_inside_a_tensor(name):
    args = handmade.example(name, np.random.default_rng(0))
    graph, tensors, *_ = handmade.program_of(name, args, [])
    whole = Plan({"pycompress": json.dumps(graph)}, tensors)
    outputs = [handmade.parse(b"".join(whole._chunks(slim=slim))).session().run([]) for slim in (False, True)]
    assert [x.tobytes() for x in outputs[0]] == [x.tobytes() for x in outputs[1]]


@pytest.mark.parametrize("form", FORMS)
def test_what_follows_from_the_steps_is_what_the_notes_say(plans, form):
    made, slim = plans[form], slimmed(plans[form])
    for program, derived in zip(made.notes, slim.notes, strict=True):
        for row, other in zip(program, derived, strict=True):
            assert {k: row[k] for k in ("dtype", "in", "out", "macs")} == {
                k: other[k] for k in ("dtype", "in", "out", "macs")
            }
    rows = pc.InferenceSession(slim).explain()
    assert [[r[k] for k in KNOWN] for r in rows] == [[r[k] for k in KNOWN] for r in pc.InferenceSession(made).explain()]
    assert {(r["node"], r["op"], r["reason"]) for r in rows} == {("", "", UNSAID)}


@pytest.mark.parametrize("form", FORMS)
def test_its_file_has_one_tensor_per_type_and_no_notes(plans, form, tmp_path):
    plans[form].save(tmp_path / "whole")
    plans[form].save(tmp_path / "slim", slim=True)
    found = header(tmp_path / "slim")
    said = found.pop("__metadata__")
    tensors = {name: x for name, x in found.items() if not name.startswith("__pad")}
    assert {name: x["dtype"].lower() for name, x in tensors.items()} == {name: name for name in tensors}
    assert all(x["data_offsets"][0] % ALIGN == 0 for x in tensors.values())
    assert (tmp_path / "slim").stat().st_size < (tmp_path / "whole").stat().st_size
    kept = header(tmp_path / "whole")["__metadata__"]
    assert set(kept) - set(said) == {"pycompress.notes"}
    assert all(kept[key] == said[key] for key in set(said) - {"pycompress"})


def test_constants_stand_at_multiples_of_64_bytes_or_of_their_own_size(plans):
    made = plans["int8"]
    graph, slim = (json.loads(p.metadata["pycompress"]) for p in (made, slimmed(made)))
    pairs = 0
    for step, other in zip(graph["programs"][0]["steps"], slim["programs"][0]["steps"]):
        for slot, place in zip(step[1:], other[1:]):
            if isinstance(slot, list) and slot[0] == 1:
                size = made._tensors[graph["tensors"][slot[1]]].nbytes
                assert place[2] % min(ALIGN, 1 << (size - 1).bit_length()) == 0
                pairs += 1
            else:
                assert slot == place
    assert pairs > 100


def test_a_loaded_plan_is_saved_slim_as_the_one_that_was_compiled(plans, tmp_path):
    for made in plans.values():
        made.save(tmp_path / "whole")
        made.save(tmp_path / "slim", slim=True)
        for name in ("whole", "slim"):  # what is slim already stays as it is
            Plan.load(tmp_path / name).save(tmp_path / "again", slim=True)
            assert (tmp_path / "again").read_bytes() == (tmp_path / "slim").read_bytes()


def test_a_plan_that_was_never_slim_is_saved_as_before(plans, tmp_path):
    plans["int8"].save(tmp_path / "whole")
    Plan.load(tmp_path / "whole").save(tmp_path / "again")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "again").read_bytes()
    assert set(plans["int8"]._tensors) <= set(header(tmp_path / "whole"))


def test_the_package_safetensors_reads_a_slim_plan(plans, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    plans["int8"].save(tmp_path / "slim", slim=True)
    tensors = {k: x for k, x in numpy.load_file(tmp_path / "slim").items() if not k.startswith("__pad")}
    assert {k: x.dtype.name for k, x in tensors.items()} == {k: NUMPY[k] for k in ("f32", "i32", "i8", "u8")}


def test_a_pointer_beyond_its_merged_tensor_is_refused(plans):
    from pycompress.slim import merged

    graph, stored = merged(plans["int8"].metadata["pycompress"], plans["int8"]._stored())
    changed = json.loads(graph)
    pointers = [s for step in changed["programs"][0]["steps"] for s in step[1:] if isinstance(s, list) and s[0] == 1]
    end = len(stored[changed["tensors"][pointers[-1][1]]].data)
    pointers[-1][2] = end
    tensors = {k: np.frombuffer(x.data, NUMPY[k]) for k, x in stored.items()}
    with pytest.raises(pc.PlanError, match="do not fit into"):
        pc.InferenceSession(Plan({"pycompress": json.dumps(changed)}, tensors))
