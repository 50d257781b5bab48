"""A sample of the fuzzer's cases; ``fuzz.py`` tries as many as one likes."""

import json
import subprocess
import sys
from pathlib import Path


def test_changed_models_and_plans_are_refused_or_run():
    words = [sys.executable, Path(__file__).parent / "fuzz.py", "--cases", "400", "--processes", "1", "--seed", "2026"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert sum(counts.values()) == 400 and min(counts["model ran"], counts["plan ran"]) > 20
