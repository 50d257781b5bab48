"""Tables of latencies: what is measured, predicted and refused."""

import json

import numpy as np
import onnx
import pytest
import spaces

from pycompress.search import latency
from pycompress.search.blocks import Block
from pycompress.search.space import read
from pycompress.search.table import ForeignTable, Table

WIDE = spaces.MOBILE | {"input": spaces.MOBILE["input"] | {"resolution": [16, 24, 32]}, "width": [1.0, 2.0, 4.0]}


@pytest.fixture(scope="module", params=["float", "int8"])
def filled(request):
    """A small space and its table."""
    shape = spaces.MOBILE["input"] | {"resolution": 8}
    stages = [spaces.MOBILE["stages"][0] | {"out": 8}, {"out": 16, "stride": 2, "expansion": [2, 3]}]
    space = read(spaces.MOBILE | {"precision": request.param, "width": 1.0, "input": shape, "stages": stages})
    table = Table.here(request.param)
    assert latency.fill(table, space.blocks(), runs=3, rounds=2) == len(table.blocks) > 8
    return space, table


def test_a_filled_table_predicts_every_network(filled):
    space, table = filled
    assert latency.fill(table, space.blocks()) == 0
    latency.correct(table, space, count=4, runs=10)
    assert len(table.fitted) == 4
    found = latency.report(table, latency.sample(space, 4, seed=5), runs=10)
    assert all(0 < p < 0.1 for p in found.predicted) and found.error < 3 and -1 <= found.tau <= 1


def test_larger_networks_take_longer_by_the_table():
    space, table = read(WIDE), Table.here()
    networks = latency.sample(space, 6, seed=0)
    for network in networks:
        latency.fill(table, network.blocks, runs=5, rounds=3)
    assert latency.kendall([n.macs for n in networks], [table.raw(n) for n in networks]) > 0.5


def test_a_file_holds_the_table(filled, tmp_path):
    _, table = filled
    table.save(tmp_path / "t.json")
    assert Table.load(tmp_path / "t.json") == table


@pytest.mark.parametrize("key, value", [("host", "elsewhere"), ("cpu", "another"), ("isa", ["scalar"])])
def test_a_table_of_another_machine_is_refused_unless_it_is_asked_for(filled, tmp_path, key, value):
    _, table = filled
    path = tmp_path / "t.json"
    table.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ForeignTable, match=f"measured with {key} "):
        Table.load(path)
    foreign = Table.load(path, foreign=True)
    with pytest.raises(ForeignTable):  # it is not mixed with what is measured here
        latency.fill(foreign, [Block("max", 9, 8, 8, 3)])


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such table"):
        Table.load(tmp_path / "none.json")
    for i, text in enumerate(["{", "[]", "{}", '{"pycompress.latency": 99}']):
        (tmp_path / f"{i}.json").write_text(text)
        with pytest.raises(ValueError, match="not a table of latencies"):
            Table.load(tmp_path / f"{i}.json")


@pytest.mark.parametrize("seconds", [float("nan"), -1.0, 0.0, float("inf")])
def test_a_table_of_impossible_times_is_refused(filled, tmp_path, seconds):
    _, table = filled
    path = tmp_path / "t.json"
    table.save(path)
    told = json.loads(path.read_text())
    told["blocks"][next(iter(told["blocks"]))] = seconds
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="takes .* s; delete it to measure again"):
        Table.load(path)


def test_a_block_that_was_not_measured_is_named():
    space = read(spaces.MOBILE)
    with pytest.raises(ValueError, match="lacks the block 'conv 8x8x1 -> 8 k3 s1 relu'"):
        Table.here().predict(space.network(space.smallest()))


def test_a_space_without_a_network_under_the_limit_is_refused():
    space = read(WIDE)  # of so many networks that no search of all would end
    with pytest.raises(
        ValueError, match=r"no network within 1e-06 us|no network within .* the fastest one found takes"
    ):
        latency.check_reachable(space, Table.here(), 1e-9)
    assert latency.check_reachable(space, Table.here(), 1.0)


def test_kendalls_tau():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 30), rng.integers(0, 9, 30)
    stats = pytest.importorskip("scipy.stats")
    assert latency.kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert np.isnan(latency.kendall([1, 1], [1, 2]))


def test_the_correction_recovers_a_line(monkeypatch):
    space, table = read(spaces.MOBILE), Table.here()
    table.blocks = {block.key: 1e-6 * (1 + block.macs) for block in space.blocks()}
    networks = latency.sample(space, 8, seed=1)
    for per_byte in (0.0, 3e-11):
        said = {str(i): 2e-5 + 0.8 * table.raw(n) + per_byte * n.weight_bytes for i, n in enumerate(networks)}
        monkeypatch.setattr(latency, "measure", lambda models, said=said, **options: said)
        latency.correct(table, space, count=8)
        assert (table.intercept, table.slope, table.per_byte) == pytest.approx(
            (2e-5, 0.8, per_byte), rel=1e-6, abs=1e-13
        )
        assert table.predict(networks[3]) == pytest.approx(said["3"])


def test_bytes_cost_nothing_where_that_cannot_be_told():
    raw, held = np.array([1e-5, 2e-5, 3e-5]), np.array([5.0, 1.0, 7.0])
    assert latency.fitted(raw, held, 1e-6 + 2 * raw) == pytest.approx((1e-6, 2, 0))  # three networks for three numbers
    many, held = np.linspace(1e-5, 9e-5, 12), np.random.default_rng(0).uniform(1e3, 1e5, 12)
    found = latency.fitted(many, held, 1e-6 + 2 * many - 1e-11 * held)  # weights that save time: noise
    assert found[2] == 0 and found[1] == pytest.approx(2, rel=0.05)
    assert latency.fitted(np.full(9, 1e-5), np.arange(9.0), np.full(9, 3e-5)) == pytest.approx((0, 3, 0))


def test_blocks_that_are_measured_while_the_clock_is_slow_get_the_same_times(monkeypatch):
    speed = iter([1.0, 1.0, 2.0, 2.0, 0.5, 0.5])  # of each round of three batches

    class Session:
        def __init__(self, block):
            self.block = block

        def profile(self, feed, runs):
            if self.block is blocks[0] or self.block is blocks[2] or self.block is blocks[4]:
                self.now = Session.now = next(speed)
            return [
                {"op": "Conv", "node": "x", "kernel": "sgemm", "seconds": Session.now * 1e-6 * (1 + self.block.out)}
            ]

    blocks = [Block("conv", 8, 8, 8 * i, activation="relu") for i in range(1, 7)]
    monkeypatch.setattr(latency, "BATCH", 2)
    monkeypatch.setattr(latency, "_opened", lambda block, *how: (Session(block), {}))
    monkeypatch.setattr(latency, "_reference", lambda *how: (Session(latency.REFERENCE), {}))
    table = Table.here()
    latency.fill(table, blocks, rounds=2)
    assert [table.blocks[b.key] for b in blocks] == pytest.approx([1e-6 * (1 + b.out) for b in blocks])


@pytest.mark.parametrize("space", [spaces.MOBILE, spaces.CELLS], ids=["mobile", "cells"])
def test_bytes_of_weights_are_those_of_the_model(space):
    network = latency.sample(read(space), 1, seed=3)[0]
    model = network.onnx(batchnorm=False)
    held = sum(4 * np.prod(t.dims) for t in model.graph.initializer if len(t.dims) > 1)
    bits = 4 if network.blocks[-1].bits == 32 else 1
    assert network.weight_bytes * (4 / bits) >= held / 2 and (bits != 4 or network.weight_bytes == held)


@pytest.mark.parametrize("bits", [8, 4])
def test_blocks_are_timed_on_dense_kernels(bits):
    block = Block("mb", 14, 16, 16, 3, 1, 32, activation="relu", bits=bits)
    session, feed = latency._opened(block, "int8", 1)
    kernels = {row["kernel"] for row in session.profile(feed, 1)}
    assert "qgemm" in kernels and not kernels & {"spmm", "bspmm", "qspmm"}


def test_weights_that_are_easy_to_quantize_allow_int16_accumulation_as_they_are():
    network = latency.sample(read(spaces.MOBILE | {"precision": "int8"}), 1, seed=3)[0]
    model = latency.whole(network, "int8")
    codes = [c for t in model.graph.initializer if (c := onnx.numpy_helper.to_array(t)).dtype == np.int8 and c.ndim > 1]
    largest = [np.abs(c.reshape(len(c), -1)).max(1) for c in codes if c.ndim == 4]
    assert largest and all((x == 127).all() for x in largest)
