"""threadpoolctl controls the threads of this library."""

import subprocess
import sys

import pytest

pytest.importorskip("threadpoolctl")

CODE = """
import threadpoolctl
import pycompress as pc
pc.set_num_threads(3)
rows = [row for row in threadpoolctl.threadpool_info() if row["user_api"] == "pycompress"]
assert len(rows) == 1 and rows[0]["num_threads"] == 3 and rows[0]["version"] == pc.__version__, rows
with threadpoolctl.threadpool_limits(1, user_api="pycompress"):
    assert pc.get_num_threads() == 1
assert pc.get_num_threads() == 3
with threadpoolctl.threadpool_limits(2):
    assert pc.get_num_threads() == 2
print("good")
"""
LATE = "import pycompress\nfrom pycompress.integrations import threads\nthreads.register()\nthreads.register()\n"


@pytest.mark.parametrize("before", ["", LATE])
def test_threadpoolctl_lists_and_limits_the_threads(before):
    run = subprocess.run([sys.executable, "-c", before + CODE], capture_output=True, text=True, timeout=120)
    assert run.stdout == "good\n", run.stderr
