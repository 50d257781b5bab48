"""``from onnxruntime.capi.onnxruntime_pybind11_state import Fail``: the names of ``pycompress.ort``."""

from pycompress.ort import *  # noqa: F403
