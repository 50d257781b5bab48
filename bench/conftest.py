"""Options of the benchmarks, and layers as parameters."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser):
    parser.addoption("--network", default="efficientnet_lite0", help="network of the zoo whose layers are measured")


def pytest_generate_tests(metafunc):
    from shapes import layers

    kinds = {
        "product": lambda layer: layer.is_product,
        "depthwise": lambda layer: layer.is_depthwise,
        "convolution": lambda layer: not layer.is_product and not layer.is_depthwise,
    }
    for kind, wanted in kinds.items():
        if kind in metafunc.fixturenames:
            found = [layer for layer in layers(metafunc.config.getoption("--network")) if wanted(layer)]
            metafunc.parametrize(kind, found, ids=str)
