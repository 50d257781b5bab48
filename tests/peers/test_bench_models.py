"""The harness in bench/: what it makes of times, and the CPU it shows to the engines."""

import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pycompress.cpu import cpu_info
from pycompress.peers.interleave import Timing

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def harness():
    sys.path.insert(0, str(BENCH))
    try:
        import bench_models

        yield bench_models
    finally:
        sys.path.remove(str(BENCH))


def test_we_are_set_against_the_best_peer_of_any_precision(harness):
    ours, ours8, ort, ort8, ncnn = (
        next(c for c in harness.peer_models.CASES if (c.engine, c.precision) == key)
        for key in (("pycompress", "float"), ("pycompress", "int8"), ("onnxruntime", "float"),
                    ("onnxruntime", "int8"), ("ncnn", "float"))
    )  # fmt: skip
    times = {
        ours: Timing(((4.0, 5.0), (4.0, 6.0))),
        ours8: Timing(((2.0, 2.5), (2.0, 2.5))),
        ort: Timing(((3.0, 9.0), (3.0, 9.0))),
        ort8: Timing(((3.5, 3.5), (3.5, 3.5))),
        ncnn: Timing(((8.0, 8.0), (2.5, 8.0))),
    }
    int8, float32 = harness.summary("net", 1, times)
    assert (int8["precision"], int8["best_by_min"], int8["best_by_median"]) == (
        "int8",
        "ncnn float",
        "onnxruntime int8",
    )
    assert int8["ratio_min"] == 1.25 and int8["ratio_median"] == pytest.approx(3.5 / 2.25)
    assert int8["ratio_rounds"] == 1.5
    assert (float32["precision"], float32["best_by_min"]) == ("float", "ncnn float")
    assert float32["best_by_median"] == "onnxruntime float" and float32["ratio_min"] == 2.5 / 4
    assert harness.summary("net", 1, {ours: times[ours], ours8: times[ours8]}) == []


@pytest.mark.parametrize("script", ["bench_models.py", "peer_models.py"])
def test_help_works(script):
    done = subprocess.run([sys.executable, str(BENCH / script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--networks" in done.stdout


def test_unknown_engines_and_networks_are_refused():
    command = [sys.executable, str(BENCH / "bench_models.py"), "--against", "tvm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "unknown engine 'tvm'" in done.stderr


@pytest.fixture(scope="module")
def as_cpu():
    if sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("cc"):
        pytest.skip("needs Linux on x86-64 and a C compiler")
    spec = importlib.util.spec_from_file_location("as_cpu", BENCH / "as_cpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("level", ["avx2", "avxvnni", "avx512", "avx512vnni", "amx"])
def test_a_level_hides_all_that_lies_beyond_it(as_cpu, level):
    code = "from pycompress.cpu import cpu_info; print(*cpu_info()['isas'])"
    command = [sys.executable, str(BENCH / "as_cpu.py"), level, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    if "cannot make CPUID fault" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    wanted = as_cpu.LEVELS[level] | as_cpu.BEYOND.get(level, set())
    assert set(done.stdout.split()) == (set(cpu_info()["isas"]) & wanted or {"scalar"})
    assert not as_cpu.active()


def test_a_level_that_the_cpu_lacks_is_refused(as_cpu, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "as_cpu.so")
    monkeypatch.setenv("AS_CPU", "amx")
    monkeypatch.setattr("pycompress.cpu.cpu_info", lambda: {"isas": ["avx2"]})
    with pytest.raises(RuntimeError, match="this CPU has no amxint8, avx512, avx512vnni: it cannot be seen as amx"):
        as_cpu.check()
    monkeypatch.setenv("AS_CPU", "avx2")
    as_cpu.check()
