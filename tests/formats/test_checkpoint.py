"""Checkpoints are written here by hand with pickletools' opcodes: there is no PyTorch to write them."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from pycompress.formats.checkpoint import MAGIC, load_checkpoint

X = np.arange(24, dtype="<f4")


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def integer(n):
    return b"J" + struct.pack("<i", n)


def integers(*numbers):
    return b"(" + b"".join(integer(n) for n in numbers) + b"t"


def tensor(shape=(2, 3, 4), strides=(12, 4, 1), offset=0, size=24, kind="FloatStorage", key="7"):
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + integer(size) + b"tQ"
    rebuilt = integer(offset) + integers(*shape) + integers(*strides) + b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rebuilt + b"tR"


def state(**values):
    items = b"".join(text(k) + v for k, v in values.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def stacked(pkl, data=X, keys=("7",)):
    head = [pickle.dumps(v, 2) for v in (MAGIC, 1001, {"little_endian": True})]
    return b"".join([*head, pkl, pickle.dumps(list(keys), 2), struct.pack("<q", data.size), data.tobytes()])


def zipped(pkl, data=X, key="7", compression=zipfile.ZIP_STORED):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pkl)
        archive.writestr(f"archive/data/{key}", data.tobytes())
    return f.getvalue()


def load(tmp_path, raw):
    path = tmp_path / "x.pth"
    path.write_bytes(raw)
    return load_checkpoint(path)


form = pytest.mark.parametrize("form", [stacked, zipped])


@form
def test_tensors_are_views_of_their_storage(tmp_path, form):
    pkl = state(a=tensor(), b=tensor((4, 2), (1, 12), 5), c=tensor((0, 3), (3, 1)), d=tensor((), (), 23))
    got = load(tmp_path, form(pkl))
    np.testing.assert_array_equal(got["a"], X.reshape(2, 3, 4))
    np.testing.assert_array_equal(got["b"], X[5:].reshape(-1)[[[0, 12], [1, 13], [2, 14], [3, 15]]])
    assert got["c"].shape == (0, 3) and got["d"] == 23


@form
@pytest.mark.parametrize(
    "value, message",
    [
        (tensor((2, 3, 5), (12, 4, 1)), "reaches element"),
        (tensor(offset=1), "reaches element 24 of a storage of 24"),
        (tensor(offset=-1), "not what they should be"),
        (tensor((2,), (-1,), 3), "not what they should be"),
        (tensor((2, 3, 4), (12, 4)), "strides"),
        (tensor((100, 100), (0, 0)), "repeats its storage"),
        (tensor((1 << 30,) * 4, (0,) * 4), "repeats its storage"),
        (tensor(size=25), "storage"),
        (tensor(kind="UntypedStorage"), "mentions torch.UntypedStorage"),
        (tensor() + b"\x85", "w is not a tensor"),
        (b"cposix\nsystem\n" + text("true") + b"\x85R", "mentions posix.system"),
        (b"cbuiltins\neval\n" + text("1") + b"\x85R", "mentions builtins.eval"),
        (b"ctorch\nFloatStorage\n)R", r"calls torch.FloatStorage"),
        (b"(iposix\nsystem\n", "instruction INST is not admitted"),
        (b"h\x63", "recalls 99"),
        (b"0", "POP is not admitted"),
        (b"R", "arguments are not a tuple"),
    ],
)
def test_anything_but_tensors_is_refused(tmp_path, form, value, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, form(state(w=value)))


@form
def test_a_checkpoint_cut_anywhere_raises_value_error(tmp_path, form):
    whole = form(state(a=tensor()))
    for end in range(0, len(whole) - 1, 7):
        with pytest.raises(ValueError):
            load(tmp_path, whole[:end])


@pytest.mark.parametrize("seed", range(300))
def test_damaged_checkpoints_raise_value_error_or_load(tmp_path, seed):
    rng = np.random.default_rng(seed)
    raw = bytearray((stacked, zipped)[seed % 2](state(a=tensor())))
    for _ in range(1 + seed % 3):
        raw[rng.integers(len(raw))] = rng.integers(256)
    try:
        load(tmp_path, bytes(raw))
    except ValueError:
        pass


def test_compressed_archives_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a compressed archive"):
        load(tmp_path, zipped(state(a=tensor()), compression=zipfile.ZIP_DEFLATED))


def test_missing_storages_are_refused(tmp_path):
    with pytest.raises(ValueError, match="storage 7 is missing"):
        load(tmp_path, zipped(state(a=tensor()), key="8"))


def nested(levels):
    """A tuple that holds the one below it twice, and so on: 2^levels numbers, were it ever written out."""
    below = b"K\x01q\x40"
    return below + b"".join(b"h" + bytes([64 + i]) + b"\x86q" + bytes([65 + i]) for i in range(levels))


@form
@pytest.mark.parametrize(
    "value, message",
    [
        (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + nested(60) + b"tQ", "a tuple"),
        (tensor((1,) * 5000, (1,) * 5000), "of 5000 sizes"),
        (b"c" + b"x" * 5000 + b"\ny\n", "mentions xxx"),
    ],
)
def test_messages_stay_short_whatever_a_file_holds(tmp_path, form, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, form(state(w=value)))
    assert len(str(caught.value)) < 300


def test_a_name_of_a_megabyte_does_not_fill_the_message(tmp_path):
    pkl = b"\x80\x02ccollections\nOrderedDict\n)R(" + text("n" * 10**6) + integer(1) + b"u."
    with pytest.raises(ValueError, match="is not a tensor") as caught:
        load(tmp_path, zipped(pkl))
    assert len(str(caught.value)) < 300
