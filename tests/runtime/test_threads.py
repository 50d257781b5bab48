"""The pool: any number of threads, any number of callers, and fork()."""

import ctypes
import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pycompress import native
from pycompress._pcx import lib
from pycompress.kernels import module


def run(args, pool):
    native.sgemm(*args, pool=pool, isa="scalar")  # a unit of work per row: much to split


def example():
    args = module("sgemm").example(np.random.default_rng(0), 301, 40, 33)
    run(args, None)
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
        run(args, pool)
        assert args[-1].tobytes() == want.tobytes()


@any_size
def test_many_callers_share_one_pool(pool):
    failures = []

    def caller():
        args, want = example()
        for _ in range(50):
            args[-1][...] = np.nan
            run(args, pool)
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
    run(args, pool)
    child = os.fork()
    if not child:
        signal.alarm(20)  # kills a child that hangs
        args[-1][...] = np.nan
        run(args, pool)
        lib.pcx_threads_free(pool)
        os._exit(0 if args[-1].tobytes() == want.tobytes() else 1)
    assert os.waitpid(child, 0)[1] == 0
    args[-1][...] = np.nan
    run(args, pool)
    assert args[-1].tobytes() == want.tobytes()


def test_a_fork_while_another_thread_runs_leaves_the_child_able_to_run():
    pool = lib.pcx_threads_new(3)
    stop = threading.Event()

    def caller():
        args, _ = example()
        while not stop.is_set():
            run(args, pool)

    other = threading.Thread(target=caller)
    other.start()
    args, want = example()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.alarm(20)
                args[-1][...] = np.nan
                run(args, pool)
                os._exit(0 if args[-1].tobytes() == want.tobytes() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        other.join()
        lib.pcx_threads_free(pool)


def test_freeing_a_pool_ends_its_threads():
    def threads():
        return set(os.listdir("/proc/self/task"))

    before = threads()
    pool = lib.pcx_threads_new(4)
    assert threads() <= before
    args, _ = example()
    run(args, pool)
    started = threads() - before
    assert len(started) == 3
    lib.pcx_threads_free(pool)
    deadline = time.monotonic() + 5  # a joined thread's folder may outlive it by a moment
    while started & threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not started & threads()


def test_cores_are_at_least_one_and_at_most_what_affinity_allows():
    assert 1 <= lib.pcx_cores() <= len(os.sched_getaffinity(0))


def test_cores_follow_affinity():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert lib.pcx_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_pool_whose_threads_cannot_all_start_works_with_those_it_has():
    child = os.fork()
    if not child:
        signal.alarm(20)
        pool = lib.pcx_threads_new(64)
        args, want = example()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (40 << 20)  # for the stacks of a few threads
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        args[-1][...] = np.nan
        run(args, pool)
        started = len(os.listdir("/proc/self/task"))
        os._exit(0 if started < 60 and args[-1].tobytes() == want.tobytes() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_pool_of_one_starts_no_thread():
    before = set(os.listdir("/proc/self/task"))
    pool = lib.pcx_threads_new(1)
    args, want = example()
    run(args, pool)
    assert set(os.listdir("/proc/self/task")) <= before
    lib.pcx_threads_free(pool)
    assert args[-1].tobytes() == want.tobytes()


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 7, 8, 9, 31])
@pytest.mark.parametrize("pool", [2, 3, 7], indirect=True)
def test_fewer_units_than_threads_and_any_remainder_are_all_done_once(rows, pool):
    args = module("sgemm").example(np.random.default_rng(rows), rows, 40, 33)
    run(args, None)
    want = args[-1].copy()
    for _ in range(50):
        args[-1][...] = np.nan
        run(args, pool)
        assert args[-1].tobytes() == want.tobytes()


def test_threads_that_share_one_core_with_a_busy_one_answer_the_same():
    allowed = os.sched_getaffinity(0)
    stop = os.fork()
    if not stop:
        os.sched_setaffinity(0, {min(allowed)})
        signal.alarm(20)
        while True:
            pass
    try:
        os.sched_setaffinity(0, {min(allowed)})
        pool = lib.pcx_threads_new(3)
        args, want = example()
        for _ in range(10):
            args[-1][...] = np.nan
            run(args, pool)
            assert args[-1].tobytes() == want.tobytes()
        lib.pcx_threads_free(pool)
    finally:
        os.sched_setaffinity(0, allowed)
        os.kill(stop, signal.SIGKILL)
        os.waitpid(stop, 0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux")
def test_workers_keep_off_the_callers_cpu_and_the_caller_stays_free():
    allowed, threads = os.sched_getaffinity(0), set(os.listdir("/proc/self/task"))
    if len(allowed) < 2:
        pytest.skip("one CPU")
    pool = lib.pcx_threads_new(2)
    args, want = example()
    try:
        for cpu in sorted(allowed)[:2]:
            os.sched_setaffinity(0, {cpu})
            os.sched_setaffinity(0, allowed)  # the thread stays there for now
            run(args, pool)
            workers = [int(name) for name in set(os.listdir("/proc/self/task")) - threads]
            assert workers and all(len(os.sched_getaffinity(worker)) == len(allowed) - 1 for worker in workers)
        os.sched_setaffinity(0, {min(allowed)})
        run(args, pool)  # no other CPU is allowed: nothing to keep to
        np.testing.assert_array_equal(args[-1], want)
    finally:
        os.sched_setaffinity(0, allowed)
        lib.pcx_threads_free(pool)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux")
def test_workers_made_where_one_cpu_was_allowed_leave_it_when_more_are():
    allowed, threads = os.sched_getaffinity(0), set(os.listdir("/proc/self/task"))
    if len(allowed) < 2:
        pytest.skip("one CPU")
    (args, want), libc = example(), ctypes.CDLL(None)
    for _ in range(20):  # in most of them the caller stays on its CPU
        pool = lib.pcx_threads_new(2)
        try:
            os.sched_setaffinity(0, {min(allowed)})
            run(args, pool)
            os.sched_setaffinity(0, allowed)
            before = libc.sched_getcpu()
            run(args, pool)
            np.testing.assert_array_equal(args[-1], want)
            (worker,) = map(int, set(os.listdir("/proc/self/task")) - threads)
            if before == libc.sched_getcpu():
                assert os.sched_getaffinity(worker) == allowed - {before}
        finally:
            os.sched_setaffinity(0, allowed)
            lib.pcx_threads_free(pool)
