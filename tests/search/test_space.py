"""Spaces: what a file may say, and the networks that come out."""

import copy

import numpy as np
import pytest
import spaces

import pycompress
from pycompress.search.blocks import alone
from pycompress.search.space import read


@pytest.mark.parametrize("space", [spaces.MOBILE, spaces.CELLS, spaces.INT8], ids=["mobile", "cells", "int8"])
def test_every_network_runs_and_its_blocks_are_among_the_spaces(space):
    space, rng = read(space), np.random.default_rng(0)
    known = {block.key for block in space.blocks()}
    for _ in range(60):
        network = space.network(space.random(rng))
        assert {block.key for block in network.blocks} <= known
    for _ in range(4):
        network = space.network(space.random(rng))
        session = pycompress.InferenceSession(network.onnx(batch=None))
        x = rng.standard_normal((3, 1, network.resolution, network.resolution), np.float32)
        assert session.run(None, {"input": x})[0].shape == (3, space.classes)


@pytest.mark.parametrize("space", [spaces.MOBILE, spaces.CELLS], ids=["mobile", "cells"])
def test_every_block_runs_alone(space):
    for block in read(space).blocks()[::7]:
        session = pycompress.InferenceSession(alone(block))
        feed = {p.name: np.zeros(p.shape, np.float32) for p in session.get_inputs()}
        assert session.run(None, feed)[0].ndim == (2 if block.kind == "classifier" else 4)


def test_decisions_that_a_network_does_not_use_do_not_matter():
    space = read(spaces.MOBILE)
    choice = space.random(np.random.default_rng(0)) | {"stages.1.depth": 1}
    other = choice | {"stages.1.1.kernel": 3 if choice["stages.1.1.kernel"] == 5 else 5}
    assert "stages.1.1.kernel" not in space.used(choice)
    assert space.network(choice) == space.network(other)
    assert space.canonical(choice) == space.canonical(other)


def test_the_smallest_network_has_no_more_work_than_random_ones():
    for table in (spaces.MOBILE, spaces.CELLS):
        space, rng = read(table), np.random.default_rng(1)
        least = space.network(space.smallest()).macs
        assert all(space.network(space.random(rng)).macs >= least for _ in range(50))


def test_a_reduction_halves_the_image_and_doubles_the_channels():
    space = read(spaces.CELLS)
    blocks = space.network(space.random(np.random.default_rng(2))).blocks
    sizes = [b.size for b in blocks if b.kind == "add"]
    assert sizes[0] == 2 * sizes[-1]


def changed(path, value):
    table = copy.deepcopy(spaces.MOBILE)
    *way, last = path
    at = table
    for key in way:
        at = at[key]
    at[last] = value
    return table


@pytest.mark.parametrize(
    "path, value, said",
    [
        (("stages", 1, "kernl"), [3], r"space\.stages\[1\]\.kernl: unknown key; did you mean kernel\?"),
        (
            ("stages", 0, "kernel"),
            [3, 4],
            r"space\.stages\[0\]\.kernel\[1\]: 4 is none of its values; there are 3, 5, 7",
        ),
        (("stages", 0, "se"), "yes", r"space\.stages\[0\]\.se: 'yes' is none of its values; there are false, true"),
        (("stages", 0, "activation"), "relu7", r"activation: 'relu7' is none of its values; did you mean relu"),
        (("stages", 0, "depth"), [2, 2], r"space\.stages\[0\]\.depth\[1\]: 2 is there twice"),
        (("stages", 0, "depth"), [], r"space\.stages\[0\]\.depth: the list is empty"),
        (("stages", 0, "out"), True, r"space\.stages\[0\]\.out: must be an integer, got True"),
        (("stages", 0, "bits"), 4, r"space\.stages\[0\]\.bits: only a space with precision: int8 has bits"),
        (("input", "classes"), 1, r"space\.input\.classes: must be an integer of at least 2, got 1"),
        (("input", "size"), 1, r"space\.input\.size: unknown key"),
        (("stages",), [], r"space\.stages: must be a list of tables"),
        (("precision",), "int7", r"space\.precision: 'int7' is none of its values; did you mean int8\?"),
        (("kind",), "mobil", r"space\.kind: 'mobil' is none of its values; did you mean mobile\?"),
    ],
)
def test_a_mistake_is_named_by_its_path(path, value, said):
    with pytest.raises(ValueError, match=said):
        read(changed(path, value))


def test_a_missing_key_is_named():
    table = copy.deepcopy(spaces.MOBILE)
    del table["stages"][0]["out"]
    with pytest.raises(ValueError, match=r"space\.stages\[0\]\.out: missing"):
        read(table)


def test_files_that_are_no_spaces_are_refused(tmp_path):
    pytest.importorskip("yaml")
    with pytest.raises(FileNotFoundError, match="no such space"):
        read(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("[1, 2")
    with pytest.raises(ValueError, match="no YAML"):
        read(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="must be a table"):
        read(tmp_path / "b.yaml")


def test_wrong_choices_are_named():
    space = read(spaces.MOBILE)
    choice = space.smallest()
    with pytest.raises(ValueError, match="no decision 'depht'"):
        space.network(choice | {"depht": 1})
    with pytest.raises(ValueError, match="stages.1.depth: 9 is not one of 1, 2"):
        space.network(choice | {"stages.1.depth": 9})
    with pytest.raises(ValueError, match="no value for stages.1.depth"):
        space.network({k: v for k, v in choice.items() if k != "stages.1.depth"})


def test_the_digest_stands_for_the_space_and_the_training():
    assert read(spaces.MOBILE).digest == read(copy.deepcopy(spaces.MOBILE)).digest
    assert read(spaces.MOBILE).digest != read(changed(("stages", 0, "out"), 24)).digest
    assert read(spaces.MOBILE).digest != read(spaces.MOBILE | {"recipe": {"train": {"epochs": 1}}}).digest
    assert read(spaces.MOBILE).digest == read(spaces.MOBILE | {"final": {"train": {"epochs": 1}}}).digest


@pytest.mark.parametrize("space", [spaces.MOBILE, spaces.CELLS], ids=["mobile", "cells"])
def test_every_network_lies_within_the_positions_and_every_used_decision_has_a_gate(space):
    space, rng = read(space), np.random.default_rng(3)
    places = space.positions()
    for _ in range(40):
        choice = space.random(rng)
        network = space.network(choice)
        for p in network.placed:
            if p.block.kind in ("mb", "conv", "sep", "classifier"):
                place = places[p.name]
                assert all(
                    getattr(p.block, k) <= getattr(place, k) for k in ("inputs", "out", "kernel", "expanded", "se")
                )
        sources = {(p.name, i) for p in network.placed for i in range(len(p.sources))}
        gates = space.gates(choice)
        assert set(gates) <= sources and {d for ds in gates.values() for d in ds} == space.used(choice)


@pytest.mark.parametrize("data", [3, None, [], True])
def test_data_must_be_a_path_or_a_table(data):
    from pycompress.search import evaluate

    with pytest.raises(ValueError, match="space.data: "):
        evaluate.data_of(read(spaces.MOBILE | {"data": data}))


def test_sizes_that_would_take_all_memory_are_refused():
    for change in (
        {"input": spaces.MOBILE["input"] | {"resolution": 10**6}},
        {"stages": [{"out": 10**9}]},
        {"head": {"out": 10**9}},
    ):
        with pytest.raises(ValueError, match="from 8 to 1024|from 1 to 8192"):
            read(spaces.MOBILE | change)
