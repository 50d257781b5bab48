"""Access to an ONNX model: its graph, its layers with weights, weights as matrices."""
