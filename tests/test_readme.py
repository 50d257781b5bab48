"""README.md is right as written: its blocks run line by line, and the names in it exist."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import pycompress as pc
from pycompress import zoo
from pycompress.cli import COMMANDS, main, parser
from pycompress.cpu import LEVELS
from pycompress.zoo import photos

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
INSTALL = (  # not run here: they install what runs these tests, and run the demo (tests/cli/test_demo.py) and these tests
    "pip install -e '.[demo]' && pycompress demo      # the main job",
    "pip install -e '.[dev]' && pytest -n auto        # the tests",
)


def python_script() -> str:
    """All Python blocks as one script, each line where it stands in README.md, so that errors name its line."""
    inside, script = False, []
    for line in README.splitlines():
        inside = line == "```python" if line.startswith("```") else inside
        script.append(line if inside and not line.startswith("```") else "")
    return "\n".join(script)


def shell_commands() -> list[str]:
    """The lines of all indented blocks; fenced ones are Python's."""
    fences = re.findall(r"^```(.*)$", README, re.M)
    assert set(fences[::2]) == {"python"} and set(fences[1::2]) == {""}
    prose = re.sub(r"^```python$.*?^```$", "", README, flags=re.M | re.S)
    return [line[4:] for line in prose.splitlines() if line.startswith("    ")]


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that README.md takes for given; `python` and `pycompress` in it are those of this interpreter."""
    model = zoo.mobilenetv1(width=0.25)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    external = {"save_as_external_data": True, "location": "exported.onnx.data", "size_threshold": 0}
    onnx.save(zoo.mobilenetv1(width=0.25), tmp_path / "exported.onnx", **external)
    (tmp_path / "labels.txt").write_text("\n".join(f"class {i}" for i in range(1000)))
    (tmp_path / "photos").mkdir()
    for i, crop in enumerate(photos.crops(photos.CALIBRATION, 10)):
        Image.fromarray(crop).save(tmp_path / "photos" / f"{i}.jpg")
    Image.fromarray(photos.photo("chelsea")).save(tmp_path / "cat.jpg")
    image = photos.center(photos.photo("chelsea"))
    np.save(tmp_path / "image.npy", image[None])
    np.save(tmp_path / "input.npy", photos.preprocess(image))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    for name, words in (("python", ""), ("pycompress", " -m pycompress")):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def quantized_by_onnxruntime(folder: Path) -> None:
    """Writes other.int8.onnx."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        samples = [{"input": photos.preprocess(x)} for x in photos.crops(photos.CALIBRATION, 2)]

        def get_next(self):
            return self.samples.pop() if self.samples else None

    quantization.quantize_static(folder / "model.onnx", folder / "other.int8.onnx", Reader())


def gguf_file(path: Path) -> None:
    """Writes the Q4_0 tensor that README.md reads."""
    import gguf

    weights = np.random.default_rng(0).standard_normal((64, 128), np.float32)
    q4_0 = gguf.GGMLQuantizationType.Q4_0
    writer = gguf.GGUFWriter(path, "test")
    writer.add_tensor("blk.0.ffn_up.weight", gguf.quants.quantize(weights, q4_0), raw_dtype=q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(words, folder: Path) -> str:
    env = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout


# Lines of README that need an extra beyond [dev]; where it is missing, they are not run.  .ci/run installs all.
NEEDS = {"examples/fashion": "torch", "pycompress train": "torch", "--finetune": "torch", "pycompress search": "optuna"}


def test_the_python_blocks_run_in_order(folder):
    gguf_file(folder / "model.gguf")
    (folder / "README.md").write_text(python_script())
    said = run([sys.executable, "README.md"], folder)
    assert "SNR" in said and "class " in said


def test_the_shell_commands_run_line_by_line(folder):
    quantized_by_onnxruntime(folder)
    commands = shell_commands()
    assert tuple(line for line in commands if line.startswith("pip ")) == INSTALL
    for line in commands:
        if line not in INSTALL and all(find_spec(module) for words, module in NEEDS.items() if words in line):
            said = run(["bash", "-euc", line], folder)
            for names in re.findall(r"--against (\S+)", line):  # engines that are not installed are said to be left out
                assert all(re.search(rf"^{name}\b", said, re.M) for name in names.split(",")), said


def test_every_option_and_command_in_the_readme_exists(capsys):
    known = parser().format_help()
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command.__name__.split(".")[-1], "--help"])
        known += capsys.readouterr().out
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    assert options and options <= set(re.findall(r"--[a-z][a-z-]*", known))
    commands = set(re.findall(r"`pycompress ([a-z]+)|^    pycompress ([a-z]+)", README, re.M))
    assert {a or b for a, b in commands} <= {command.__name__.split(".")[-1] for command in COMMANDS}


def test_every_name_and_link_in_the_readme_exists():
    for path in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / path).exists(), path
    for dotted in re.findall(
        r"\b(?:pc|pycompress)\.([a-z_A-Z.]+)", re.sub(r"\S+\.(safetensors|onnx|ort)\b", "", README)
    ):
        found = pc
        for name in dotted.rstrip(".").split("."):
            found = getattr(found, name)


def test_the_readme_names_the_environment_variables_that_the_code_reads():
    code = "".join(p.read_text() for p in (ROOT / "pycompress").rglob("*.py"))
    read = set(re.findall(r"""environ(?:\.get\(|\[)\s*["'](\w+)""", code))
    assert read == set(re.findall(r"PYCOMPRESS_[A-Z_]+", README)) and len(read) == 2
    assert all(f"`{level}`" in README for level in LEVELS)


def test_the_extras_in_the_readme_exist():
    project = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r"\[([a-z]+)\][`']", README):
        assert re.search(rf"^{extra} = \[", project, re.M), extra
