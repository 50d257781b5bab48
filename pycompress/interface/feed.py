"""What a caller feeds, as the arrays that a plan takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import InvalidArgument
from .values import OrtValue


def as_feed(feed) -> dict[str, object]:
    """A caller's dict, checked to be one."""
    if type(feed) is not dict and not isinstance(
        feed, Mapping
    ):  # to ask an abstract class takes a third of a microsecond
        raise TypeError(f"input_feed must be a dict of arrays by input name, got {type(feed).__name__}")
    return dict(feed)


def check_names(given, wanted) -> None:
    """Refuse a feed that lacks an input or names one that does not exist."""
    if len(given) == len(wanted) and all(map(given.__contains__, wanted)):
        return
    if missing := [n for n in wanted if n not in given]:
        raise InvalidArgument(f"input {missing[0]!r} is missing; the inputs are {list(wanted)}")
    unknown = [n for n in given if n not in wanted]
    raise InvalidArgument(f"there is no input {unknown[0]!r}; the inputs are {list(wanted)}")


def matched(name: str, x, dtype: np.dtype, declared=None) -> np.ndarray:
    """An input as a contiguous, aligned array of its declared type.

    Arrays must have that type. Lists, tuples and numbers are converted to it, as far as that keeps their values. Where the
    declared shape is that of a scalar, one element of any shape is one, as for onnxruntime.
    """
    if type(x) is not np.ndarray:
        if isinstance(x, OrtValue):
            x = x.numpy()
        elif isinstance(x, (list, tuple, bool, int, float, np.generic)):
            x = _converted(name, x, dtype)
        x = np.asarray(x)
    if x.dtype != dtype:
        raise InvalidArgument(f"input {name!r} must be {dtype.name}, got {type_name(x.dtype)}")
    if declared is not None and len(declared) == 0 and x.size == 1:
        x = x.reshape(())
    return x if (flags := x.flags).c_contiguous and flags.aligned else np.array(x, order="C", copy=True)


def check_shape(name: str, shape: tuple[int, ...], declared) -> None:
    """Refuse a shape that the declared one (None, or with words where it is open) does not allow."""
    if declared is None or shape == declared:
        return
    if len(shape) != len(declared) or any(isinstance(d, int) and d != s for d, s in zip(declared, shape)):
        raise InvalidArgument(f"input {name!r}: shape {shape} does not fit the declared {tuple(declared)}")


def type_name(dtype: np.dtype) -> str:
    """A type for messages, its byte order said where it is not the machine's."""
    return dtype.name if dtype.isnative else f"byte-swapped {dtype.name}"


def _converted(name: str, x, dtype: np.dtype) -> np.ndarray:
    try:
        raw = np.asarray(x)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidArgument(f"input {name!r}: the list is no tensor: {error}") from None
    if raw.dtype.kind not in "biuf" and raw.dtype != dtype:
        raise InvalidArgument(f"input {name!r} must be {dtype.name}, got a {type(x).__name__} of {raw.dtype.name}")
    with np.errstate(invalid="ignore", over="ignore"):
        values = raw.astype(dtype)
        whole = dtype.kind in "biu"
        kept = _same(values, raw, dtype) if whole else np.isfinite(values) | ~np.isfinite(raw)
    if not kept.all():
        raise InvalidArgument(f"input {name!r} must be {dtype.name}, which cannot hold {raw[~kept].flat[0]!r}")
    return values


def _same(values: np.ndarray, raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Where a conversion to integers kept the value; a float at or beyond the type's limits never does."""
    if raw.dtype.kind != "f" or dtype.kind == "b":
        # A sign that changes is a value that wrapped around: numpy compares int64 with uint64 by value.
        return values == raw
    limits = np.iinfo(dtype)
    return (values == raw) & (raw >= float(limits.min)) & (raw < float(limits.max) + 1)
