"""Shared by all tests: the helpers of tests/support are imported by their names."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))


def pytest_addoption(parser):
    text = "run what needs an ISA that this CPU lacks, emulated, and nothing else; with N, every N-th of these tests"
    parser.addoption("--emulate", nargs="?", const=1, default=0, type=int, metavar="N", help=text)
    text = "run the AArch64 library's kernels on this CPU of qemu-user, and nothing else; with :N, every N-th of these tests"
    parser.addoption("--arm", metavar="CPU[:N]", help=text)


def pytest_configure(config):
    if config.getoption("--emulate"):
        import emulated

        emulated.install()
        config.nothing_lacks = not emulated.missing_isas()
    if config.getoption("--arm"):
        import arm

        cpu, _, every = config.getoption("--arm").partition(":")
        config.arm = arm.install(cpu), int(every or 1)


def pytest_collection_modifyitems(config, items):
    every, isas = config.getoption("--emulate"), set()
    if every:
        import emulated

        isas = emulated.missing_isas()
    if config.getoption("--arm"):
        isas, every = config.arm
    if every:
        keep = [i for i in items if hasattr(i, "callspec") and isas & set(map(str, i.callspec.params.values()))]
        keep = keep[::every]
        kept = set(keep)
        config.hook.pytest_deselected(items=[i for i in items if i not in kept])
        items[:] = keep


def pytest_sessionfinish(session, exitstatus):
    """A CPU that has every instruction set leaves --emulate nothing to do, which is no failure."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and getattr(session.config, "nothing_lacks", False):
        session.exitstatus = pytest.ExitCode.OK
