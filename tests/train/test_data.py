import gzip
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pycompress.train import data  # noqa: E402
from pycompress.train.recipe import DataOptions  # noqa: E402


def idx(path, array, zipped=False):
    raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if zipped else raw)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 9)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), np.uint8), True)
        idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 3)
    return tmp_path


@pytest.fixture
def pictures(tmp_path):
    from PIL import Image

    for part in ("train", "test"):
        for i, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for j in range(3):
                Image.new("RGB", (10 + j, 12), (i * 200, j, 0)).save(tmp_path / part / name / f"{j}.png")
    return tmp_path


def test_idx_files_load(folder):
    train, test = data.load(folder), data.load(folder, "test", size=32)
    assert train.images.shape == (30, 28, 28, 1) and train.classes == ("0", "1", "2")
    assert test.images.shape == (9, 32, 32, 1) and not test.images[:, :2].any() and not test.images[:, :, -2:].any()
    assert train.labels.tolist() == [i % 3 for i in range(30)]
    assert data.load(folder, size=14).images.shape == (30, 14, 14, 1)
    data.check_parts(train, data.load(folder, "test"))


def test_folders_of_classes_load(pictures):
    train = data.load(pictures, size=8)
    assert train.images.shape == (6, 8, 8, 3) and train.classes == ("cat", "dog")
    assert train.images[3:, ..., 0].min() == 200 and train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(data.load(pictures / "train", size=8)) == 6
    with pytest.raises(ValueError, match="give a size"):
        data.load(pictures)
    with pytest.raises(FileNotFoundError, match="no subfolder test or val"):
        data.load(pictures / "train", "test")


def test_one_class_is_refused(pictures):
    import shutil

    shutil.rmtree(pictures / "test" / "dog")
    with pytest.raises(ValueError, match="at least two classes, this one has only 'cat'"):
        data.load(pictures, "test", size=8)
    train = data.load(pictures, size=8)
    with pytest.raises(ValueError, match="at least two classes"):
        data.check_parts(train[train.labels == 0])


def test_classes_that_differ_are_named(pictures):
    (pictures / "test" / "dog").rename(pictures / "test" / "wolf")
    train, test = (data.load(pictures, part, size=8) for part in ("train", "test"))
    with pytest.raises(ValueError, match="only the test part has 'wolf'; it lacks 'dog'"):
        data.check_parts(train, test)


def test_damaged_files_are_named(folder, pictures):
    images = folder / "train-images-idx3-ubyte.gz"
    raw = images.read_bytes()
    images.write_bytes(raw[:-30])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz"):
        data.load(folder)
    images.write_bytes(gzip.compress(gzip.decompress(raw)[:-1]))
    with pytest.raises(ValueError, match="cut off"):
        data.load(folder)
    images.write_bytes(b"hello")
    with pytest.raises(ValueError, match="not an IDX file"):
        data.load(folder)
    images.unlink()
    (folder / "other-idx3-ubyte").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no train-images-idx3-ubyte"):
        data.load(folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        data.load(folder / "nothing")


def test_a_damaged_picture_is_named(pictures):
    (pictures / "train" / "cat" / "1.png").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"1.png: not a picture"):
        data.load(pictures, size=8)


def test_a_split_keeps_each_class_s_share():
    digits = data.load("digits")
    rest, held = data.split(digits, 200, seed=3)
    assert len(rest) + len(held) == len(digits) and len(held) == 200
    shares = [np.bincount(d.labels) / len(d) for d in (digits, held)]
    np.testing.assert_allclose(*shares, atol=0.01)
    assert np.array_equal(data.split(digits, 200, seed=3)[1].images, held.images)
    assert not np.array_equal(data.split(digits, 200, seed=4)[1].images, held.images)
    with pytest.raises(ValueError, match="between 1 and"):
        data.split(digits, len(digits))


def test_an_epoch_has_each_image_once_in_an_order_of_its_own():
    digits = data.load("digits")
    epochs = [torch.cat([at for *_, at in data.batches(digits, 64, seed=1, epoch=e)]) for e in (0, 0, 1)]
    assert torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[0], epochs[2])
    assert len(set(epochs[0].tolist())) == len(epochs[0]) == len(digits) // 64 * 64
    in_order = torch.cat([at for *_, at in data.batches(digits, 64)])
    assert in_order.tolist() == list(range(len(digits)))


def test_normalized_images_have_mean_zero():
    digits = data.load("digits")
    x = data.Normalize.of(digits, channels=1)(digits.images)
    assert x.shape == (1437, 1, 8, 8) and abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 1e-3
    with pytest.raises(ValueError, match="4 channels"):
        data.Normalize()(np.zeros((1, 2, 2, 4), np.uint8))


def test_augmented_images_are_shifted_flipped_and_erased():
    rng = np.random.default_rng(0)
    images = np.zeros((50, 8, 8, 1), np.uint8)
    images[:, 3, 2] = 7
    shifted = data.Augment(shift=2)(images, rng)
    rows, columns = np.nonzero(shifted[..., 0])[1:]
    assert set(rows) == {1, 2, 3, 4, 5} and set(columns) == {0, 1, 2, 3, 4}
    flipped = data.Augment(flip=True)(images, rng)
    assert set(np.nonzero(flipped[..., 0])[2]) == {2, 5}
    erased = data.Augment(erase=0.5)(np.full_like(images, 9), rng)
    holes = (erased == 0).sum((1, 2, 3))
    assert holes.max() == 16 and holes.min() >= 4
    with pytest.raises(ValueError, match="erase"):
        data.Augment(erase=1.5)


def test_data_that_do_not_fit_together_are_refused():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match=r"labels must be 0 to 1, got 0 to 2"):
        data.Data(images, np.array([0, 2]), ("a", "b"))
    with pytest.raises(ValueError, match="images must be uint8"):
        data.Data(images.astype(float), np.array([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match=r"labels must be int64 \[2\]"):
        data.Data(images, np.array([0, 1, 1]), ("a", "b"))


def test_images_without_pixels_are_refused():
    with pytest.raises(ValueError, match="no pixels"):
        data.Data(np.zeros((4, 0, 8, 1), np.uint8), np.array([0, 1, 0, 1]), ("a", "b"))


@pytest.mark.parametrize("validation", [1e-9, 1437, 10**18, 0.9999])
def test_a_validation_part_that_leaves_nothing_is_refused(validation):
    with pytest.raises(ValueError, match=r"data.validation: .* leaves \d+ of 1437 images"):
        DataOptions("digits", validation=validation).load()
