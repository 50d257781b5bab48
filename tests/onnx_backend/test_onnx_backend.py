"""What is listed of ONNX's backend tests passes, on C kernels."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import suite


@pytest.mark.parametrize("name", suite.listed("nodes"))
def test_node(name):
    suite.run_node(name)


FOLDED = {
    "AffineGrid",
    "BlackmanWindow",
    "Constant",
    "ConstantOfShape",
    "EyeLike",
    "HammingWindow",
    "HannWindow",
    "If",
    "MelWeightMatrix",
    "Range",
    "Shape",
    "Size",
}  # fmt: skip  operators whose results follow from shapes and from values that plans depend on


def test_kernels_compute_what_depends_on_inputs():
    folded = [name for name in suite.listed("nodes") if suite.is_counted(name) and suite.is_folded(name)]
    cases = [suite.node_cases()[name] for name in folded]
    others = [c for c in cases if {node.op_type for node in c.model.graph.node} - FOLDED]
    empty = [
        c.name for c in others if any(0 in x.shape for feed, out in suite.feeds(c) for x in (*feed.values(), *out))
    ]
    assert {c.name for c in others} - {*empty} == set()


@pytest.mark.parametrize("name", suite.listed("models"))
def test_model(name):
    suite.run_model(name)


@pytest.mark.parametrize("name", suite.light_models())
def test_light_model(name):
    session = suite.run_light(name)
    assert {"sgemm", "sconv"} & {row["kernel"] for row in session.explain()}


def test_the_lists_hold_enough():
    passed, scope, total = suite.counts()
    assert passed >= 0.95 * scope and scope >= 1000 and total >= scope
    assert len(suite.light_models()) == 9


def test_readme_tells_how_many():
    text = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    passed, scope, total = suite.counts()
    assert f"{passed} of {scope} node tests in scope pass, of {total} in all" in text
