"""Other people's packages run on pycompress in onnxruntime's place, where they are installed."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("dropin", Path(__file__).resolve().parent.parent / "bench" / "dropin.py")
dropin = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dropin)


@pytest.mark.parametrize("package", dropin.PACKAGES)
def test_a_package_answers_the_same_on_pycompress_as_on_onnxruntime(package):
    if reason := dropin.missing(package):
        pytest.skip(reason)
    want, got = (dropin.answers(package, engine) for engine in ("onnxruntime", "pycompress"))
    assert dropin.leaves(want)
    assert dropin.difference(want, got) <= dropin.TOLERANCE, (want, got)


def test_answers_that_differ_in_anything_are_found():
    a = [{"class": "a", "score": 0.5, "box": [1, 2]}]
    assert dropin.difference(a, [{"class": "a", "score": 0.5001, "box": [1, 2]}]) < 1e-3
    for b in ([], [{"class": "b", "score": 0.5, "box": [1, 2]}], [{"class": "a", "score": 0.5, "box": [1]}], "a"):
        assert dropin.difference(a, b) == float("inf")
    assert dropin.leaves([]) == 0 and dropin.leaves(a) == 4
