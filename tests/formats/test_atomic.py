import errno
import os
import stat
import threading

import pytest

from pycompress.formats import atomic


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    def parts():
        yield b"new"
        raise RuntimeError("power failure")

    with pytest.raises(RuntimeError):
        atomic.write(tmp_path / "a", parts())
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    def parts():
        yield b"new"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*model\.onnx"):
        atomic.write(tmp_path / "model.onnx", parts())


def test_an_existing_file_keeps_its_mode_and_a_new_one_has_the_mode_of_open(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.chmod(tmp_path / "a", 0o600)
    atomic.write(tmp_path / "a", b"new")
    atomic.write(tmp_path / "b", [b"n", b"ew"])
    (tmp_path / "c").write_bytes(b"")
    assert mode(tmp_path / "a") == 0o600 and mode(tmp_path / "b") == mode(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"new"


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    atomic.write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"new"


def test_a_device_and_a_pipe_are_written_to_and_not_replaced(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    atomic.write(tmp_path / "null", b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError):  # nobody reads it
        atomic.write(pipe, b"x")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic.write(pipe, b"through")
    assert os.read(reader, 100) == b"through" and stat.S_ISFIFO(os.stat(pipe).st_mode)
    os.close(reader)


def test_the_umask_of_the_process_is_never_touched(tmp_path, monkeypatch):
    def touched(mask):
        raise AssertionError("umask is the whole process's")

    monkeypatch.setattr(os, "umask", touched)
    threads = [threading.Thread(target=atomic.write, args=(tmp_path / str(i % 2), b"x")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1"]


def test_the_check_finds_what_would_fail_after_the_work(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "same").hardlink_to(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        atomic.check(tmp_path / "none" / "b")
    with pytest.raises(IsADirectoryError):
        atomic.check(tmp_path)
    for name in ("a", "same"):
        with pytest.raises(ValueError, match="is what is read"):
            atomic.check(tmp_path / name, [tmp_path / "a"])
    atomic.check(tmp_path / "b", [tmp_path / "a", None])
    assert not (tmp_path / "b").exists()
