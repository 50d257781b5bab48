import numpy as np
import onnx
import onnxruntime as ort
import pytest

from pycompress import zoo
from pycompress.zoo import photos

PARAMETERS = {
    "mobilenetv1": 4_231_976,
    "mobilenetv2": 3_504_872,
    "mobilenetv3_large": 5_483_032,
    "mobilenetv3_small": 2_542_856,
    "efficientnet_b0": 5_288_548,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
}
every = pytest.mark.parametrize("name", zoo.names())


def answer(model, images):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"input": images})[0]


def images(count, size=224):
    return photos.preprocess(np.stack(list(photos.crops(photos.CALIBRATION, count, size=size))))


@every
def test_networks_have_as_many_parameters_as_published(name):
    tensors = zoo.build(name).graph.initializer
    trained = [t for t in tensors if t.name.endswith((".weight", ".bias"))]
    assert sum(int(np.prod(t.dims)) for t in trained) == PARAMETERS[name]


@every
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_models_are_valid(name, opset):
    onnx.checker.check_model(zoo.build(name, width=0.5, opset=opset), full_check=True)


@every
def test_activations_stay_of_order_one(name):
    model = zoo.build(name, batch=None)
    logits = answer(model, images(4, model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value))
    assert logits.shape == (4, 1000)
    assert 0.1 < logits.std() < 10
    assert np.abs(logits[0] - logits[1]).max() > 0.1


@every
def test_folded_batch_norm_changes_nothing(name):
    x = images(1, 96)
    a, b = (answer(zoo.build(name, resolution=96, width=0.5, batchnorm=bn), x) for bn in (True, False))
    np.testing.assert_allclose(a, b, atol=1e-4)


@every
def test_the_size_of_image_and_batch_may_stay_open(name):
    x = images(2, 65)
    model = zoo.build(name, resolution=None, batch=None, width=0.5, classes=10)
    fixed = zoo.build(name, resolution=65, batch=2, width=0.5, classes=10)
    np.testing.assert_allclose(answer(model, x), answer(fixed, x), atol=1e-5)


def test_seeds_are_kept():
    a, b, c = (zoo.build("mobilenetv1", width=0.25, seed=s).SerializeToString(deterministic=True) for s in (0, 0, 1))
    assert a == b != c


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("resnet", {}, "zoo has no network 'resnet'"),
        ("mobilenetv1", {"resolution": 8}, "resolution must be at least 32"),
        ("mobilenetv1", {"width": 0}, "width must be a positive number, got 0"),
        ("efficientnet_b0", {"width": float("nan")}, "width must be a positive number, got nan"),
        ("mobilenetv2", {"classes": 0}, "classes must be at least 1, got 0"),
        ("mobilenetv1", {"batch": 0}, "batch must be at least 1"),
        ("mobilenetv1", {"opset": 9}, "opset must be at least 13"),
        ("efficientnet_lite0", {"pretrained": True, "width": 0.5}, "the trained weights have width 1.0"),
        ("efficientnet_lite0", {"weights": {}}, "the weights lack stem.conv.weight"),
        ("efficientnet_lite0", {"weights": {"stem.conv.weight": np.ones(3)}}, "must have shape"),
    ],
)
def test_what_cannot_be_built_says_so(name, options, message):
    with pytest.raises(ValueError, match=message):
        zoo.build(name, **options)


def test_the_trained_network_knows_a_cat_and_a_coffee():
    session = ort.InferenceSession(zoo.efficientnet_lite0(pretrained=True).SerializeToString())
    names = zoo.labels()
    for photo, classes in {"chelsea": {"Egyptian cat", "tabby", "tiger cat"}, "coffee": {"espresso"}}.items():
        crop = photos.center(photos.photo(photo))
        (logits,) = session.run(None, {"input": photos.preprocess(crop)})
        chance = np.exp(logits[0] - logits.max())
        chance /= chance.sum()
        assert sum(p for n, p in zip(names, chance) if n in classes) > 0.75
