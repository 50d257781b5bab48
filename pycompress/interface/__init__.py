"""The parts of onnxruntime's Python interface that ``InferenceSession`` and ``pycompress.ort`` share."""
