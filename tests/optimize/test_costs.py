"""Cost tables: what was measured is told exactly, the rest between."""

import json

import numpy as np
import pytest

from pycompress.optimize import costs as module
from pycompress.optimize.costs import FORMAT, LISTED, Costs, _nearest, costs_of, curves, shipped

US = 1e-6
AVX2 = dict.fromkeys(LISTED, "avx2")


def table(**times):
    """A table of (m, k, n, density, microseconds) by kernel."""
    return Costs(
        AVX2, "a test", {f: curves((m, k, n, d, t * US) for m, k, n, d, t in rows) for f, rows in times.items()}
    )


def test_what_was_measured_is_told_and_densities_between_are_linear():
    costs = table(
        spmm=[(100, 64, 32, 0.5, 40), (100, 64, 32, 0.1, 10), (10, 8, 8, 1.0, 5)], sgemm=[(100, 64, 32, 1.0, 30)]
    )
    assert costs.seconds("sgemm", 100, 64, 32) == pytest.approx(30 * US, rel=1e-4)
    assert costs.seconds("spmm", 100, 64, 32, 0.1) == pytest.approx(10 * US, rel=1e-4)
    assert costs.seconds("spmm", 100, 64, 32, 0.3) == pytest.approx(25 * US, rel=1e-4)
    assert costs.seconds("spmm", 100, 64, 32, 0.01) == pytest.approx(10 * US, rel=1e-4)  # nothing below is known
    assert costs.seconds("qspmm", 100, 64, 32) is None


def test_other_shapes_take_the_time_of_their_neighbours_per_product():
    costs = table(sgemm=[(100, 64, 32, 1.0, 30), (100, 1024, 1024, 1.0, 9000)])
    near = costs.seconds("sgemm", 200, 64, 32)
    assert near == pytest.approx(60 * US, rel=0.05)
    assert 30 * US < costs.seconds("sgemm", 100, 256, 128) < 9000 * US


def test_a_sparse_kernel_wins_from_where_it_stays_well_below_dense():
    costs = table(spmm=[(9, 9, 9, 0.0, 0), (9, 9, 9, 1.0, 100)], sgemm=[(9, 9, 9, 1.0, 39.5)])
    assert costs.wins_from("spmm", "sgemm", 9, 9, 9) == 0.65
    never = table(spmm=[(9, 9, 9, 1.0, 100)], sgemm=[(9, 9, 9, 1.0, 50)])
    assert never.wins_from("spmm", "sgemm", 9, 9, 9) is None
    assert never.wins_from("bspmm", "sgemm", 9, 9, 9) is None


def test_a_saved_table_comes_back(tmp_path):
    costs = table(spmm=[(100, 64, 32, 0.5, 40.125), (100, 64, 32, 0.1, 10)], sgemm=[(100, 64, 32, 1.0, 30)])
    costs.save(tmp_path / "costs.json", date="2026-11-26")
    again = Costs.load(tmp_path / "costs.json")
    assert (again.isas, again.host) == (AVX2, "a test")
    assert json.loads((tmp_path / "costs.json").read_text())["date"] == "2026-11-26"
    for kernel, shapes in costs.times.items():
        for shape, (densities, seconds) in shapes.items():
            np.testing.assert_allclose(again.times[kernel][shape], (densities, seconds), rtol=1e-9)


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"pycompress.costs": 99, "isas": {}, "host": "", "rows": {}}',
    *(json.dumps({"pycompress.costs": FORMAT, "isas": AVX2, "host": "", "rows": rows}) for rows in (
        [], {"spmm": [[1, 2, 3, 0.5]]}, {"spmm": [[0, 2, 3, 0.5, 1]]}, {"spmm": [[1, 2, 3, 1.5, 1]]},
        {"spmm": [[1, 2, 3, 0.5, 0]]}, {"spmm": [[1.5, 2, 3, 0.5, 1]]}, {"spmm": 3},
    )),
])  # fmt: skip
def test_what_is_no_table_is_refused_by_name(tmp_path, text):
    (tmp_path / "costs.json").write_text(text)
    with pytest.raises(ValueError, match="costs.json: not a cost table"):
        Costs.load(tmp_path / "costs.json")


def test_the_table_with_most_of_the_instruction_sets_is_the_nearest():
    here = shipped(tuple(AVX2.items()))
    wide = Costs(AVX2 | {"sgemm": "avx512", "spmm": "avx512"}, "wide", here.times)
    wanted = wide.isas | {"qgemm": "avx512vnni"}
    assert _nearest([here, wide], wanted).host.startswith("wide") and _nearest([wide], AVX2) is None


@pytest.mark.parametrize("isa", ["avx2", "scalar"])
def test_tables_are_shipped_and_list_every_kernel(isa):
    costs = shipped(tuple(dict.fromkeys(LISTED, isa).items()))
    assert costs.isa == isa and costs.host
    for kernel in ("sgemm", "spmm", "bspmm", "qspmm", *(f"qgemm.{T}" for T in (0, 1, 2, 4, 8))):
        assert costs.seconds(kernel, 196, 512, 512, 0.2) > 0


def test_a_file_nested_too_deeply_is_no_cost_table(tmp_path):
    (tmp_path / "costs.json").write_text("[" * 100000)
    with pytest.raises(ValueError, match="costs.json: not a cost table"):
        Costs.load(tmp_path / "costs.json")


@pytest.mark.parametrize("isas, float_factor, int8_factor", [
    ({"sgemm": "avx512", "spmm": "avx512", "qgemm": "avx512vnni"}, 2, 4), ({"qgemm": "avxvnni"}, 1, 2),
    ({"sgemm": "avx512", "qgemm": "amx"}, 2, 32),
])  # fmt: skip
def test_without_a_table_for_an_isa_dense_kernels_count_as_fast_as_its_ports_allow(isas, float_factor, int8_factor):
    here = shipped(tuple(AVX2.items()))
    other = _nearest([here], AVX2 | isas)
    size = 196, 512, 512
    assert other.seconds("sgemm", *size) == pytest.approx(here.seconds("sgemm", *size) / float_factor)
    assert other.seconds("qgemm.4", *size) == pytest.approx(here.seconds("qgemm.4", *size) / int8_factor)
    for name in ("spmm", "bspmm", "qspmm"):
        assert other.seconds(name, *size, 0.2) == here.seconds(name, *size, 0.2)
    assert "dense kernels as fast as" in other.host


def test_dense_kernels_count_as_slower_where_512_bits_take_two_passes(monkeypatch):
    wide = {"bspmm": "avx512", "qgemm": "avx512vbmi", "qspmm": "avx512vbmi", "sgemm": "avx512", "spmm": "avx512"}
    monkeypatch.setattr(module, "selected_isas", lambda cpu: wide if cpu is None else AVX2)
    one, size = shipped(tuple(wide.items())), (784, 32, 192)
    for halves in (False, True):
        monkeypatch.setattr(module, "two_passes", lambda halves=halves: halves)
        here = costs_of(None)
        assert here.seconds("sgemm", *size) == pytest.approx(
            one.seconds("sgemm", *size) * (module.HALVES if halves else 1)
        )
        assert here.seconds("spmm", *size, 0.2) == one.seconds("spmm", *size, 0.2)
        assert costs_of(None, "avx2") is shipped(tuple(AVX2.items()))


def test_dense_int8_on_amx_is_not_beaten_by_sparse_kernels():
    amx = shipped(tuple((AVX2 | {"sgemm": "avx512", "qgemm": "amx"}).items()))
    assert amx.wins_from("qspmm", "qgemm.4", 784, 256, 256) is None
    assert shipped((("sgemm", "neon"), ("qgemm", "neon"), ("spmm", "neon"))) is None


def test_the_table_is_that_of_the_kernels_that_run(monkeypatch):
    monkeypatch.setenv("PYCOMPRESS_CPU", "scalar")
    assert costs_of(None).isa == "scalar"
