"""A model as a picklable function of batches."""

import logging
import multiprocessing
import pickle
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

import pycompress as pc
from pycompress import zoo
from pycompress.zoo import photos

NORM = {"mean": 127, "std": 128}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    path.write_bytes(zoo.mobilenetv1(width=0.25, resolution=32, classes=4, batch=None).SerializeToString())
    return path


@pytest.fixture(scope="module")
def plan(model):
    """A plan of a fixed batch that preprocesses and has labels."""
    path = model.parent / "net.plan.safetensors"
    made = pc.compile(model, input_shapes={"input": (2, 32, 32, 3)}, preprocess=NORM, labels=list("abcd"))
    made.save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine images and three that cannot be read."""
    return folder_of(tmp_path_factory.mktemp("images"), 12, {3: b"", 7: b"no image", 8: None})


def folder_of(folder, count: int, broken: dict[int, bytes | None]):
    """Images, and broken ones: with these bytes, or cut off in the middle."""
    for i in range(count):
        path = folder / f"{i:04}.png"
        Image.fromarray(photos.photo("chelsea")[i : i + 40, 100:140]).save(path)
        if i in broken:
            path.write_bytes(path.read_bytes()[:400] if broken[i] is None else broken[i])
    return folder


def paths_of(folder) -> list[str]:
    return [str(p) for p in sorted(folder.iterdir())]


def test_an_array_and_a_dict_and_rows_of_objects_are_the_same_batch(model):
    x = np.random.default_rng(0).standard_normal((5, 3, 32, 32), np.float32)
    expected = pc.InferenceSession(model).run(None, {"input": x})[0]
    predictor, rows = pc.Predictor(model), np.empty(5, object)
    rows[:] = list(x)
    for batch in (x, {"input": x}, {"input": rows}):
        assert np.allclose(predictor(batch)["logits"], expected, atol=1e-5)


def test_other_columns_are_passed_through(model):
    rows = pc.Predictor(model)({"input": np.zeros((2, 3, 32, 32), np.float32), "id": np.array([7, 9])})
    assert set(rows) == {"id", "logits"} and rows["id"].tolist() == [7, 9]


def test_images_give_what_the_session_gives_for_their_pixels(model, plan, folder):
    good = [p for i, p in enumerate(paths_of(folder)) if i not in (3, 7, 8)]
    a = pc.Predictor(model, preprocess=NORM)(good)
    b = pc.Predictor(plan)({"path": np.array(good)})
    from pycompress.images import read

    pixels = np.stack([read(p, 32, 32) for p in good])
    x = ((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
    expected = pc.InferenceSession(model).run(None, {"input": np.ascontiguousarray(x)})[0]
    assert a["path"].tolist() == b["path"].tolist() == good
    assert np.allclose(a["logits"], expected, atol=1e-4) and np.allclose(b["logits"], expected, atol=1e-4)


def test_the_best_classes_have_the_names_of_the_plan(plan, folder):
    paths = paths_of(folder)[:2]
    logits = pc.Predictor(plan)(paths)["logits"]
    one, two = pc.Predictor(plan, top=1)(paths), pc.Predictor(plan, top=2, labels="wxyz")(paths)
    assert one["class"].tolist() == logits.argmax(1).tolist() and one["p"].dtype == np.float32
    assert one["name"].tolist() == ["abcd"[i] for i in logits.argmax(1)]
    assert two["class"].shape == two["name"].shape == (2, 2) and (two["p"][:, 0] >= two["p"][:, 1]).all()
    assert two["name"][0, 0] == "wxyz"[logits[0].argmax()]


def test_a_broken_file_raises_and_is_named(plan, folder):
    with pytest.raises(ValueError, match=r"0003\.png"):
        pc.Predictor(plan)(paths_of(folder))


def test_a_broken_file_is_skipped_and_logged(plan, folder, caplog):
    with caplog.at_level(logging.WARNING):
        rows = pc.Predictor(plan, on_error="skip")([*paths_of(folder), str(folder / "missing.png")])
    assert len(rows["path"]) == len(rows["logits"]) == 9 and not [p for p in rows["path"] if "0003" in p]
    assert [r.getMessage().count(".png") >= 1 for r in caplog.records] == [True] * 4


def test_a_broken_file_is_reported_in_its_row(plan, folder):
    rows = pc.Predictor(plan, on_error="report", top=1)(paths_of(folder))
    bad = np.array([i in (3, 7, 8) for i in range(12)])
    assert [bool(e) for e in rows["error"]] == bad.tolist() and "0007.png" in rows["error"][7]
    assert (rows["class"][bad] == -1).all() and np.isnan(rows["p"][bad]).all() and (rows["name"][bad] == "").all()
    good = pc.Predictor(plan, top=1)([p for p, b in zip(paths_of(folder), bad) if not b])
    assert all((rows[name][~bad] == good[name]).all() for name in ("class", "p", "name", "path"))


@pytest.mark.parametrize("on_error, rows", [("skip", 0), ("report", 2)])
def test_a_batch_without_a_readable_file_is_no_trouble(plan, folder, on_error, rows):
    paths = [paths_of(folder)[i] for i in (3, 7)]
    found = pc.Predictor(plan, on_error=on_error)(paths)
    assert found["logits"].shape == (rows, 4) and len(found["path"]) == rows
    assert pc.Predictor(plan, on_error=on_error)([])["logits"].shape == (0, 4)


def test_a_pickled_predictor_is_its_path_and_options(model, tmp_path):
    predictor = pc.Predictor(model, preprocess=NORM, threads=2, top=1, labels="wxyz", on_error="skip")
    data = pickle.dumps(predictor)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert again.__getstate__() == predictor.__getstate__() and again._opened is None
    x = np.ones((3, 3, 32, 32), np.float32)
    assert again(x)["class"].tolist() == predictor(x)["class"].tolist()


def test_processes_share_a_predictor(plan, folder):
    paths = paths_of(folder)
    predictor = pc.Predictor(plan, on_error="report", top=1)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.map(predictor, [paths[i : i + 4] for i in range(0, 12, 4)])
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    alone = predictor(paths)
    assert all(np.array_equal(together[n], alone[n], equal_nan=alone[n].dtype.kind == "f") for n in alone)


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"threads": 0}, ValueError, "threads"),
        ({"top": True}, ValueError, "top"),
        ({"on_error": "ignore"}, ValueError, "on_error"),
        ({"preprocess": {"means": 1}}, ValueError, "means"),
        ({"preprocess": {"std": -1}}, ValueError, "std"),
        ({"preprocess": {"size": 224}}, ValueError, "size"),
    ],
)
def test_a_bad_option_is_refused_by_name(model, options, error, said):
    with pytest.raises(error, match=said):
        pc.Predictor(model, **options)


def test_a_model_in_memory_or_none_is_refused(tmp_path):
    with pytest.raises(TypeError, match="path"):
        pc.Predictor(b"model")
    with pytest.raises(FileNotFoundError):
        pc.Predictor(tmp_path / "missing.onnx")


def test_what_a_batch_lacks_is_said(model, plan, folder):
    with pytest.raises(ValueError, match="preprocess="):
        pc.Predictor(model)(paths_of(folder))
    with pytest.raises(ValueError, match="input 'input' is missing|as many in each"):
        pc.Predictor(model)({"other": np.zeros(3)})
    with pytest.raises(TypeError, match="list"):
        pc.Predictor(plan)("cat.jpg")
    with pytest.raises(ValueError, match="float32"):
        pc.Predictor(model)(np.zeros((1, 3, 32, 32), np.int64))


def test_the_size_of_images_may_be_given(tmp_path, folder):
    path = tmp_path / "open.onnx"
    path.write_bytes(zoo.mobilenetv1(width=0.25, resolution=None, classes=4, batch=None).SerializeToString())
    rows = pc.Predictor(path, preprocess={**NORM, "size": (64, 48)})(paths_of(folder)[:2])
    assert rows["logits"].shape == (2, 4)


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_ray_data_classifies_a_folder_and_loses_no_file(plan, folder, tmp_path):
    import os
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).parent.parent
    folder = folder_of(tmp_path, 40, {5: b"x", 21: None})
    words = [sys.executable, root / "examples" / "classify_folder.py", plan, folder, "--batch", "8", "--out"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*map(str, words), str(tmp_path / "rows.csv")], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 1, done.stderr[-3000:]  # some files failed
    rows = (tmp_path / "rows.csv").read_text().splitlines()
    assert len(rows) == 1 + 38 and rows[0] == "path,class,p,name"
    assert "40 of 40 images, 2 failed" in done.stderr
    assert {line.split(".png")[0][-4:] for line in done.stderr.splitlines() if line.startswith("failed: ")} == {
        "0005",
        "0021",
    }
