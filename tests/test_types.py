"""What type checkers and editors see of the package."""

import inspect
import os
import shutil
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

from public import members, public_names

ROOT = Path(__file__).resolve().parent.parent


def test_mypy_knows_the_types_of_a_user_s_program_and_its_mistakes(tmp_path):
    pytest.importorskip("mypy")
    site = tmp_path / "site" / "pycompress"  # as a wheel lays it out
    shutil.copytree(ROOT / "pycompress", site, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.a", "kernels"))
    shutil.copytree(ROOT / "kernels", site / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run(
        [*words, ROOT / "tests" / "user_program.py"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(site.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", public_names())
def test_every_parameter_and_result_has_a_type(name):
    thing = public_names()[name]
    if isinstance(thing, type) and issubclass(thing, (Enum, BaseException)):
        return  # of the standard library's making
    functions = {name: thing} if inspect.isfunction(thing) else {}
    if isinstance(thing, type):
        functions |= dict(members(thing))
    for where, function in functions.items():
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            assert parameter.name in ("self", "cls") or parameter.annotation is not parameter.empty, (
                f"{where}: {parameter}"
            )
        assert where.endswith("__init__") or signature.return_annotation is not signature.empty, f"{where}: its result"
