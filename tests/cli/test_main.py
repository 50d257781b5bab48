import subprocess
import sys

import pytest

from pycompress import __version__
from pycompress.cli import COMMANDS, main, parser
from pycompress.cli.output import Output


def test_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"pycompress {__version__}\n"


@pytest.mark.parametrize("name", [c.__name__.split(".")[-1] for c in COMMANDS])
def test_every_command_explains_itself_and_speaks_json(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--json" in text and "--quiet" in text
    assert name in parser().format_help()


def test_the_command_line_starts_without_onnx_numba_and_peers():
    code = "import sys; from pycompress.cli import parser; parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"onnx", "numba", "onnxruntime", "openvino", "rich", "PIL"} & {m.split(".")[0] for m in loaded}


@pytest.mark.parametrize("flag", ["--cflags", "--libs"])
def test_flags_of_builds_stand_alone(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        main([flag, "doctor"])
    assert stop.value.code == 2 and "stand alone" in capsys.readouterr().err


@pytest.mark.parametrize("flag, value", [("--threads", "0"), ("--threads", "5000"), ("--seed", "-1"), ("--runs", "x")])
def test_numbers_out_of_range_are_named_by_their_flag(flag, value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "model.onnx", flag, value])
    assert stop.value.code == 2 and f"argument {flag}" in capsys.readouterr().err


def test_a_missing_model_is_one_line_and_exit_code_2(refused):
    assert refused("info", "nowhere.onnx") == "pycompress info: no such model: nowhere.onnx"


def test_a_file_that_is_no_model_is_refused(tmp_path, refused):
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"\xff" * 100)
    assert f"{path}: not an ONNX model" in refused("info", path)


def test_a_file_that_cannot_be_read_is_named_without_an_error_number(tmp_path, refused):
    said = refused("compress", "zoo:mobilenetv1,width=0.25", tmp_path / "o.onnx", "--recipe", tmp_path / "none.json")
    assert said == f"pycompress compress: {tmp_path}/none.json: No such file or directory"


def test_an_unknown_network_of_the_zoo_is_refused(refused):
    assert "zoo has no network 'lenet'" in refused("info", "zoo:lenet")
    assert "width" in refused("info", "zoo:mobilenetv1,width")
    said = "mobilenetv1 has no option 'wdith'; it has width, classes, resolution, batch, batchnorm, seed, opset"
    assert said in refused("info", "zoo:mobilenetv1,wdith=0.5")
    assert "width must be a number, true, false or none, got 'big'" in refused("info", "zoo:mobilenetv1,width=big")


OPERATORS = """import ctypes, pycompress
RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
pycompress.register_operator("my::Nothing", RUN(lambda *args: None), {"x": "f32[n]", "out": "f32[n]"})
"""


def test_a_file_that_registers_operators_is_run_first(command, refused, tmp_path):
    from onnx import parser

    from pycompress import compile, kernels, operators

    (tmp_path / "own.py").write_text(OPERATORS)
    (tmp_path / "bad.py").write_text("1 / 0")
    exec(OPERATORS, {})
    text = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[3] x) => (float[3] y) { y = my.Nothing (x) }'
    compile(parser.parse_model(text)).save(tmp_path / "own.plan.safetensors")
    del operators.REGISTERED["my::Nothing"], kernels.CUSTOM["my::Nothing"]
    said = refused("info", tmp_path / "own.plan.safetensors")
    assert "needs the custom operator my::Nothing" in said and "--operators names a Python file" in said
    assert "bad.py: ZeroDivisionError" in refused(
        "info", tmp_path / "own.plan.safetensors", "--operators", tmp_path / "bad.py"
    )
    told = command("info", tmp_path / "own.plan.safetensors", "--operators", tmp_path / "own.py", "--json")
    assert told["programs"][0]["kernels"] == {"my::Nothing": 1} and told["isas"] == {"my::Nothing": "custom"}
    del operators.REGISTERED["my::Nothing"], kernels.CUSTOM["my::Nothing"]


def test_tables_align_numbers_to_the_right(capsys):
    Output().table(("name", "n"), [("a", 1), ("b", 100)])
    assert capsys.readouterr().out.splitlines() == ["name    n", "----  ---", "a       1", "b     100"]


def test_plans_run_where_onnx_is_not_installed(files, tmp_path):
    code = "import sys; sys.modules['onnx'] = None; from pycompress.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["run", files / "images.plan.safetensors", files / "cat.png"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0 and "class" in done.stdout
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install" in done.stderr
