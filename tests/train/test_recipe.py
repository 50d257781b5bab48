"""Recipes are read exactly, and every mistake is named by its path."""

import pytest

pytest.importorskip("torch")

from pycompress.train.recipe import Recipe, network, read

WHOLE = """
model: zoo:mobilenetv2,width=0.25,resolution=32,classes=10
data: {path: digits, size: 32, validation: 0.2, labels: 200, mean: [0.5], std: [0.25]}
train: {epochs: 3, rate: 1e-1, optimizer: sgd}
augment: {shift: 2, flip: true}
distill: {teacher: self, method: dkd, hints: {a: b}}
sparsify: {sparsity: 0.5, pattern: 1x4, layers: [x, y]}
quantize: {weights: 4}
"""


def test_a_file_becomes_options(tmp_path):
    (tmp_path / "r.yaml").write_text(WHOLE)
    recipe = read(tmp_path / "r.yaml")
    assert recipe.train.rate == 0.1 and isinstance(recipe.train.rate, float)  # YAML takes 1e-1 for a text
    assert recipe.data.validation == 0.2 and recipe.data.mean == (0.5,)
    assert recipe.sparsify.layers == ("x", "y") and recipe.distill.hints == {"a": "b"}
    assert recipe.quantize.weights == 4 and recipe.factorize is None and recipe.augment.flip is True


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    (tmp_path / "images").mkdir()
    (tmp_path / "r.yaml").write_text("model: net.onnx\ndata: {path: images}\ndistill: {teacher: elsewhere.onnx}")
    recipe = read(tmp_path / "r.yaml")
    assert recipe.model == str(tmp_path / "net.onnx") and recipe.data.path == str(tmp_path / "images")
    assert recipe.distill.teacher == "elsewhere.onnx"


@pytest.mark.parametrize(
    "given, said",
    [
        (
            {"distill": {"teacher": "self", "temprature": 2}},
            r"recipe.distill.temprature: unknown key; did you mean temp",
        ),
        ({"trian": {}}, "recipe.trian: unknown key; did you mean train?"),
        ({"xyz": 1}, "recipe.xyz: unknown key; there are model, data"),
        ({"distill": {}}, "recipe.distill.teacher: missing"),
        ({"train": {"epochs": 2.5}}, "recipe.train.epochs: must be a whole number, got 2.5"),
        ({"train": {"epochs": True}}, "recipe.train.epochs: must be a whole number, got True"),
        ({"train": {"rate": "fast"}}, "recipe.train.rate: must be a number, got 'fast'"),
        ({"train": {"rate": -1}}, "recipe.train.rate: -1.0 is out of range"),
        ({"train": 3}, "recipe.train: must be a table of options, got 3"),
        ({"sparsify": {"sparsity": 0.5, "layers": ["a", 3]}}, r"recipe.sparsify.layers\[1\]: must be a text, got 3"),
        ({"sparsify": {"sparsity": {"a": "b"}}}, "recipe.sparsify.sparsity.a: must be a number, got 'b'"),
        ({"sparsify": {"sparsity": 2}}, "recipe.sparsify.sparsity: 2.0 is not in"),
        ({"augment": {"flip": 1}}, "recipe.augment.flip: must be true or false, got 1"),
        ({"augment": {"shift": -1}}, "recipe.augment.shift"),
        ({"quantize": {"weights": 3}}, "recipe.quantize.weights: 3 is not 8, 4 or mixed"),
        ({"factorize": {"energy": 0.9, "ratio": 0.5}}, "recipe.factorize.energy, rank, ratio: give one of them"),
        ({"factorize": {"ratio": 0.5, "schedule": [0.4]}}, "recipe.factorize.schedule: the ratios must fall"),
        ({"data": {"path": "digits", "mean": [0.5]}}, "recipe.data.mean, std: give both or neither"),
        ({"data": {"path": "digits", "mean": [], "std": []}}, "recipe.data.mean, std: 0 and 0 numbers"),
        ({"data": {"path": "digits", "labels": 0}}, "recipe.data.labels: 0 is not at least 1"),
        ({"data": {"path": "digits", "validation": 2.5}}, "recipe.data.validation: 2.5 is neither a share"),
        ({"quantize": {"target": "pdp11"}}, "recipe.quantize.target must be one of"),
        ({"quantize": {"weights": 4, "group_size": 7}}, "recipe.quantize.group_size"),
        ({"channels": {"sparsity": 1.5}}, "recipe.channels.sparsity must be in"),
        ({"train": {"epochs": 0}, "sparsify": {"sparsity": 0.5}}, "recipe.sparsify: zeros are chosen in `train`"),
        (
            {"train": {"epochs": 4}, "sparsify": {"sparsity": 0.5, "rewind": 3}},
            "recipe.sparsify.rewind: epoch 3 is not b",
        ),
        ({"train": {"epochs": 0}, "distill": {"teacher": "x"}, "quantize": {"epochs": 0}}, "recipe.distill: neither"),
        ({"train": {"epochs": 0}, "distill": {"teacher": "self"}}, "recipe.distill.teacher: self learns in"),
        ({"train": {"seed": -1}}, "recipe.train.seed: -1 is out of range"),
        ({"data": {"path": "digits", "seed": -1}}, "recipe.data.seed: -1 is not at least 0"),
        ({"data": {"path": "digits", "size": 10**9}}, "recipe.data.size: 1000000000 is more than 4096"),
        ({"data": {"path": "digits", "channels": 10**9}}, "recipe.data.channels: 1000000000 is more than"),
        ({"separable": {"multiplier": 0}}, "recipe.separable.multiplier: 0 is not at least 1"),
        ({"sparsify": {"sparsity": {}}}, "recipe.sparsify.sparsity: the table is empty"),
        ({"sparsify": {"sparsity": 0.5, "layers": []}}, "recipe.sparsify.layers: the list is empty"),
        ({"sparsify": {"sparsity": {"a": 0.5}, "layers": ["b"]}}, "recipe.sparsify.layers: 'b' has no share"),
        ({"factorize": {"ratio": 3.0}}, "recipe.factorize.ratio must be in"),
    ],
)
def test_mistakes_are_named_by_their_path(given, said):
    with pytest.raises(ValueError, match=said):
        read(given)


def test_a_list_is_no_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("[1, 2]")
    with pytest.raises(ValueError, match="recipe: must be a table of options"):
        read(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="no YAML"):
        read(tmp_path / "r.yaml")


def test_networks_are_files_or_of_the_zoo(tmp_path):
    model = network("zoo:mobilenetv1,width=0.25,resolution=32,classes=3")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert network(str(tmp_path / "net.onnx")) == model
    with pytest.raises(ValueError, match="no network 'mobilnet'"):
        network("zoo:mobilnet")


def test_an_empty_recipe_is_the_defaults():
    assert read({}) == Recipe()
