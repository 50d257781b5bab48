"""This package inside other libraries: numba, torch, threadpoolctl, arrays by DLPack, ONNX's interface to backends."""
