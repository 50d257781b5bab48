"""Import paths of onnxruntime's inner modules that other packages use; the names are those of ``pycompress.ort``."""
