"""The report holds what was measured, is one file that needs nothing else, and a browser shows it."""

import html.parser
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import pycompress as pc
from prunable import images, small
from pycompress.cli import main
from pycompress.report import measure, svg

HOSTILE = "<script>alert(1)</script> & \"q\" 'x' $a$"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """float.onnx, int8.onnx, thin.onnx and report.html with report.json, of the first two and a network of hostile name."""
    folder = tmp_path_factory.mktemp("report")
    model = small()
    made = {"float": model, "int8": pc.quantize(model, images(4)), "thin": pc.factorize(model, rank=4)}
    for name, proto in made.items():
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    np.save(folder / "x.npy", images(3))
    words = [f"{name}={folder / name}.onnx" for name in made]
    words[2] = f"{HOSTILE}={folder / 'thin'}.onnx"
    words += ["--out", folder / "report.html", "--calibration", folder / "x.npy", "--runs", 3, "--title", HOSTILE]
    command = [sys.executable, "-m", "pycompress", "report", *map(str, words), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "report.json").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def result(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text("utf-8")


def test_each_model_has_its_figures(result, folder):
    exact, int8, thin = result["models"]
    assert (exact["name"], exact["snr"], exact["agreement"]) == ("float", measure.EXACT, 1.0)
    assert 15 < int8["snr"] < 60 and thin["snr"] < int8["snr"]
    assert int8["bytes"] == (folder / "int8.onnx").stat().st_size and int8["min_ms"] > 0
    assert result["samples"] == 3 and result["missing"] == {}


def test_each_layer_has_its_time_form_and_error(result):
    names = [x["name"] for x in result["layers"]]
    assert names == ["stem", "deep", "wide", "point", "head"]
    exact, int8, thin = (m["layers"] for m in result["models"])
    assert {x["form"] for x in exact.values()} == {"float"} and {x["form"] for x in int8.values()} == {"int8"}
    assert all(x["us"] > 0 for m in (exact, int8, thin) for x in m.values())
    assert not any("error" in x for x in exact.values())
    assert all(0 < int8[name]["error"] < 0.1 for name in ("stem", "deep", "wide", "point"))
    assert thin["stem"]["error"] < 1e-6 < thin["wide" if thin["wide"]["form"] == "low-rank" else "point"]["error"]


def test_histograms_are_shares_over_one_range(result):
    assert [h["layer"] for h in result["histograms"]] == [x["name"] for x in result["layers"]]
    for h in result["histograms"]:
        for what in ("weights", "outputs"):
            assert h[what]["low"] < h[what]["high"] and {"float", "int8"} <= set(h[what]["counts"])
            assert all(abs(sum(x) - 1) < 0.01 and len(x) == measure.BINS for x in h[what]["counts"].values())


class Checker(html.parser.HTMLParser):
    """Checks that tags are closed in order, and collects tags and the values of attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.values = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [(tag, key, value) for key, value in attributes]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_needs_nothing_else(page):
    checker = Checker()
    checker.feed(page)
    assert not checker.open and len(page) < 100_000
    assert not {"script", "link", "img", "iframe", "object", "use"} & set(checker.tags)
    assert not [v for v in checker.values if v[1] in ("src", "href", "srcset") or v[1].startswith("on")]
    assert "http" not in re.sub(r"http-equiv", "", page) and "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page and "prefers-color-scheme:dark" in page


def test_names_are_text_and_nothing_else(page):
    assert "<script" not in page and page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5


def test_equal_inputs_draw_equal_pages(result):
    from pycompress.report.page import page

    assert page(result) == page(json.loads(json.dumps(result)))


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_without_sideways_scrolling(width, folder, tmp_path):
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    inner = (folder / "report.html").read_text("utf-8").replace("&", "&amp;").replace('"', "&quot;")
    (tmp_path / "frame.html").write_text(
        f'<body><iframe id="f" srcdoc="{inner}" style="width:{width}px;height:900px;border:0"></iframe><p id="said"></p><script>'
        "onload=()=>{const d=document.getElementById('f').contentDocument,s=d.querySelectorAll('svg');"
        "document.getElementById('said').textContent=`wide ${d.documentElement.scrollWidth} drawn ${[...s].filter(x=>x.clientWidth>90).length}"
        " heads ${d.querySelectorAll('h2').length} ground ${getComputedStyle(d.body).backgroundColor}`}</script>",
        "utf-8",
    )
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [browser, *words, "--virtual-time-budget=2000", f"file://{tmp_path / 'frame.html'}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = re.search(r'id="said">wide (\d+) drawn (\d+) heads (\d+) ground rgb\((\d+),', done.stdout)
    assert said, done.stdout[-500:] + done.stderr[-500:]
    wide, drawn, heads, red = map(int, said.groups())
    assert wide <= width and drawn >= 11 and heads == 5
    assert red == 255  # white, as long as nobody prefers dark


def test_pictures_are_written(result, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from pycompress.report import plots

    for name in ("front", "layers", "histograms"):
        getattr(plots, name)(result, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width >= 800 and len(image.convert("RGB").getcolors(1 << 24)) > 5
    plots.front(result, tmp_path / "front.svg")
    with pytest.raises(ValueError, match="a picture must end in one of"):
        plots.check(tmp_path / "front.txt")


def test_pictures_need_matplotlib_and_say_so(tmp_path, monkeypatch, folder, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["report", str(folder / "float.onnx"), "--out", str(tmp_path / "r.html"), "--pictures", str(tmp_path)]
    assert main(words) == 2 and "pip install 'pycompress-engine[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_what_cannot_be_reported_is_refused(folder, tmp_path, capsys):
    def refused(*words):
        assert main(["report", *map(str, words), "--out", str(tmp_path / "r.html")]) == 2
        return capsys.readouterr().err

    net = folder / "float.onnx"
    assert "two models are called 'float'" in refused(net, net)
    assert "its inputs differ from those of" in refused(net, "zoo:tiny")
    assert "--mean is for images: add --calibration" in refused(net, "--mean", 1)
    assert "--seed is for random inputs" in refused(net, "--seed", 1, "--calibration", folder / "x.npy")
    assert "--mean has no effect on" in refused(net, "--mean", 1, "--calibration", folder / "x.npy")
    assert "--cpu-time is for one thread" in refused(net, "--cpu-time", "--threads", 2)
    assert "unknown engine 'x'" in refused(net, "--against", "x")
    assert not (tmp_path / "r.html").exists()


def test_axes_have_round_numbers():
    assert svg.ticks(0, 10) == [0, 2, 4, 6, 8, 10] and svg.ticks(0.13, 0.37, 4) == [0.2, 0.3]
    assert svg.decades(0.15, 30) == [0.2, 0.5, 1, 2, 5, 10, 20]
    low, high, fine = svg.heights([measure.EXACT, 20.0, 30.0])
    assert low < 20 < 30 < high < fine
