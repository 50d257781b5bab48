"""The embedded network: what its files hold, and that it answers the same bits everywhere."""

import gzip
from pathlib import Path

import numpy as np
import pytest

import pycompress as pc
from pycompress import zoo
from pycompress.cpu import LEVELS, cpu_mask
from pycompress.zoo import embedded

ROOT = Path(__file__).resolve().parents[2]
FASHION = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
HERE = [word for word, mask in LEVELS.items() if mask == mask & cpu_mask()]


def answers(images, cpu=None, threads=1):
    session = pc.InferenceSession(pc.Plan.load(zoo.tiny(), cpu=cpu), pc.SessionOptions(intra_op_num_threads=threads))
    return np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])


def held_answers():
    with np.load(embedded.FOLDER / embedded.IMAGES) as held:
        return held["logits"]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("cpu", HERE)
def test_it_answers_the_bits_of_the_machine_that_made_it(cpu, threads):
    images, _ = zoo.tiny_images()
    assert answers(images, cpu, threads).tobytes() == held_answers().tobytes()


def test_its_files_are_small_and_belong_to_the_package():
    sizes = {path.name: path.stat().st_size for path in embedded.FOLDER.glob("tiny*")}
    assert set(sizes) == {embedded.PLAN, embedded.IMAGES, "tiny_images.LICENSE"}
    assert sizes[embedded.PLAN] < 60_000 and sum(sizes.values()) < 90_000
    (line,) = (x for x in (ROOT / "pyproject.toml").read_text().splitlines() if x.startswith("pycompress = ["))
    assert '"zoo/tiny*"' in line  # package-data


def test_it_runs_on_integers_from_the_pixels_to_the_logits():
    rows = pc.InferenceSession(zoo.tiny()).explain()
    assert all(row["kernel"][0] == "q" or row["kernel"] == "lut" for row in rows)
    assert sum(row["macs"] for row in rows) > 1e6


def test_it_tells_its_accuracy_and_where_it_was_measured():
    plan = pc.Plan.load(zoo.tiny())
    said = plan.provenance
    assert float(said["accuracy"]) >= 0.91 and "10000 test images" in said["accuracy.images"]
    assert said["accuracy.measured"] and "SHA-256" in said["network"] and len(plan.labels) == 10


def test_most_of_the_images_that_come_along_are_named_rightly():
    images, labels = zoo.tiny_images()
    assert images.shape == (64, 28, 28, 1) and images.dtype == np.uint8 and labels.shape == (64,)
    assert set(labels.tolist()) == set(range(10))
    assert (answers(images).argmax(1) == labels).mean() > 0.85


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_its_accuracy_on_the_whole_test_part_is_what_it_tells():
    images, labels = (
        np.frombuffer(gzip.decompress((FASHION / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=start)
        for name, start in (("images-idx3", 16), ("labels-idx1", 8))
    )
    images = images.reshape(-1, 28, 28, 1)
    np.testing.assert_array_equal(images[:64], zoo.tiny_images()[0])
    right = int((answers(images).argmax(1) == labels).sum())
    assert f"{right / 10_000:.4f}" == pc.Plan.load(zoo.tiny()).provenance["accuracy"]


def test_a_missing_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    for read in (zoo.tiny, zoo.tiny_images):
        with pytest.raises(FileNotFoundError, match=r"tiny\S+ is missing: examples/fashion/embed.py makes it"):
            read()
