"""Advice: every product measured dense and sparse."""

import json

import numpy as np
import pytest
from onnx import helper

import pycompress as pc
from oracle import as_model
from pycompress import zoo
from pycompress.advice import DENSITIES
from pycompress.cli import main
from pycompress.optimize.costs import Costs


def test_every_product_of_a_network_is_measured_dense_and_sparse():
    advice = pc.advise(zoo.mobilenetv1(width=0.25, resolution=32, classes=10), seconds=1e-5)
    assert len(advice.rows) == 14  # 13 1x1 convolutions and the classifier
    assert advice.others["dwconv"] == 13 and advice.others["sconv"] == 1
    for row in advice.rows:
        assert all(s > 0 for s in row["seconds"].values())
        assert set(row["wins_from"]) == {"spmm", "bspmm", "qspmm"}
        densities, _ = advice.costs.times["spmm"][row["shape"]]
        np.testing.assert_allclose(densities, sorted(DENSITIES))


def test_quantized_networks_are_advised_on_alike():
    model = zoo.mobilenetv1(width=0.25, resolution=32, classes=10)
    rows = pc.advise(model, seconds=1e-5).rows
    x = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    quantized = pc.advise(pc.quantize(model, x), seconds=1e-5).rows
    assert [r["shape"] for r in quantized] == [r["shape"] for r in rows]


def test_a_model_without_products_is_refused():
    model = as_model([helper.make_node("Relu", ["x"], ["y"])], {"x": np.zeros((2, 2), np.float32)}, ["y"])
    with pytest.raises(pc.ModelError, match="nothing to advise on"):
        pc.advise(model)


def test_the_command_saves_a_table_that_plans_are_made_by(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pycompress.advice.BLOCK", 1e-5)
    file, plan = tmp_path / "costs.json", tmp_path / "net.plan.safetensors"
    network = "zoo:mobilenetv1,width=0.25,resolution=32,classes=10"
    assert main(["advise", network, "--save", str(file), "--json", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["layers"]) == 14 and Costs.load(file).host == printed["host"]
    assert main(["compress", network, str(plan), "--costs", str(file), "--quiet"]) == 0
    assert main(["advise", network, "--quiet"]) == 0
    assert "without a sparse kernel: 13 x dwconv" in capsys.readouterr().out.replace("1 x sconv, ", "")
    assert main(["compress", network, str(tmp_path / "a.onnx"), "--costs", str(file)]) == 2
    assert main(["advise", str(plan)]) == 2
