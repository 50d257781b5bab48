"""The front of a search, as a table, a plot and files."""

import json
import xml.etree.ElementTree as ET

import pytest

from pycompress.search import front
from pycompress.search.front import Point
from pycompress.search.table import Table

POINTS = [Point(i, {"i": i}, s, a) for i, (s, a) in enumerate([(3e-5, 0.9), (1e-5, 0.8), (2e-5, 0.7), (4e-5, 0.9)])]


def test_the_front_holds_what_no_faster_network_equals():
    assert [p.number for p in front.front(POINTS)] == [1, 0]


def test_spread_takes_the_ends_of_the_front():
    best = [Point(i, {}, i, i) for i in range(9)]
    assert [p.number for p in front.spread(best, 3)] == [0, 4, 8]
    assert [p.number for p in front.spread(best, 1)] == [8]
    assert front.spread(best, 0) == [] and front.spread(best, 99) == best


def test_the_plot_is_an_svg_with_a_point_per_network():
    for best in (POINTS, POINTS[:1]):
        root = ET.fromstring(front.plot(best, front.front(best), 5e-5, "a < b"))
        assert len(root.findall("{*}circle")) == len(best) + len(front.front(best))
    with pytest.raises(ValueError, match="no networks"):
        front.plot([], [], 1)


def test_the_file_says_where_times_come_from(tmp_path):
    table = Table.here()
    front.save(tmp_path / "f.json", front.front(POINTS), [], table, 1e-4)
    said = json.loads((tmp_path / "f.json").read_text())
    assert said["host"] == table.host and [p["number"] for p in said["front"]] == [1, 0]
