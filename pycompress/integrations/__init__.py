"""This package inside other libraries: numba, torch, threadpoolctl, arrays by DLPack."""
