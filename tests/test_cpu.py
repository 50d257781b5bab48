"""What `cpu_info` tells of the CPU and of the kernels."""

import subprocess
import sys

import pytest

import pycompress
from pycompress import native
from pycompress.cpu import BITS, _selected, cpu_mask


def test_what_is_used_is_what_kernels_run_on():
    info = pycompress.cpu_info()
    assert set(info["kernels"]) == set(native.names())
    assert set(info["used"]) == set(info["kernels"].values()) - {"scalar"} or info["used"] == ["scalar"]
    tiles = {"amx"} if {"amxint8", "amxbf16"} & set(info["isas"]) else set()  # one word for rows of either kind
    assert set(info["used"]) <= {*info["isas"], "scalar"} | tiles
    for name, isa in info["kernels"].items():
        assert getattr(native, name).impls()[isa] == getattr(native, name).impl()


def test_an_instruction_set_that_no_kernel_uses_is_not_listed_as_used(monkeypatch):
    monkeypatch.setattr("pycompress.cpu.cpu_mask", lambda: sum(BITS.values()))
    everything = set(dict(_selected(sum(BITS.values()))).values())
    used = pycompress.cpu_info()["used"]
    assert set(used) == everything - {"scalar"}


@pytest.mark.parametrize("variable, word", [("PYCOMPRESS_CPU", "avx3"), ("PYCOMPRESS_NUM_THREADS", "0")])
def test_unknown_words_in_the_environment_are_refused(variable, word, monkeypatch):
    monkeypatch.setenv(variable, word)
    with pytest.raises(ValueError, match=word):
        pycompress.cpu_info()


def test_the_environment_only_lowers(monkeypatch):
    whole = cpu_mask()
    monkeypatch.setenv("PYCOMPRESS_CPU", "scalar")
    info = pycompress.cpu_info()
    assert info["used"] == ["scalar"] and set(info["kernels"].values()) == {"scalar"}
    monkeypatch.setenv("PYCOMPRESS_CPU", "i8mm")
    assert cpu_mask() & ~whole == 0


def test_the_doctor_says_which_implementation_of_each_kernel_runs():
    done = subprocess.run([sys.executable, "-m", "pycompress", "doctor"], capture_output=True, text=True)
    assert done.returncode == 0
    info = pycompress.cpu_info()
    assert f"kernels use: {', '.join(info['used'])}" in done.stdout
    rows = [line.split()[:2] for line in done.stdout.splitlines() if "<--" in line]
    assert dict(rows) == info["kernels"]
