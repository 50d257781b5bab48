"""Progress goes to stderr, and covers the whole work."""

import io
import json

import numpy as np
import pytest

from pycompress.cli import main, progress
from pycompress.cli.output import Output


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)


def test_every_part_of_every_step_is_counted_off_a_terminal(files, tmp_path, capsys, often):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((3, 3, 48, 48), np.float32))
    words = ("--prune", "0.5", "--quantize", "--calibration", tmp_path / "c.npy", "--json")
    assert main([str(w) for w in ("compress", files / "net.onnx", tmp_path / "o.onnx", *words)]) == 0
    printed = capsys.readouterr()
    assert set(json.loads(printed.out)["steps"]) == {"prune", "quantize"}
    lines = printed.err.splitlines()
    for start in ("prune (step 1 of 2): sample ", "prune (step 1 of 2): layer ", "quantize (step 2 of 2): layer "):
        assert any(line.startswith(start) for line in lines), start


def test_lines_come_now_and_then_across_all_parts(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = Output()
    for label in ("one", "two"):
        with out.progress(label, 6) as tick:
            for _ in range(6):
                now[0] += 4.0
                tick()
    assert capsys.readouterr().err.splitlines() == ["one: 3 of 6", "one: 6 of 6", "two: 3 of 6", "two: 6 of 6"]


def test_quiet_is_silent(capsys, often):
    with Output(quiet=True).progress("working", 3) as tick:
        tick()
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_sees_a_bar_that_goes_away(rich, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    if not rich:
        monkeypatch.setattr(progress, "module_of_rich", lambda name: None)
    with Output().progress("work [of] mine", 2) as tick:
        tick()
        tick(2, 2, "layer")
    assert "work [of] mine" in terminal.getvalue()
    if not rich:
        assert "work [of] mine: layer 2 of 2" in terminal.getvalue() and terminal.getvalue().endswith("\r\033[K")


def test_json_is_json_also_where_numbers_are_not_finite(capsys):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    Output(json=True).finish({"a": float("nan"), "b": [np.float32("inf"), np.int64(3)], "c": np.array([1.5, -np.inf])})
    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {"a": None, "b": [None, 3], "c": [1.5, None]}
