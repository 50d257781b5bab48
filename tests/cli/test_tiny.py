"""``pycompress demo --tiny`` and zoo:tiny."""

import json
import subprocess
import sys

import pytest

from pycompress import zoo

ALONE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names and top not in ("numpy", "cffi", "_cffi_backend", "pycompress", "kernels"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
from pycompress.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def alone():
    """Runs a command in a process that has numpy and cffi alone; what it printed."""

    def run(*words):
        done = subprocess.run([sys.executable, "-c", ALONE, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_it_needs_numpy_and_cffi_only(alone):
    r = json.loads(alone("demo", "--tiny", "--json", "--runs", "1"))
    assert len(r["images"]) == 64 and r["bytes"] == zoo.tiny().stat().st_size
    assert r["right"] == sum(a["true"] == a["predicted"] for a in r["images"]) > 50
    assert 0 < r["min_us"] <= r["median_us"] and r["runs"] >= 64 and r["threads"] == 1
    assert 0.9 < r["accuracy"] < 1 and "10000 test images" in r["accuracy_of"] and r["accuracy_measured"]
    assert r["isa"] and r["macs"] > 1e6 and all(0 < a["p"] <= 1 for a in r["images"])


def test_it_prints_sixteen_images_the_accuracy_and_the_time(command):
    lines = command("demo", "--tiny", "--runs", "1").splitlines()
    assert [line.split()[0] for line in lines[2:18]] == [str(i) for i in range(16)]
    assert any(line.startswith("Accuracy: 9") and "test images of Fashion-MNIST (20" in line for line in lines)
    assert lines[-1].startswith("time of an image: ") and "kB, 1.2 million multiply-accumulates" in "\n".join(lines)


@pytest.mark.parametrize("words", [("--crops", "4"), ("--out", "here")])
def test_flags_of_the_other_demo_are_refused(words, refused):
    assert "without --tiny" in refused("demo", "--tiny", *words)


def test_the_embedded_network_is_a_model_for_other_commands_too(alone):
    assert json.loads(alone("info", "zoo:tiny", "--json"))["labels"] == 10
    assert len(json.loads(alone("profile", "zoo:tiny", "--runs", "1", "--json"))["steps"]) == 28
    assert json.loads(alone("bench", "zoo:tiny", "--runs", "1", "--json"))["engines"]["pycompress"]["min_ms"] > 0


def test_it_cannot_be_compressed_again(refused, tmp_path):
    assert "a plan cannot be compressed" in refused("compress", "zoo:tiny", tmp_path / "o.onnx", "--cast", "float16")
