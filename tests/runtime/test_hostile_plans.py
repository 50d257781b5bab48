"""Plans that are damaged or mean harm are refused with a reason, and never crash."""

import copy
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import handmade
import pycompress
from handmade import Refused
from pycompress import kernels, native
from pycompress._pcx import lib
from pycompress.errors import PycompressError
from pycompress.kernels import module
from pycompress.plan import Plan

M, K, N = 5, 7, 18
SLOTS = [name for name, _ in native.sgemm.spec.slots]


def plan():
    """One product: x . w -> arena, then arena . w2 -> y."""
    rng = np.random.default_rng(0)
    pack = module("sgemm").pack
    tensors = {
        "w": pack(rng.standard_normal((N, K), np.float32)),
        "w2": pack(rng.standard_normal((3, N), np.float32)),
        "bias": rng.standard_normal(N, np.float32),
        "params": np.zeros(2, np.float32),
    }
    first = [M, K, K, [2, 0, 0], N, K * 16, [1, 0, 0], [1, 2, 0], 0, [1, 3, 0], 0, None, N, [0, 0, 64]]
    second = [M, N, N, [0, 0, 64], 3, N * 16, [1, 1, 0], None, 0, [1, 3, 0], 0, None, 3, [3, 0, 0]]
    program = {
        "inputs": [{"name": "x", "dtype": "f32", "shape": [M, K]}],
        "outputs": [{"name": "y", "dtype": "f32", "shape": [M, 3]}],
        "arena": 64 + M * N * 4,
        "steps": [[0, *first], [0, *second]],
    }
    return {"format": 1, "kernels": [["sgemm", 1]], "tensors": list(tensors), "programs": [program]}, tensors


def refused(graph, *words, tensors=None, code=lib.PCX_BAD_PLAN):
    with pytest.raises(Refused) as caught:
        handmade.build(graph, tensors or plan()[1]).session()
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value), str(caught.value)


def changed(path, value):
    """The plan's graph with the item at `path` replaced, or without it if the value is `del`."""
    graph = plan()[0]
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
    handmade.build(*plan())
    handmade.parse(handmade.safetensors(*plan()))


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
        handmade.build(graph, plan()[1])
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
    wide = {"big": np.zeros(1000, np.float32)} | plan()[1]
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
    graph = plan()[0]
    graph["programs"][0]["inputs"] *= 2
    refused(graph, "x stands there twice")


@pytest.mark.parametrize(
    "text,word",
    [
        ("", "too early"), ("[", "too early"), ("{", "string"), ('{"a"', "colon"), ('{"a":1', "comma"), ('{"a":1,}', "string"),
        ("[1,]", "no such value"), ("[1 2]", "comma"), ('{"a":1,"a":2}', "twice"), ('{"b":{"a":1,"c":2,"a":3}}', "twice"),
        ('{"a":1.5}', "integers"), ('{"a":1e3}', "integers"), ('{"a":01}', "no such value"), ('{"a":-}', "no such value"),
        ('{"a":9223372036854775808}', "64 bits"), ('{"a":-9223372036854775809}', "64 bits"), ('{"a":NaN}', "no such value"),
        ('{"a":nul}', "no such value"), ('{"a":tru', "no such value"), ('"\\x"', "escape"), ('"\\u12g4"', "hexadecimal"),
        ('"\\u12', "hexadecimal"), ('"\\ud800"', "surrogate"), ('"\\ud800\\u0041"', "surrogate"), ('"\\udc00"', "surrogate"),
        ('"\\u0000"', "NUL"), ('"a\nb"', "control"), ('"abc', "ends inside"), ("{} {}", "follows"), ("[" * 33, "too deep"),
        ("[" * 1000000, "too deep"), ('{"a":' * 40, "too deep"), ("[]", "no format"), ("3", "no format"), ("\ufeff{}", "no such value"),
    ],
)  # fmt: skip
def test_only_sound_json_is_read(text, word):
    refused(text, word)


@pytest.mark.parametrize(
    "raw", [b"\x80", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\xc3", b"\xe2\x82"]
)
def test_text_must_be_utf8(raw):
    data = handmade.safetensors("{}", {}, lambda entries: json.dumps(entries).encode().replace(b"by hand", raw))
    with pytest.raises(Refused, match="UTF-8"):
        handmade.parse(data)


def test_names_and_escapes_of_every_length_are_read():
    name = 'é€😀"\\/\b\f\n\r\t ' + "x" * 300
    for escaped in (True, False):
        graph, tensors = plan()
        tensors = {name if k == "w" else k: v for k, v in tensors.items()}
        graph["tensors"] = list(tensors)
        graph["programs"][0]["inputs"][0]["name"] = name
        entries = handmade.safetensors(
            json.dumps(graph, ensure_ascii=escaped),
            tensors,
            lambda e, a=escaped: json.dumps(e, ensure_ascii=a).encode(),
        )
        opened = handmade.parse(entries)
        assert handmade.ffi.string(lib.pcx_plan_input(opened.c, 0, 0).name).decode() == name


def entry(key, value):
    def change(entries):
        if value == "del":
            del entries["w"][key]
        else:
            entries["w"][key] = value

    return change


def header(text):
    return lambda entries: text


@pytest.mark.parametrize(
    "change,word",
    [
        (entry("dtype", "F31"), "dtype"), (entry("dtype", "f32"), "dtype"), (entry("dtype", 4), "dtype"),
        (entry("dtype", "del"), "dtype"), (entry("more", 1), "nothing else"), (entry("shape", "del"), "shape"),
        (entry("shape", [2, 2, 2, 2, 2, 2, 2, 2, 2]), "shape"), (entry("shape", [-1]), "negative"), (entry("shape", [2**62, 2**62]), "too large"),
        (entry("shape", [2**63 - 1, 4]), "too large"), (entry("shape", [3, 3]), "needs"), (entry("data_offsets", [0]), "data_offsets"),
        (entry("data_offsets", [0, 2**40]), "data_offsets"), (entry("data_offsets", [896, 0]), "data_offsets"), (entry("data_offsets", [-1, 895]), "data_offsets"),
        (entry("data_offsets", [4, 900]), "begins"), (entry("data_offsets", "del"), "data_offsets"),
        (lambda e: e.update(w=3), "nothing else"), (lambda e: e.update(__metadata__=[]), "__metadata__"), (lambda e: e.pop("__metadata__") and None, "__metadata__"),
        (lambda e: e["__metadata__"].pop("pycompress") and None, "pycompress"), (lambda e: e["__metadata__"].update(x=3), "string"),
        (lambda e: e.update(z={"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}), "begins"),
        (lambda e: e.pop("params") and None, "tensors are"), (header(b"[]"), "object"), (header(b"{}"), "__metadata__"),
        (header(b"{"), "string"), (header(b'{"w":{},"w":{}}'), "twice"), (header(b"\0" * 64), "JSON"),
    ],
)  # fmt: skip
def test_a_file_s_header_is_checked(change, word):
    with pytest.raises(Refused) as caught:
        handmade.parse(handmade.safetensors(*plan(), header=change))
    assert word in str(caught.value), str(caught.value)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    data = handmade.safetensors(*plan())
    for end in [*range(0, 200), *range(200, len(data), 37), len(data) - 1]:
        with pytest.raises(Refused):
            handmade.parse(data[:end])
    with pytest.raises(Refused):
        handmade.parse(data + b"\0")


@pytest.mark.parametrize("length", [0, 1, 2**26 + 1, 2**32, 2**63, 2**64 - 1, 2**64 - 8])
def test_a_header_of_any_length_is_survived(length):
    with pytest.raises(Refused):
        handmade.parse(struct.pack("<Q", length) + handmade.safetensors(*plan())[8:])


def test_files_that_are_none(tmp_path):
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for path in (empty, tmp_path, tmp_path / "absent", "/dev/null"):
        with pytest.raises(Refused) as caught:
            handmade.load(path)
        assert caught.value.code == lib.PCX_IO


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
    with pytest.raises(Refused) as refused:  # what C says
        handmade.parse(handmade.safetensors(graph, tensors))
    assert str(refused.value).isprintable() and "there is no tensor" in str(refused.value)
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
    graph, tensors = plan()
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
    graph, tensors = plan()
    saved = Plan({"pycompress": json.dumps(graph), f"pycompress.{key}": value}, tensors)
    session = pycompress.InferenceSession(Plan.from_bytes(b"".join(saved._chunks())))
    with pytest.raises(pycompress.PlanError, match=f"its {key} are not"):
        {"notes": session.explain, "labels": lambda: session.labels}.get(key, lambda: saved.provenance)()


def test_notes_may_say_more_than_this_library_reads():
    graph, tensors = plan()
    notes = json.dumps([[{"node": "n", "later": [1.5]}]])
    session = pycompress.InferenceSession(Plan({"pycompress": json.dumps(graph), "pycompress.notes": notes}, tensors))
    assert [row["node"] for row in session.explain()] == ["n", ""]


def one_step(name, sizes, inputs=(), outputs=(), arena=0, steps=None):
    """The graph of calls of `name` whose slots are 1 but for `sizes`."""
    slots = [slot for slot, _ in getattr(native, name).spec.slots]
    steps = [{**dict.fromkeys(slots, 1), **step} for step in (steps or [sizes])]
    program = {
        "inputs": [{"name": f"x{i}", "dtype": d, "shape": s} for i, (d, s) in enumerate(inputs)],
        "outputs": [{"name": f"y{i}", "dtype": d, "shape": s} for i, (d, s) in enumerate(outputs)],
        "arena": arena, "steps": [[0, *(step[slot] for slot in slots)] for step in steps],
    }  # fmt: skip
    version = int(getattr(native, name).c.version)
    return {"format": 1, "kernels": [[name, version]], "tensors": ["v"], "programs": [program]}


@pytest.mark.parametrize("name", kernels.NAMES)
def test_an_empty_output_is_no_work(name):
    """In a process of its own, which a run without end does not outlive."""
    script = Path(__file__).with_name("empty.py")
    run = subprocess.run([sys.executable, str(script), name], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr[-2000:]


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


def permuted(steps, arena=64, outputs=1):
    places = {"x": [2, 0, 0], "y": [3, 0, 0], "z": [3, 1, 0]}
    named = [[n, *(places[p] if isinstance(p, str) else p for p in ends)] for n, *ends in steps]
    steps = [{"run": n, "x": a, "out": b} for n, a, b in named]
    return one_step("permute", {}, [("u8", [64])], [("u8", [64])] * outputs, arena, steps)


def test_a_run_reads_nothing_of_the_run_before():
    """The plan copies what is in the arena to its output, then its input to the arena."""
    graph = permuted([(64, [0, 0, 0], "y"), (64, "x", [0, 0, 0])])
    session = handmade.build(graph, {"v": np.zeros(0, np.uint8)}).session()
    for value in (1, 2, 3):
        assert not session.run([np.full(64, value, np.uint8)])[0].any()


def test_a_part_of_the_arena_that_no_step_wrote_is_zero():
    graph = permuted([(40, "x", [0, 0, 0]), (64, [0, 0, 0], "y"), (64, "x", [0, 0, 0])])
    session = handmade.build(graph, {"v": np.zeros(0, np.uint8)}).session()
    for value in (1, 2):
        np.testing.assert_array_equal(session.run([np.full(64, value, np.uint8)])[0], [value] * 40 + [0] * 24)


def test_what_no_step_writes_of_an_output_is_zero():
    session = handmade.build(permuted([(40, "x", "y")], outputs=2), {"v": np.zeros(0, np.uint8)}).session()
    first, second = session.run([np.ones(64, np.uint8)])
    np.testing.assert_array_equal(first, [1] * 40 + [0] * 24)
    assert not second.any()


def test_an_output_that_is_read_before_it_is_written_is_zero():
    session = handmade.build(
        permuted([(64, "z", "y"), (64, "x", "z")], outputs=2), {"v": np.zeros(0, np.uint8)}
    ).session()
    first, second = session.run([np.ones(64, np.uint8)])
    assert not first.any() and second.all()


def test_rows_that_interleave_write_the_whole():
    """Two steps write the even and the odd rows; nothing is left to be zeroed, and nothing is."""
    tensors = {"v": np.zeros(0, np.uint8), "none": np.zeros(2, np.float32)}
    slots = [s for s, _ in native.unary.spec.slots]
    step = dict.fromkeys(slots, 1) | {
        "m": 4,
        "n": 3,
        "ldx": 3,
        "op": 4 + 9,
        "params": [1, 1, 0],
        "ldo": 6,
        "x": [2, 0, 0],
    }
    steps = [[0, *((step | {"out": [3, 0, at]})[s] for s in slots)] for at in (0, 12)]
    ports = [[{"name": n, "dtype": "f32", "shape": s}] for n, s in (("x", [4, 3]), ("y", [4, 6]))]
    program = {"inputs": ports[0], "outputs": ports[1], "arena": 0, "steps": steps}
    graph = {
        "format": 1,
        "kernels": [["unary", int(native.unary.c.version)]],
        "tensors": list(tensors),
        "programs": [program],
    }
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(handmade.build(graph, tensors).session().run([x])[0], -np.hstack([x, x]))
