"""Compression passes: each takes an ONNX model and returns a smaller or faster one."""
