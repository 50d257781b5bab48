"""The package as other tools see it: names, stubs, headers and the C library."""

import ast
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pycompress
from pycompress import zoo

APP = """
#include <pycompress.h>
#include <stdio.h>

void json_free(void) {} /* an application may use names that the library's own files use */

int main(int argc, char **argv)
{
    char why[256] = "";
    pcx_plan *plan = NULL;
    int code = pcx_plan_load(argv[argc - 1], pcx_cpu(), &plan, why, sizeof why);
    printf("%d %s %d\\n", code, why, code == PCX_OK ? (int)pcx_plan_programs(plan) : 0);
    pcx_plan_free(plan);
    return code != PCX_OK;
}
"""


def test_dir_lists_every_public_name():
    assert set(pycompress.__all__) <= set(dir(pycompress))
    assert {"layers", "native", "kernels", "ort", "train", "zoo"} <= set(dir(pycompress))
    assert not {"annotations", "import_module"} & set(dir(pycompress))
    assert {*pycompress.native.names(), "aligned", "names"} <= set(dir(pycompress.native))


def test_the_stubs_hold_the_public_names():
    tree = ast.parse((Path(pycompress.__file__).parent / "__init__.pyi").read_text())
    found = {a.asname for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}
    found |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    modules = {"layers", "native", "kernels", "numba", "ort", "torch", "train", "zoo"}
    assert found == {*pycompress.__all__, *modules}


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_c_program_is_built_with_the_flags_that_the_package_prints(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-m", "pycompress", "--cflags", "--libs"], capture_output=True, text=True, check=True
    )
    (tmp_path / "app.c").write_text(APP)
    subprocess.run(
        ["cc", "-Wall", "-Werror", "-o", tmp_path / "app", tmp_path / "app.c", *shlex.split(printed.stdout)], check=True
    )
    said = subprocess.run([tmp_path / "app", zoo.tiny()], capture_output=True, text=True)
    assert said.returncode == 0 and said.stdout.split()[-1] == "1", said.stdout


def test_the_extension_carries_no_debugging_tables():
    from pycompress import _pcx

    assert os.path.getsize(_pcx.__file__) < 4_000_000
