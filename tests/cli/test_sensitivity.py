import pytest

MODEL = "zoo:mobilenetv1,width=0.25,resolution=32,classes=4"


def test_a_table_and_a_picture(tmp_path, command):
    pytest.importorskip("matplotlib")
    words = (
        "sensitivity",
        MODEL,
        "--calibration",
        "photos",
        "--samples",
        4,
        "--mean",
        127,
        "--std",
        128,
        "--of",
        "quantize",
    )
    said = command(*words, "--cache", tmp_path / "c.json", "--plot", tmp_path / "s.svg")
    assert "stem.conv" in said and "alone 8 bits" in said and "<svg" in (tmp_path / "s.svg").read_text()
    rows = command(*words, "--cache", tmp_path / "c.json", "--json")["rows"]
    assert rows[0]["kind"] == "tensor"


def test_what_has_no_effect_is_refused(tmp_path, refused):
    words = ("sensitivity", MODEL, "--calibration", "photos")
    assert "--pattern is for" in refused(*words, "--of", "quantize", "--pattern", "1x4")
    assert "must end in" in refused(*words, "--plot", tmp_path / "s.gif")
