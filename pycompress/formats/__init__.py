"""Readers and writers of files: the one ONNX reader, checkpoints, compressed-tensors, GGUF, TFLite."""
