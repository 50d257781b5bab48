"""What is public explains itself, and its examples run as they stand."""

import doctest
import inspect
import re
import warnings
from importlib.metadata import PackageNotFoundError, version

import pytest

from public import members, public_names

NEEDED = re.compile(r"# needs the package ([\w-]+)")
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def sections(text: str) -> set[str]:
    """The sections of a docstring in NumPy's style."""
    lines = text.splitlines()
    return {a.strip() for a, b in zip(lines, lines[1:]) if b.strip() and set(b.strip()) == {"-"}}


def described(text: str) -> set[str]:
    """The parameters that a docstring describes: the names at the margin of its section, before a colon."""
    rows = text.partition("Parameters\n----------\n")[2].split("\n\n")[0].splitlines()
    heads = [row.split(" : ")[0] for row in rows if row and not row.startswith(" ")]
    return {name.strip("* ") for head in heads for name in head.split(",")}


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_says_what_it_takes_what_it_raises_and_how_it_is_used(name):
    thing = public_names()[name]
    text = inspect.getdoc(thing) or ""
    first = text.split("\n\n")[0]
    assert first and len(first) < 250, "a summary, then a blank line"
    wanted = {"Examples"}
    if inspect.isfunction(thing):
        takes, gives = inspect.signature(thing).parameters, inspect.signature(thing).return_annotation
        wanted |= {"Parameters", "Raises"} if takes else set()
        wanted |= {"Returns"} if takes and gives not in (None, "None") else set()
        for parameter in takes:
            assert parameter in described(text), parameter
    assert wanted <= sections(text)
    for where, function in members(thing) if isinstance(thing, type) else ():
        assert where.endswith("__init__") or inspect.getdoc(function), f"{where} has no docstring"


@pytest.mark.parametrize("name", public_names())
def test_the_examples_run_by_themselves(name, tmp_path, monkeypatch):
    thing = public_names()[name]
    texts = {name: inspect.getdoc(thing)}
    texts |= {where: inspect.getdoc(f) for where, f in members(thing)} if isinstance(thing, type) else {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pycompress.cpu._threads", [])  # examples may set it
    runner, told = doctest.DocTestRunner(optionflags=FLAGS, verbose=False), []
    for where, text in texts.items():
        test = doctest.DocTestParser().get_doctest(text or "", {}, where, None, 0)
        assert not any(example.options.get(doctest.SKIP) for example in test.examples), f"{where}: it must run"
        for package in NEEDED.findall(text or ""):
            try:
                version(package)
            except PackageNotFoundError:
                pytest.skip(f"{package} is not installed")
        with warnings.catch_warnings():
            runner.run(test, out=told.append)
    assert not runner.failures, "".join(told)
