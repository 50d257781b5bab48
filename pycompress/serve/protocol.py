"""The tensors of the Open Inference Protocol, version 2: JSON, or JSON followed by the bytes of the tensors.

https://github.com/kserve/open-inference-protocol; the form with bytes is its binary tensor data extension.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

from ..batches import dtype_of
from ..dtypes import numpy_type
from ..errors import InvalidArgument
from ..interface.feed import check_names, check_shape, matched
from ..interface.metadata import NodeArg
from .limits import MAX_DIMENSION, MAX_RANK, Limits, Refused, quoted

NUMPY = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "BF16": "bfloat16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
DATATYPE = {name: word for word, name in NUMPY.items()}
SHARED_MEMORY = "shared_memory_region"


class Query(NamedTuple):
    """A request for inference; `outputs` are names and whether their bytes are asked for."""

    id: str | None
    feed: dict[str, np.ndarray]
    outputs: list[tuple[str, bool]]


def described(port: NodeArg) -> dict:
    """An input or output as the metadata of a model tells of it; -1 for an open dimension."""
    shape = [d if isinstance(d, int) else -1 for d in port.shape]
    return {"name": port.name, "datatype": DATATYPE[dtype_of(port).name], "shape": shape}


def header_length(text: str | None, body: int) -> int:
    """The value of Inference-Header-Content-Length for a body of so many bytes; None: all of it is JSON."""
    if text is None:
        return body
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= body):
        raise Refused(400, f"Inference-Header-Content-Length: {quoted(text)} is not the length of JSON in {body} bytes")
    return int(text)


def inflated(body: bytes, encoding: str, limit: int) -> bytes:
    """The bytes that were compressed into `body`."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Refused(415, f"Content-Encoding {quoted(encoding)}: there are gzip and deflate")
    engine = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    try:
        data = engine.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused(400, f"Content-Encoding {encoding}: {error}") from None
    if len(data) > limit:
        raise Refused(413, f"the request is decompressed to more than {limit} bytes")
    if not engine.eof or engine.unused_data:
        raise Refused(400, f"Content-Encoding {encoding}: the data ends too early or too late")
    return data


def parsed(body: bytes, length: int, inputs: Sequence[NodeArg], outputs: Sequence[NodeArg], limits: Limits) -> Query:
    """The request in `body`, whose first `length` bytes are JSON, checked against the ports of the model.

    Raises
    ------
    Refused
        With 400 if anything does not fit, 413 if there is too much JSON.
    """
    if length > limits.json:
        raise Refused(413, f"{length} bytes of JSON are above the limit of {limits.json}: send tensors as binary data")
    request = _json(body[:length])
    ports = {port.name: port for port in inputs}
    rest = memoryview(body)[length:]
    feed: dict[str, np.ndarray] = {}
    try:
        for entry in _entries(request, "inputs", required=True):
            if entry["name"] in feed:
                raise Refused(400, f"input {quoted(entry['name'])} is given twice")
            if entry["name"] not in ports:
                raise Refused(400, f"there is no input {quoted(entry['name'])}; the inputs are {list(ports)}")
            feed[entry["name"]], rest = _tensor(entry, ports[entry["name"]], rest)
        check_names(feed, list(ports))
    except InvalidArgument as error:
        raise Refused(400, str(error)) from None
    if len(rest):
        raise Refused(400, f"{len(rest)} bytes follow the last tensor")
    number = request.get("id")
    if number is not None and not (isinstance(number, str) and len(number) <= 1000):
        raise Refused(400, "id must be a string of at most 1000 characters")
    return Query(number, feed, _wanted(request, [port.name for port in outputs]))


def _json(text: bytes) -> dict:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:  # NaN, infinities and deep nesting, too
        raise Refused(400, f"not JSON: {str(error)[:200]}; values that JSON has not go as binary data") from None
    if not isinstance(value, dict):
        raise Refused(400, "the JSON must be an object")
    return value


def _entries(request: dict, what: str, required: bool = False) -> list[dict]:
    """The objects in the list `what`, each with a name."""
    entries = request.get(what)
    if entries is None and not required:
        return []
    if not isinstance(entries, list):
        raise Refused(400, f"{what} must be a list of tensors")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise Refused(400, f"{what}: each must be an object with a name")
        if SHARED_MEMORY in _parameters(entry) or "classification" in _parameters(entry):
            raise Refused(400, f"{what}: shared memory and classification are not supported")
    return entries


def _parameters(of: dict) -> dict:
    found = of.get("parameters")
    if found is not None and not isinstance(found, dict):
        raise Refused(400, "parameters must be an object")
    return found or {}


def _tensor(entry: dict, port: NodeArg, rest: memoryview) -> tuple[np.ndarray, memoryview]:
    """The array of an input, and the bytes that follow it."""
    name, word, dtype = port.name, DATATYPE[dtype_of(port).name], dtype_of(port)
    if entry.get("datatype") != word:
        raise Refused(400, f"input {name!r} must be {word}, got {quoted(entry.get('datatype'))}")
    shape = _shape(name, entry.get("shape"))
    check_shape(name, shape, port.shape)
    count, size = math.prod(shape), _parameters(entry).get("binary_data_size")
    if size is None:
        return _from_json(name, entry.get("data"), shape, dtype), rest
    if "data" in entry:
        raise Refused(400, f"input {name!r} has both data and binary_data_size")
    if isinstance(size, bool) or not isinstance(size, int) or size != count * dtype.itemsize:
        need = count * dtype.itemsize
        raise Refused(
            400, f"input {name!r}: {word}{list(shape)} takes {need} bytes, binary_data_size is {quoted(size)}"
        )
    if size > len(rest):
        raise Refused(400, f"input {name!r}: {size} bytes announced, {len(rest)} are left")
    x = np.frombuffer(rest[:size], numpy_type("uint8") if dtype.kind == "b" else dtype)
    if dtype.kind == "b":
        if x.size and x.max() > 1:
            raise Refused(400, f"input {name!r}: a BOOL must be a byte of 0 or 1")
        x = x.view(dtype)
    return x.reshape(shape), rest[size:]


def _shape(name: str, dims: object) -> tuple[int, ...]:
    if not isinstance(dims, list) or len(dims) > MAX_RANK:
        raise Refused(400, f"input {name!r}: shape must be a list of at most {MAX_RANK} integers")
    for d in dims:
        if isinstance(d, bool) or not isinstance(d, int) or not 0 <= d <= MAX_DIMENSION:
            raise Refused(400, f"input {name!r}: {quoted(d)} is no dimension")
    return tuple(dims)


def _from_json(name: str, data: object, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if not isinstance(data, list):
        raise Refused(400, f"input {name!r}: data must be a list of numbers")
    x = matched(name, data, dtype)
    if x.shape != shape and x.shape != (math.prod(shape),):
        raise Refused(400, f"input {name!r}: shape {list(shape)} does not fit data of shape {list(x.shape)}")
    if dtype.kind not in "biu" and not np.isfinite(x).all():
        raise Refused(400, f"input {name!r}: a number is too large")
    return x.reshape(shape)


def _wanted(request: dict, names: list[str]) -> list[tuple[str, bool]]:
    """The outputs to return, and for each whether as bytes; all if none is named."""
    always = _parameters(request).get("binary_data_output", False)
    wanted = [(e["name"], _parameters(e).get("binary_data", always)) for e in _entries(request, "outputs")]
    wanted = wanted or [(name, always) for name in names]
    for name, binary in wanted:
        if name not in names:
            raise Refused(400, f"there is no output {quoted(name)}; the outputs are {names}")
        if not isinstance(binary, bool):
            raise Refused(400, f"output {name!r}: binary_data must be true or false")
    if len({name for name, _ in wanted}) < len(wanted):
        raise Refused(400, "an output is asked for twice")
    return wanted


def response(model: str, version: str, query: Query, outputs: dict[str, np.ndarray]) -> tuple[bytes, int | None]:
    """The body of the answer to `query`, and the length of its JSON if bytes follow it.

    Raises
    ------
    Refused
        If a value cannot be expressed in JSON.
    """
    tensors, blobs = [], []
    for name, binary in query.outputs:
        y = outputs[name]
        entry: dict[str, object] = {"name": name, "datatype": DATATYPE[y.dtype.name], "shape": list(y.shape)}
        if binary:
            blobs.append(y.tobytes())
            entry["parameters"] = {"binary_data_size": y.nbytes}
        else:
            if y.dtype.kind not in "biu" and not np.isfinite(y).all():
                raise Refused(400, f"output {name!r} holds NaN or infinity, which JSON has not: ask for binary data")
            exact = y if y.dtype.kind in "biuf" else y.astype(np.float32)
            entry["data"] = np.ascontiguousarray(exact).ravel()
        tensors.append(entry)
    head = {"model_name": model, "model_version": version, "outputs": tensors}
    if query.id is not None:
        head["id"] = query.id
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([text, *blobs]), len(text) if blobs else None
