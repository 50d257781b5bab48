"""The folder of a run tells runs apart, and says what to do with files that are damaged."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")

from pycompress.errors import TrainingError
from pycompress.train import data, fit
from pycompress.train.data import Normalize
from pycompress.train.feed import Parts
from pycompress.train.folder import Folder, identity_of

RECIPE = {"train": {"epochs": 1, "batch": 256}, "quantize": {"epochs": 0, "samples": 16}}


@pytest.fixture(scope="module")
def parts():
    train, valid = data.split(data.load("digits"), 100)
    return Parts(train[:300], valid, data.load("digits", "test")[:100], Normalize((0.5,), (0.25,), 1))


@pytest.fixture
def run(tiny, parts, tmp_path):
    fit(tiny, parts, RECIPE, out=tmp_path / "run")
    return tmp_path / "run"


def again(run, tiny, parts):
    return fit(tiny, parts, RECIPE, out=run, resume=True)


def test_damaged_files_are_named_and_the_stage_is_done_again_without_them(run, tiny, parts):
    whole = (run / "model.onnx").read_bytes()
    for name in ("train.json", "train.onnx", "quantize.onnx"):
        good = (run / name).read_bytes()
        for bad in (b"", good[: len(good) // 2], b"[1]", b"\xff\xfe"):
            (run / name).write_bytes(bad)
            with pytest.raises(
                TrainingError, match=rf"{name} is damaged .*: delete it, and {name.split('.')[0]} is done"
            ):
                again(run, tiny, parts)
        (run / name).unlink()
        again(run, tiny, parts)
        assert (run / "model.onnx").read_bytes() == whole
    (run / "recipe.json").write_text("{")
    with pytest.raises(TrainingError, match=r"recipe.json is damaged .*: delete .*run to begin again"):
        again(run, tiny, parts)


def test_test_images_belong_to_a_run(run, tiny, parts):
    other = data.Data(parts.test.images[:50], parts.test.labels[:50], parts.test.classes)
    for test in (other, None):
        with pytest.raises(TrainingError, match="holds a run with other test images"):
            again(run, tiny, dataclasses.replace(parts, test=test))
    again(run, tiny, parts)


def test_a_run_without_test_images_may_be_judged_on_some_later(tiny, parts, tmp_path):
    fit(tiny, dataclasses.replace(parts, test=None), RECIPE, out=tmp_path / "run")
    assert again(tmp_path / "run", tiny, parts).accuracy is not None


def test_a_file_where_a_folder_is_needed_is_named(tiny, parts, tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    for out in (file, file / "below" / "it"):
        with pytest.raises(FileExistsError, match="file is a file: name a folder"):
            fit(tiny, parts, RECIPE, out=out)
    assert file.read_text() == "precious"


def test_identities_differ_where_images_labels_or_pixels_do(parts):
    flipped = data.Data(np.ascontiguousarray(parts.train.images[::-1]), parts.train.labels, parts.train.classes)
    each = [
        parts,
        dataclasses.replace(parts, train=flipped),
        dataclasses.replace(parts, normalize=Normalize((0.4,), (0.25,), 1)),
    ]
    assert len({json.dumps(identity_of(p)["data"]) for p in each}) == 3
    assert len({json.dumps(identity_of(p)["test"]) for p in each}) == 1


def test_nothing_is_made_where_something_else_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="with other files"):
        Folder(tmp_path, {"network": "", "recipe": {}}, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


WORKER = """
import sys, time
from pycompress.train.folder import Folder
folder = Folder(sys.argv[1], {"recipe": {}}, resume=True)
print("begun", flush=True)
time.sleep(60)
"""


def test_two_runs_do_not_work_in_one_folder_and_a_killed_one_blocks_none(tmp_path):
    worker = subprocess.Popen([sys.executable, "-c", WORKER, tmp_path / "run"], stdout=subprocess.PIPE)
    try:
        assert worker.stdout.readline() == b"begun\n"
        for resume in (True, False):
            with pytest.raises(
                TrainingError, match=rf"run is in use by process {worker.pid} on .*: wait until it ends"
            ):
                Folder(tmp_path / "run", {"recipe": {}}, resume=resume)
    finally:
        worker.kill()
        worker.communicate()
    first = Folder(tmp_path / "run", {"recipe": {}}, resume=True)
    with pytest.raises(TrainingError, match="is in use"):
        Folder(tmp_path / "run", {"recipe": {}}, resume=True)
    first.close()
    with pytest.raises(TrainingError, match="another recipe"):
        Folder(tmp_path / "run", {"recipe": {"x": 1}}, resume=True)
    Folder(tmp_path / "run", {"recipe": {}}, resume=True).close()


def test_the_seconds_of_a_stage_are_those_of_all_runs_that_worked_on_it(tmp_path, tiny):
    def killed(checkpoint):
        checkpoint.write_bytes(b"half")
        raise KeyboardInterrupt

    for earlier in (0, 100):
        folder = Folder(tmp_path / "run", {"recipe": {}}, resume=True)
        with pytest.raises(KeyboardInterrupt):
            folder.stage("train", killed)
        folder.close()
        begun = tmp_path / "run" / "train.begun"
        held = json.loads(begun.read_text())
        assert earlier <= held["earlier"] < earlier + 60
        begun.write_text(json.dumps({**held, "began": (tmp_path / "run" / "train.checkpoint").stat().st_mtime - 100}))
    folder = Folder(tmp_path / "run", {"recipe": {}}, resume=True)
    _, said = folder.stage("train", lambda checkpoint: (tiny, {}))
    folder.close()
    assert 200 <= said["seconds"] < 260 and said == json.loads((tmp_path / "run" / "train.json").read_text())
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["lock", "recipe.json", "train.json", "train.onnx"]
