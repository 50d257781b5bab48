"""The recipes of examples/fashion can be read, and the table's verdicts are those of a t interval."""

import importlib.util
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("yaml")

import pycompress
from pycompress.train import read

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "examples" / "fashion").glob("*.yaml"))


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded  # dataclasses look their module up
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_can_be_read(path):
    recipe = read(path)
    assert recipe.model and recipe.data.validation == 5000 and recipe.train.batch == 128


def test_the_network_has_as_many_parameters_as_it_says():
    network = module(ROOT / "examples" / "fashion" / "network.py")
    assert [round(network.parameters(network.build(w)) / 1000) for w in (0.25, 0.5, 1)] == [21, 69, 253]
    deep = network.build(0.5, depth=1.5, resolution=32)
    assert len(deep.graph.node) > len(network.build(0.5).graph.node)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder of a quantized network and of a test set of 70 images, embed.py)"""
    folder, rng = tmp_path_factory.mktemp("embed"), np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (70, 28, 28), np.uint8), np.arange(70, dtype=np.uint8) % 10
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / f"t10k-{name}-ubyte").write_bytes(head + array.tobytes())
    model = module(ROOT / "examples" / "fashion" / "network.py").build(0.25)
    samples = [((x - np.float32(70)) / 90)[None, None] for x in images[:4].astype(np.float32)]
    model = pycompress.quantize(model, samples)
    (folder / "bare.onnx").write_bytes(model.SerializeToString())
    model.metadata_props.add(key="pycompress.normalize", value=json.dumps({"mean": [70.0], "std": [90.0]}))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder, module(ROOT / "examples" / "fashion" / "embed.py")


def test_a_trained_network_becomes_the_files_of_the_tiny_demo(trained, tmp_path, capsys):
    folder, embed = trained
    embed.main([str(folder / "model.onnx"), "--data", str(folder), "--out", str(tmp_path), "--least", "0"])
    path = tmp_path / "tiny.plan.safetensors"
    plan = pycompress.Plan.load(path)
    assert plan.labels[9] == "ankle boot" and path.stat().st_size < 60_000 and "notes" not in str(plan.metadata.keys())
    with np.load(tmp_path / "tiny_images.npz") as held:
        images, labels, logits = held["images"], held["labels"], held["logits"]
    assert images.shape == (64, 28, 28, 1) and labels.tolist() == [i % 10 for i in range(64)]
    np.testing.assert_array_equal(embed.answers(plan, images), logits)
    said = plan.provenance
    assert f"{float(said['accuracy']):.2%}" in capsys.readouterr().out and said["accuracy.images"].startswith("70 ")


@pytest.mark.parametrize(
    "words, why",
    [
        (("model.onnx",), "below 91.00%"),
        (("model.onnx", "--least", "0", "--accuracy", "0.99"), "training has measured 99.00%"),
        (("model.onnx", "--least", "0", "--bytes", "10000"), "more than 10000"),
        (("bare.onnx",), "does not say what its input is"),
    ],
)
def test_what_must_not_be_embedded_is_not_written(words, why, trained, tmp_path):
    folder, embed = trained
    with pytest.raises((SystemExit, ValueError), match=why):
        embed.main([str(folder / words[0]), "--data", str(folder), "--out", str(tmp_path), *words[1:]])
    assert not list(tmp_path.iterdir())


def test_verdicts_are_those_of_the_interval(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    table = module(ROOT / "bench" / "train_table.py")
    sure, unsure = table.Interval.of([0.3, 0.4, 0.35]), table.Interval.of([0.3, -0.4, 0.5])
    assert sure.verdict == "BEATS" and sure.mean == pytest.approx(0.35)
    assert sure.high - sure.mean == pytest.approx(4.303 * 0.05 / 3**0.5)
    assert unsure.verdict == "NO DIFFERENCE" and table.Interval.of([-1, -1.1, -0.9]).verdict == "LOSES"
    assert table.Interval.of([1.0]).verdict == "NO DIFFERENCE"
    assert {run.start for run in table.RUNS.values()} - {0.25, 0.5, 1.0} <= set(table.RUNS)
    assert {p.stem for p in RECIPES} == set(table.RUNS) - {"ptq4"}


def test_the_example_on_digits_can_be_read():
    recipe = read(ROOT / "examples" / "digits.yaml")
    assert recipe.data.path == "digits" and recipe.distill.teacher == "self" and recipe.quantize.epochs


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_the_mobilenet_study_makes_its_table_and_goes_on(tmp_path, monkeypatch):
    study = module(ROOT / "examples" / "mobilenet" / "study.py")
    monkeypatch.setattr(study, "WIDTHS", (0.25,))
    monkeypatch.setattr(study, "SIZES", (16,))
    monkeypatch.setattr(study, "LATER", {study.LONGER: "dense_longer", "pruned-90": "sparse90", "int8": "qat8"})
    monkeypatch.setattr(study.network, "STAGES", study.network.STAGES[:2])
    build = study.network.build
    monkeypatch.setattr(study.network, "build", lambda width=1.0, **how: build(width / 2, **how))  # seconds
    made = study.study(study.runs.Runs(tmp_path, brief=True))
    assert list(made) == [
        "width-1",
        "width-0.25",
        "resolution-16",
        "width-1-longer",
        "pruned-90",
        "int8",
        "width-0.5-distilled",
        "all",
    ]
    found = {name: [float(x) for x in numbers] for name, *numbers in rows(study.runs.table(made, 4))}
    work, size, plan = ({name: x[i] for name, x in found.items()} for i in range(3))
    assert max(work["width-0.25"], work["resolution-16"]) < work["width-1"] == work["int8"]
    assert (
        work["pruned-90"] < work["width-1"]
        and plan["int8"] < plan["width-1"]
        and size["all"] < size["width-1"]
        and work["all"] <= work["int8"]
    )
    assert all(x[3] > 0 and 0 <= x[4] <= 100 for x in found.values())
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json") if path.name != "result.json"}
    again = study.study(study.runs.Runs(tmp_path, brief=True))
    assert {name: x.test for name, x in again.items()} == {name: x.test for name, x in made.items()}
    assert all(path.stat().st_mtime_ns == time for path, time in written.items()), "nothing is trained twice"


def test_the_efficientnet_study_scales_by_the_best_of_its_grid(tmp_path, monkeypatch):
    study = module(ROOT / "examples" / "efficientnet" / "study.py")
    base = study.runs.macs(study.scaled(study.Compound(), 0)[0])
    every = study.candidates()
    assert len(every) > 3 and study.Compound(1.8, 1, 1) in every
    assert all(1.3 < study.runs.macs(study.scaled(f, 1)[0]) / base < 2.7 for f in every)
    assert all(study.scaled(f, 2)[1] <= 28 for f in every)
    monkeypatch.setattr(study, "PHIS", (0,))
    monkeypatch.setattr(study, "candidates", lambda: every[:1])
    monkeypatch.setattr(sys, "argv", ["study", "--quick", "--threads", "1", "--runs", str(tmp_path / "runs"), "--markdown", str(tmp_path / "t.md")])  # fmt: skip
    study.main()
    text = (tmp_path / "t.md").read_text()
    assert f"Chosen: alpha {every[0].alpha:g}, beta {every[0].beta:g}, gamma {every[0].gamma:g}." in text
    names = [row[0] for row in rows(text.split("\n\n")[2])]
    assert names == ["phi 0, 16 pixels", "phi 0, 16 pixels, int8", "phi 0, 16 pixels, pruned and int8"]
