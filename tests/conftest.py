"""Shared by all tests: the helpers of tests/support are imported by their names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))


def pytest_addoption(parser):
    parser.addoption(
        "--emulate", action="store_true", help="run what needs an ISA that this CPU lacks, emulated, and nothing else"
    )


def pytest_configure(config):
    if config.getoption("--emulate"):
        import emulated

        emulated.install()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--emulate"):
        import emulated

        lacking = emulated.missing_isas()
        keep = [i for i in items if hasattr(i, "callspec") and lacking & set(map(str, i.callspec.params.values()))]
        config.hook.pytest_deselected(items=[i for i in items if i not in set(keep)])
        items[:] = keep
