"""Images in CHW between sparse products: the same answers, and only where everybody can."""

import numpy as np
import pytest
from onnx import helper

import pycompress as pc
from oracle import as_model
from pycompress.optimize.costs import LISTED, shipped

COSTS = shipped(tuple(dict.fromkeys(LISTED, "avx2").items()))  # on any CPU the same kernels are chosen


def blocks(size, stride=1, kernel=3, batch=1, channels=8, wide=24, clip=True):
    """Two inverted bottlenecks with a residual sum each, 90 % of whose products' weights are zero."""
    rng = np.random.default_rng(size)
    consts, nodes, now = {"low": np.float32(0), "high": np.float32(6)}, [], "x"

    def conv(name, source, n, k, groups=1, **given):
        shape = (n, k // groups, *([kernel] * 2 if groups > 1 else [1, 1]))
        w = rng.standard_normal(shape, np.float32) * (1 if groups > 1 else rng.random(shape) > 0.9)
        consts[name], consts[name + "b"] = w.astype(np.float32), rng.standard_normal(n, np.float32)
        nodes.append(helper.make_node("Conv", [source, name, name + "b"], [name + "y"], name, group=groups, **given))
        return name + "y"

    def clipped(source):
        nodes.append(helper.make_node("Clip" if clip else "Sigmoid", [source, *["low", "high"] * clip], [source + "c"]))
        return source + "c"

    now = conv("first", now, channels, channels)
    for i in range(2):
        inside = clipped(conv(f"e{i}", now, wide, channels))
        p = kernel // 2
        inside = clipped(conv(f"d{i}", inside, wide, wide, wide, pads=[p] * 4, strides=[stride] * 2))
        out = conv(f"p{i}", inside, channels, wide)
        if stride == 1:
            nodes.append(helper.make_node("Add", [now, out], [f"s{i}"]))
            out = f"s{i}"
        now = out
    nodes.append(helper.make_node("GlobalAveragePool", [now], ["y"]))
    x = rng.standard_normal((batch, channels, size, size), np.float32)
    if not clip:
        consts = {k: v for k, v in consts.items() if k not in ("low", "high")}
    return as_model(nodes, {"x": x} | consts, ["y"], tuple(consts), opset=13), x


def run(model, x, sparse, threads=1):
    session = pc.InferenceSession(pc.compile(model, sparse=sparse, costs=COSTS), pc.SessionOptions(threads))
    return session.run(None, {"x": x})[0], [row["kernel"] for row in session.explain()], session.explain()


@pytest.mark.parametrize("given", [
    dict(size=46), dict(size=47, kernel=5), dict(size=112, stride=2), dict(size=46, clip=False), dict(size=49, wide=21),
], ids=str)  # fmt: skip
def test_a_segment_in_planes_gives_the_same_answer(given):
    model, x = blocks(**given)
    want, kernels, _ = run(model, x, False)
    assert "spmm" not in kernels
    got, kernels, rows = run(model, x, True)
    assert kernels.count("pdwconv") >= 1 and "in CHW" in rows[kernels.index("pdwconv")]["reason"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(run(model, x, True, threads=2)[0], got)


def test_large_images_are_cut_into_tiles_all_the_same():
    model, x = blocks(160, channels=16, wide=48, stride=2)
    want = run(model, x, False)[0]
    got, kernels, rows = run(model, x, True)
    assert any("in CHW, lines 0 to" in row["reason"] for row in rows)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", [dict(size=45), dict(size=46, batch=2)], ids=str)
def test_small_images_and_batches_stay_as_they_are(given):
    model, x = blocks(**given)
    got, kernels, _ = run(model, x, True)
    assert "pdwconv" not in kernels
    np.testing.assert_allclose(got, run(model, x, False)[0], rtol=1e-4, atol=1e-4)


def test_a_saved_plan_keeps_planes(tmp_path):
    model, x = blocks(48)
    plan = pc.compile(model, sparse=True)
    plan.save(tmp_path / "p.plan.safetensors")
    again = pc.InferenceSession(tmp_path / "p.plan.safetensors").run(None, {"x": x})[0]
    np.testing.assert_array_equal(again, pc.InferenceSession(plan).run(None, {"x": x})[0])
