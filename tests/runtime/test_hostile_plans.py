"""Plans that are damaged or mean harm are refused with a reason, and never crash."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import handmade
import pycompress
from handmade import K, M, N, Refused, refused, two_products
from pycompress import native
from pycompress.errors import PycompressError
from pycompress.kernels import module
from pycompress.plan import Plan

SLOTS = [name for name, _ in native.sgemm.spec.slots]


def changed(path, value):
    """The plan's graph with the item at `path` replaced, or without it if the value is `del`."""
    graph = two_products()[0]
    item = graph
    for key in path[:-1]:
        item = item[key]
    if value == "del":
        del item[path[-1]]
    else:
        item[path[-1]] = value
    return graph


def slot(name, value, step=0):
    return changed(["programs", 0, "steps", step, 1 + SLOTS.index(name)], value)


def test_the_plan_itself_is_good():
    handmade.build(*two_products())
    handmade.parse(handmade.safetensors(*two_products()))


@pytest.mark.parametrize("name", [n for n, a in native.sgemm.spec.slots if a is None or a.kind == "size"])
@pytest.mark.parametrize("value", [-1, 2**31, 2**63 - 1, None, "3", [0, 0, 0], True, {}])
def test_a_size_must_be_a_size(name, value):
    refused(slot(name, value), "program 0, step 0 (sgemm)", name)


POINTERS = [n for n, a in native.sgemm.spec.slots if a is not None and a.kind == "array"]
BAD_POINTERS = [
    7, "x", {}, [], [0, 0], [0, 0, 0, 0], [4, 0, 0], [-1, 0, 0], [0, 1, 0], [1, 4, 0], [1, -1, 0], [2, 1, 0], [3, 1, 0],
    [0, 0, -4], [0, 0, 2**62], [1, 0, 2**63 - 1], [1, 3, 3], [0, 0, 2], [1, 3, 100000], [0, 0, None], [[0], 0, 0],
]  # fmt: skip


@pytest.mark.parametrize("name", POINTERS)
@pytest.mark.parametrize("value", BAD_POINTERS, ids=str)
def test_a_pointer_must_stay_inside_its_region_and_be_aligned(name, value):
    refused(slot(name, value), "program 0, step 0 (sgemm)", name)


@pytest.mark.parametrize("name", POINTERS)
def test_only_optional_pointers_may_be_null(name):
    optional = native.sgemm.spec.by_name[name].optional
    graph = slot(name, None)
    if optional:
        handmade.build(graph, two_products()[1])
    else:
        refused(graph, name)


@pytest.mark.parametrize("name", [n for n in SLOTS if n in ("m", "lda", "k", "n", "ldw", "ldo")])
def test_a_size_beyond_what_the_arrays_hold_is_refused(name):
    for value in (1000, 2**31 - 1):
        refused(slot(name, value), "program 0, step 0")


def test_an_array_may_not_end_beyond_its_region_by_one_element():
    refused(slot("out", [0, 0, 68]), "out", "do not fit")
    refused(changed(["programs", 0, "arena"], 64 + M * N * 4 - 1), "out", "do not fit")
    refused(slot("bias", [1, 2, 4]), "bias", "do not fit")


def test_constants_and_inputs_are_never_written():
    wide = {"big": np.zeros(1000, np.float32)} | two_products()[1]
    graph = slot("out", [1, 0, 0])
    graph["tensors"] = ["big", *graph["tensors"][1:]]
    refused(graph, "out", "must not write", tensors=wide)
    refused(slot("out", [2, 0, 0], step=1), "out", "must not write")


def test_outputs_whose_rows_overlap_are_refused():
    refused(slot("ldo", 0), "out", "overlap")
    refused(slot("ldo", 3), "out", "overlap")


def test_conditions_of_the_contract_hold():
    refused(slot("act", 9), "act<9 does not hold")


@pytest.mark.parametrize(
    "path,value,word",
    [
        (["format"], 3, "plan format 3 is newer than this library reads (2)"),
        (["format"], 0, "format"),
        (["format"], "1", "format"),
        (["format"], "del", "format"),
        (["more"], 1, "unknown key more"),
        (["kernels"], {}, "kernels"),
        (["kernels", 0], ["sgemm"], "kernel 0"),
        (["kernels", 0, 0], "no\nsuch", "no kernel no?such"),
        (["kernels", 0, 1], 99, "kernel sgemm version 99: this library has version 1"),
        (["kernels", 0, 1], -1, "kernel 0"),
        (["tensors"], 3, "tensors"),
        (["tensors", 0], 3, "tensors"),
        (["tensors", 0], "absent", "no tensor absent"),
        (["programs"], [], "programs"),
        (["programs"], "del", "programs"),
        (["programs", 0], [], "program 0"),
        (["programs", 0, "more"], 1, "unknown key more"),
        (["programs", 0, "times"], 0, "times"),
        (["programs", 0, "times"], -1, "times"),
        (["programs", 0, "times"], "2", "times"),
        (["programs", 0, "times"], 2**20, "times"),
        (["programs", 0, "times"], 2**16, "x cannot be cut into 65536 parts"),
        (["programs", 0, "times"], M, "do not fit"),
        (["programs", 0, "arena"], 2**40, "arena"),
        (["programs", 0, "arena"], -1, "arena"),
        (["programs", 0, "arena"], "del", "arena"),
        (["programs", 0, "inputs"], "del", "inputs"),
        (["programs", 0, "inputs", 0], [], "input"),
        (["programs", 0, "inputs", 0, "dtype"], "f31", "f31"),
        (["programs", 0, "inputs", 0, "dtype"], "u8", "do not fit"),
        (["programs", 0, "inputs", 0, "name"], 3, "name"),
        (["programs", 0, "inputs", 0, "more"], 3, "name"),
        (["programs", 0, "inputs", 0, "shape"], [2**40, 2**40], "too large"),
        (["programs", 0, "inputs", 0, "shape"], [-1, 4], "negative"),
        (["programs", 0, "inputs", 0, "shape"], [[5], 7], "negative"),
        (["programs", 0, "inputs", 0, "shape"], [1] * 9, "at most 8"),
        (["programs", 0, "inputs", 0, "shape"], [M, K - 1], "do not fit"),
        (["programs", 0, "steps"], {}, "steps"),
        (["programs", 0, "steps", 0], [], "step 0"),
        (["programs", 0, "steps", 0, 0], 1, "step 0"),
        (["programs", 0, "steps", 0, 0], -1, "step 0"),
        (["programs", 0, "steps", 0], [0, 1, 2], "must have 14 slots, not 2"),
        (["programs", 0, "steps", 1], [0] * 20, "must have 14 slots, not 19"),
        (["programs", 0, "steps"], [[0]] * 100001, "100000"),
    ],
)
def test_the_graph_has_its_form(path, value, word):
    refused(changed(path, value), word)


def test_two_inputs_of_one_name_are_refused():
    graph = two_products()[0]
    graph["programs"][0]["inputs"] *= 2
    refused(graph, "x stands there twice")


def test_indices_are_bounded_constant_and_copied():
    args = module("gather").example(np.random.default_rng(0))
    graph, tensors, _ = handmade.program_of("gather", args)
    good = handmade.build(graph, tensors).session().run([])[0]
    index = tensors["index"]
    for value in (-1, args[0].shape[1], 2**31 - 1, -(2**31)):
        tensors["index"] = index.copy()
        tensors["index"][1] = value
        refused(graph, "gather", "index", "value 1 is not in [0, ", tensors=tensors)
    tensors["index"] = index
    rows = [name for name, _ in native.gather.spec.slots].index("rows")
    fewer = copy.deepcopy(graph)
    fewer["programs"][0]["steps"][0][1 + rows] = int(index.max())
    refused(fewer, "index", tensors=tensors)
    graph, tensors, _ = handmade.program_of("gather", args, ["index"])
    refused(graph, "index", "must be a tensor", tensors=tensors)
    assert len(good)


def test_a_small_file_may_be_overwritten_and_cut_off_once_it_is_open(tmp_path):
    path = tmp_path / "net.plan.safetensors"
    graph, tensors, inputs = handmade.program_of("sgemm", handmade.example("sgemm", np.random.default_rng(0)), ["a"])
    path.write_bytes(data := handmade.safetensors(graph, tensors))
    (want,) = handmade.parse(data).session().run(inputs)
    session = handmade.load(path).session()
    with open(path, "r+b") as file:
        file.write(b"\xff" * len(data))
        file.truncate(1)
    (got,) = session.run(inputs)
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", ["\x1b[2Jw", "\x9b2Jw", "\u202ew", "w\u2066", "\x7f"], ids=ascii)
def test_names_of_a_file_do_not_steer_the_terminal_through_messages(name):
    graph, tensors, _ = handmade.program_of("sgemm", handmade.example("sgemm", np.random.default_rng(0)), ["a"])
    graph["tensors"][0] = name
    with pytest.raises(Refused) as caught:  # what C says
        handmade.parse(handmade.safetensors(graph, tensors))
    assert str(caught.value).isprintable() and "there is no tensor" in str(caught.value)
    assert str(PycompressError(f"node {name!s}")).isprintable()


def test_index_data_that_changes_after_the_check_does_no_harm():
    args = module("gather").example(np.random.default_rng(0))
    graph, tensors, _ = handmade.program_of("gather", args)
    data = handmade.safetensors(graph, tensors)
    opened = handmade.parse(data)
    session = opened.session()
    want = session.run([])[0].tobytes()
    file = opened.keep[0]
    start = data.index(tensors["index"].tobytes())
    file[start : start + tensors["index"].nbytes] = 0x7F
    assert session.run([])[0].tobytes() == want


def test_an_input_is_not_read_as_wider_elements_than_it_has():
    graph, tensors = two_products()
    graph["programs"][0]["inputs"][0] |= {"dtype": "u8", "shape": [M, K * 4]}
    refused(graph, "a: ", "smaller ones")


def test_mutated_files_never_crash():
    """In a process of its own, so that a crash fails this test only."""
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mutate.py")), "6000", "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    opened, refusals = map(int, run.stdout.split())
    assert opened > 100 and refusals > 2000


@pytest.mark.parametrize("kernel", ["spmm", "bspmm", "qspmm"])
def test_sparse_weights_that_lie_about_themselves_never_lead_outside(kernel):
    args = handmade.example(kernel, np.random.default_rng(0))
    graph, tensors, _ = handmade.program_of(kernel, args)
    rows, index = tensors["rows"], tensors["index"]
    for name, good, value in (
        ("rows", rows, len(index) + 1),
        ("rows", rows, -1),
        ("index", index, np.iinfo(index.dtype).max),
    ):
        bad = good.copy()
        bad.reshape(-1)[1] = value
        refused(graph, kernel, name, "is not in [0, ", tensors=tensors | {name: bad})
    rng = np.random.default_rng(1)
    for scrambled in (rows[..., ::-1], rng.integers(0, len(index) + 1, rows.shape), np.full(rows.shape, len(index))):
        tensors["rows"] = np.ascontiguousarray(scrambled, rows.dtype)
        for cpu in (0, None):
            handmade.build(graph, tensors, cpu).session(2).run([])


@pytest.mark.parametrize(
    "key, value",
    [
        ("notes", "[" * 100000), ("notes", "{"), ("notes", "5"), ("notes", "[5]"), ("notes", "[[5]]"), ("notes", '[[{"node": 5}]]'),
        ("notes", '[[{"in": 5}]]'), ("notes", '[[{"out": ["a"]}]]'), ("notes", '[[{"macs": "many"}]]'),
        ("labels", "5"), ("labels", "[1]"), ("labels", "{"), ("provenance", "[]"), ("provenance", '{"a": {}}'),
    ],
)  # fmt: skip
def test_notes_labels_and_provenance_of_another_form_are_refused(key, value):
    graph, tensors = two_products()
    saved = Plan({"pycompress": json.dumps(graph), f"pycompress.{key}": value}, tensors)
    session = pycompress.InferenceSession(Plan.from_bytes(b"".join(saved._chunks())))
    with pytest.raises(pycompress.PlanError, match=f"its {key} are not"):
        {"notes": session.explain, "labels": lambda: session.labels}.get(key, lambda: saved.provenance)()


def test_notes_may_say_more_than_this_library_reads():
    graph, tensors = two_products()
    notes = json.dumps([[{"node": "n", "later": [1.5]}]])
    session = pycompress.InferenceSession(Plan({"pycompress": json.dumps(graph), "pycompress.notes": notes}, tensors))
    assert [row["node"] for row in session.explain()] == ["n", ""]


@pytest.mark.parametrize("name", ["pool", "qpool"])
@pytest.mark.parametrize("size", ["sh", "sw", "dh", "dw"])
def test_windows_that_do_not_move_are_refused(name, size):
    graph, tensors, _ = handmade.program_of(name, handmade.example(name, np.random.default_rng(0)))
    graph["programs"][0]["steps"][0][1 + [s for s, _ in getattr(native, name).spec.slots].index(size)] = 0
    refused(graph, f"{size}>=1 does not hold", tensors=tensors)


def test_windows_over_repeated_pixels_are_refused():
    graph, tensors, _ = handmade.program_of("pool", handmade.example("pool", np.random.default_rng(0)))
    graph["programs"][0]["steps"][0][1 + [s for s, _ in native.pool.spec.slots].index("ldx")] = 0
    refused(graph, "ldx>=c*min", tensors=tensors)


@pytest.mark.parametrize("size, value, broken", [
    ("top", 9, "top+ih<=oh"), ("left", 9, "left+iw<=ow"), ("c", 5, "c<5"), ("oh", 200, "out"), ("xw", 200, "x"),
])  # fmt: skip
def test_pixels_beyond_the_image_are_refused(size, value, broken):
    graph, tensors, _ = handmade.program_of("qpixels", handmade.example("qpixels", np.random.default_rng(0)))
    graph["programs"][0]["steps"][0][1 + [s for s, _ in native.qpixels.spec.slots].index(size)] = value
    refused(graph, broken, tensors=tensors)
