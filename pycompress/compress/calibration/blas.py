"""Runs NumPy's matrix products on one thread.

Quantization needs many small products: OpenBLAS' threads spend four times the time of the
arithmetic on waiting for each other, more on a busy machine.
"""

from __future__ import annotations

from functools import wraps

from threadpoolctl import threadpool_limits


def one_blas_thread(function):
    """`function`, with NumPy's BLAS limited to one thread while it runs."""

    @wraps(function)
    def limited(*args, **kwargs):
        with threadpool_limits(1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
