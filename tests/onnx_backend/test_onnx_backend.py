"""What is listed of ONNX's backend tests passes, on C kernels."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import suite


@pytest.mark.parametrize("name", suite.listed("nodes"))
def test_node(name):
    suite.run_node(name)


@pytest.mark.parametrize("name", suite.listed("models"))
def test_model(name):
    suite.run_model(name)


@pytest.mark.parametrize("name", suite.light_models())
def test_light_model(name):
    session = suite.run_light(name)
    assert {"sgemm", "sconv"} & {row["kernel"] for row in session.explain()}


def test_the_lists_hold_enough():
    assert len(suite.listed("nodes")) >= 250
    assert len(suite.light_models()) == 9
