"""The pool: any number of threads, any number of callers, and fork()."""

import os
import signal
import threading

import numpy as np
import pytest

from pycompress import native
from pycompress._pcx import lib
from pycompress.kernels import module


def example():
    args = module("sgemm").example(np.random.default_rng(0), 301, 40, 33)
    native.sgemm(*args)
    return args, args[-1].copy()


@pytest.fixture
def pool(request):
    pool = lib.pcx_threads_new(request.param)
    yield pool
    lib.pcx_threads_free(pool)


any_size = pytest.mark.parametrize("pool", [1, 2, 3, 7], indirect=True)


@any_size
def test_any_number_of_threads_gives_the_same_bytes(pool):
    args, want = example()
    for _ in range(200):
        args[-1][...] = np.nan
        native.sgemm(*args, pool=pool)
        assert args[-1].tobytes() == want.tobytes()


@any_size
def test_many_callers_share_one_pool(pool):
    failures = []

    def caller():
        args, want = example()
        for _ in range(50):
            args[-1][...] = np.nan
            native.sgemm(*args, pool=pool)
            if args[-1].tobytes() != want.tobytes():
                failures.append(1)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not failures


@any_size
def test_a_pool_works_on_both_sides_of_a_fork(pool):
    args, want = example()
    native.sgemm(*args, pool=pool)
    child = os.fork()
    if not child:
        signal.alarm(20)  # kills a child that hangs
        args[-1][...] = np.nan
        native.sgemm(*args, pool=pool)
        lib.pcx_threads_free(pool)
        os._exit(0 if args[-1].tobytes() == want.tobytes() else 1)
    assert os.waitpid(child, 0)[1] == 0
    args[-1][...] = np.nan
    native.sgemm(*args, pool=pool)
    assert args[-1].tobytes() == want.tobytes()


def test_a_fork_while_another_thread_runs_leaves_the_child_able_to_run():
    pool = lib.pcx_threads_new(3)
    stop = threading.Event()

    def caller():
        args, _ = example()
        while not stop.is_set():
            native.sgemm(*args, pool=pool)

    other = threading.Thread(target=caller)
    other.start()
    args, want = example()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.alarm(20)
                args[-1][...] = np.nan
                native.sgemm(*args, pool=pool)
                os._exit(0 if args[-1].tobytes() == want.tobytes() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        other.join()
        lib.pcx_threads_free(pool)


def test_freeing_a_pool_ends_its_threads():
    def count():
        return len(os.listdir("/proc/self/task"))

    before = count()
    pool = lib.pcx_threads_new(4)
    assert count() == before
    args, _ = example()
    native.sgemm(*args, pool=pool)
    assert count() == before + 3
    lib.pcx_threads_free(pool)
    assert count() == before


def test_cores_are_at_least_one_and_at_most_what_affinity_allows():
    assert 1 <= lib.pcx_cores() <= len(os.sched_getaffinity(0))


def test_cores_follow_affinity():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert lib.pcx_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
