"""``from onnxruntime.capi.onnxruntime_inference_collection import OrtValue``: the names of ``pycompress.ort``."""

from pycompress.ort import *  # noqa: F403
