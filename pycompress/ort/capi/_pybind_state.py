"""``from onnxruntime.capi import _pybind_state as C``: the names of ``pycompress.ort``."""

from pycompress.ort import *  # noqa: F403
