import numpy as np
import pytest

from pycompress.zoo import photos


def test_calibration_and_evaluation_share_no_photo():
    assert not set(photos.CALIBRATION) & set(photos.EVALUATION)
    assert set(photos.CALIBRATION) | set(photos.EVALUATION) == set(photos.FILES)


@pytest.mark.parametrize("name", photos.FILES)
def test_photos_are_there(name):
    image = photos.photo(name)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and min(image.shape[:2]) >= 224


def test_crops_are_repeatable_and_distinct():
    a, b = (list(photos.crops(photos.EVALUATION, 20, seed=3, size=64)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert len({x.tobytes() for x in a}) == 20
    assert a[0].shape == (64, 64, 3)


def test_preprocessing_maps_127_to_zero():
    x = photos.preprocess(np.full((5, 4, 3), 127, np.uint8))
    assert x.shape == (1, 3, 5, 4) and x.dtype == np.float32 and not x.any()
    with pytest.raises(ValueError, match="must be uint8"):
        photos.preprocess(np.zeros((5, 4, 3)))


def test_unknown_photos_are_named():
    with pytest.raises(ValueError, match="no photo 'lena'"):
        photos.photo("lena")
