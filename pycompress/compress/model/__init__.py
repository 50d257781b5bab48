"""Finding one's way in an ONNX model: its graph, its layers with weights, weights as matrices."""
