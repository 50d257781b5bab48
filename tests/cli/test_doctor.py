import numpy as np

from pycompress import native
from pycompress.cli import doctor


def test_every_implementation_of_every_kernel_is_checked(command):
    r = command("doctor", "--json")
    assert {(c["kernel"], c["isa"]) for c in r["checks"]} == {
        (name, isa) for name in native.names() for isa in getattr(native, name).impls()
    }
    assert r["ok"] and all(c["ok"] for c in r["checks"])
    for name in native.names():
        assert sum(c["picked"] for c in r["checks"] if c["kernel"] == name) == 1


def test_without_numba_scalar_c_is_the_reference(command, monkeypatch):
    monkeypatch.setattr(doctor, "_has_numba", lambda: False)
    assert command("doctor", "--json")["reference"] == "scalar C"


def test_a_wrong_kernel_is_told_and_fails(command, monkeypatch):
    def wrong(call, arguments, outs, isa):
        results = honest(call, arguments, outs, isa)
        if isa != "scalar" and isinstance(call, native.Kernel):
            first = results[0].reshape(-1)[:1]
            first[:] = first == 0
        return results

    honest = doctor._results
    monkeypatch.setattr(doctor, "_results", wrong)
    r = command("doctor", "--json", code=1)
    assert not r["ok"] and any("off by" in c["why"] for c in r["checks"])


def test_nan_where_none_belongs_is_a_difference():
    want = np.array([1, np.nan, np.inf], np.float32)
    assert doctor.difference(want, want) == 0
    assert doctor.difference(want, np.array([np.nan, np.nan, np.inf], np.float32)) == np.inf
    assert doctor.difference(want, np.array([1, 0, np.inf], np.float32)) == np.inf
    assert doctor.difference(np.array([3], np.uint8), np.array([255], np.uint8)) == 252
