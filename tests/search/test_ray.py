"""The script that spreads workers with Ray, on one machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import spaces

pytest.importorskip("ray")
pytest.importorskip("torch")
yaml = pytest.importorskip("yaml")
optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[2]


def test_ray_workers_share_a_study(tmp_path):
    table = spaces.MOBILE | {
        "input": {"channels": 1, "classes": 10, "resolution": 8},
        "data": {"path": "digits", "validation": 0.3},
        "recipe": {"train": {"epochs": 1, "batch": 128}},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(table))
    words = [
        sys.executable,
        ROOT / "examples/search/ray_workers.py",
        "tiny.yaml",
        "--latency-us",
        "50000",
        "--trials",
        "4",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith("trial\t")
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/tiny/study.db")
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 4
