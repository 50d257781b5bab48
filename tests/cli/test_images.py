"""Images as phones and cut-off downloads leave them."""

import numpy as np
import pytest
from PIL import Image

from pycompress.cli.inputs import read_image


@pytest.mark.parametrize(
    "orientation,turn",
    [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)],
)
def test_pictures_are_upright_whichever_way_the_camera_was_held(tmp_path, orientation, turn):
    pixels = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, np.ones((16, 12), np.uint8))
    upright = Image.fromarray(pixels).convert("RGB")
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.transpose(turn).save(tmp_path / "turned.png", exif=exif)
    a, b = (read_image(tmp_path / n, 32, 32).astype(int) for n in ("upright.png", "turned.png"))
    assert np.abs(a - b).max() <= 1


def test_a_picture_that_is_cut_off_is_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut.png"):
        read_image(tmp_path / "cut.png", 32, 32)
