"""The Open Inference Protocol over a socket: what is answered, and what is refused."""

import gzip
import json
import zlib

import numpy as np
import pytest

from served import call, infer, x_input


def test_the_server_and_its_models_describe_themselves(address):
    assert call(address, "/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert call(address, "/v2/health/live")[0] == call(address, "/v2/health/ready")[0] == 200
    for path in ("/v2/models/double", "/v2/models/double/versions/1"):
        status, about, _ = call(address, path)
        assert status == 200 and about["versions"] == ["1"] and about["name"] == "double"
        assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        assert call(address, f"{path}/ready")[0] == 200


@pytest.mark.parametrize(
    "path, method, status",
    [
        ("/v2/models/other", "GET", 404),
        ("/v2/models/other/ready", "GET", 404),
        ("/v2/models/double/versions/2", "GET", 404),
        ("/v2/models/other/infer", "POST", 404),
        ("/v2/models/..%2f..%2fetc%2fpasswd", "GET", 404),
        ("/v2/models/a%1b%5b2J%0a", "GET", 404),
        ("/v2/", "GET", 404),
        ("/", "GET", 404),
        ("/v2/models/double/infer", "GET", 405),
        ("/v2", "DELETE", 405),
    ],
)
def test_what_does_not_exist_is_an_error_in_json(address, path, method, status):
    found, error, _ = call(address, path, method=method)
    assert found == status and set(error) == {"error"} and "\x1b" not in error["error"]


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2, 3, 4]], [1.0, 2.0, 3, 4]])
def test_flat_and_nested_json_are_the_same_tensor(address, data):
    status, answer = infer(address, {"id": "7", "inputs": [x_input(data=data)]})
    assert status == 200 and answer["id"] == "7" and answer["model_name"] == "double"
    assert answer["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [2, 4, 6, 8]}]


def test_binary_tensors_go_in_and_out(address):
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": 32}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode() + b" "  # not aligned
    for body, headers in (
        (head + x.tobytes(), {}),
        (gzip.compress(head + x.tobytes()), {"Content-Encoding": "gzip"}),
        (zlib.compress(head + x.tobytes()), {"Content-Encoding": "deflate"}),
    ):
        headers["Inference-Header-Content-Length"] = str(len(head))
        status, data, about = call(address, "/v2/models/double/versions/1/infer", body, headers)
        length = int(about["Inference-Header-Content-Length"])
        (y,) = json.loads(data[:length])["outputs"]
        assert status == 200 and y["parameters"] == {"binary_data_size": 32} and "data" not in y
        assert np.array_equal(np.frombuffer(data[length:], np.float32).reshape(2, 4), 2 * x)


def typed(**changes) -> list[dict]:
    inputs = {
        "i": {"shape": [2], "datatype": "INT64", "data": [2**53 + 1, -1]},
        "u": {"shape": [2], "datatype": "UINT8", "data": [0, 255]},
        "b": {"shape": [2], "datatype": "BOOL", "data": [True, False]},
        "f": {"shape": [1, 2], "datatype": "FP32", "data": [1, 1]},
    }
    return [{"name": name} | value | changes.get(name, {}) for name, value in inputs.items()]


def test_every_type_keeps_its_values(address):
    status, answer = infer(address, {"inputs": typed()}, "types")
    assert status == 200
    assert [y["data"] for y in answer["outputs"]] == [[2**54 + 2, -2], [0, 255], [False, True], [0, 0]]
    assert [y["datatype"] for y in answer["outputs"]] == ["INT64", "FP32", "BOOL", "FP32"]


def test_chosen_outputs_come_in_the_order_asked_for(address):
    wanted = [{"name": "nb"}, {"name": "i2", "parameters": {"binary_data": False}}]
    answer = infer(address, {"inputs": typed(), "outputs": wanted}, "types")[1]
    assert [y["name"] for y in answer["outputs"]] == ["nb", "i2"]


def test_values_that_json_has_not_come_as_bytes_only(address):
    request = {"inputs": typed(f={"data": [0, -1]})}
    status, answer = infer(address, request, "types")
    assert status == 400 and "binary" in answer["error"]
    request["outputs"] = [{"name": "lf", "parameters": {"binary_data": True}}]
    status, data = infer(address, request, "types")
    assert status == 200 and np.isneginf(np.frombuffer(data[-8:], np.float32)[0])


X = x_input()
BINARY = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
BAD = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "no UTF-8": b'{"id": "\xff"}',
    "no inputs": {},
    "inputs of the wrong kind": {"inputs": {"x": X}},
    "an input without a name": {"inputs": [{"shape": [1, 4]}]},
    "an input that is no object": {"inputs": [3]},
    "a missing input": {"inputs": []},
    "an unknown input": {"inputs": [X, x_input(name="\x1b[2Jz")]},
    "an input twice": {"inputs": [X, X]},
    "another type": {"inputs": [x_input(datatype="FP64")]},
    "an unknown type": {"inputs": [x_input(datatype=["FP32"])]},
    "strings": {"inputs": [x_input(data=["1", "2", "3", "4"])]},
    "null": {"inputs": [x_input(data=[1, 2, 3, None])]},
    "objects": {"inputs": [x_input(data=[{}, 2, 3, 4])]},
    "ragged data": {"inputs": [x_input(data=[[1, 2], [3], 4])]},
    "no list": {"inputs": [x_input(data="1234")]},
    "no data": {"inputs": [{k: X[k] for k in ("name", "shape", "datatype")}]},
    "too few numbers": {"inputs": [x_input(data=[1, 2, 3])]},
    "another shape": {"inputs": [x_input(data=[[1, 2], [3, 4]])]},
    "a negative dimension": {"inputs": [x_input(shape=[-1, -4])]},
    "a huge dimension": {"inputs": [x_input(shape=[2**62, 4])]},
    "dimensions whose product overflows": {"inputs": [x_input(shape=[2**31 - 1, 2**31 - 1])]},
    "a boolean dimension": {"inputs": [x_input(shape=[True, 4])]},
    "a fractional dimension": {"inputs": [x_input(shape=[1.0, 4])]},
    "no shape": {"inputs": [x_input(shape=4)]},
    "a rank of 100": {"inputs": [x_input(shape=[1] * 99 + [4])]},
    "a shape that does not fit": {"inputs": [x_input(shape=[4, 1])]},
    "NaN": b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [NaN, 1, 2, 3]}]}',
    "infinity": b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [-Infinity, 1, 2, 3]}]}',
    "a number beyond float64": b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1e999, 1, 2, 3]}]}',
    "a number beyond float32": {"inputs": [x_input(data=[1e39, 1, 2, 3])]},
    "a number of 5000 digits": b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [%s, 1, 2, 3]}]}'
    % (b"9" * 5000),
    "deep JSON": b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep data": b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": %s1%s}]}'
    % (b"[" * 500, b"]" * 500),
    "an id that is no string": {"id": 7, "inputs": [X]},
    "an unknown output": {"inputs": [X], "outputs": [{"name": "z"}]},
    "an output twice": {"inputs": [X], "outputs": [{"name": "y"}, {"name": "y"}]},
    "parameters of the wrong kind": {"inputs": [x_input(parameters=[])]},
    "binary_data of the wrong kind": {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
    "shared memory": {"inputs": [x_input(parameters={"shared_memory_region": "a"})]},
    "bytes announced and none sent": {"inputs": [BINARY]},
    "another number of bytes": {"inputs": [BINARY | {"parameters": {"binary_data_size": 12}}]},
    "a negative number of bytes": {"inputs": [BINARY | {"parameters": {"binary_data_size": -16}}]},
    "a huge number of bytes": {"inputs": [BINARY | {"parameters": {"binary_data_size": 2**64}}]},
    "data and bytes": {"inputs": [BINARY | {"data": [1, 2, 3, 4]}]},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_is_refused_with_its_reason(address, what):
    status, answer = infer(address, BAD[what])
    assert status == 400 and answer["error"] and len(answer["error"]) <= 1000 and "\x1b" not in answer["error"]


@pytest.mark.parametrize("tail", [b"x" * 15, b"x" * 17, b"x"])
def test_truncated_or_surplus_bytes_are_refused(address, tail):
    status, answer = infer(address, {"inputs": [BINARY]}, tail=tail)
    assert status == 400 and "bytes" in answer["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "0x10", "٣", "", "1_0"])
def test_a_bad_header_length_is_refused(address, length):
    headers = {"Inference-Header-Content-Length": length.encode("utf-8")}
    assert infer(address, {"inputs": [BINARY]}, headers=headers, tail=b"x" * 16)[0] == 400


def test_a_byte_that_is_no_bool_is_refused(address):
    inputs = typed()
    inputs[2] = {"name": "b", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
    assert infer(address, {"inputs": inputs}, "types", tail=b"\x01\x02")[0] == 400
    assert infer(address, {"inputs": inputs}, "types", tail=b"\x01\x00")[0] == 200


@pytest.mark.parametrize(
    "name, value", [("i", [1.5, 2]), ("i", [2**63, 0]), ("u", [256, 0]), ("u", [-1, 0]), ("b", [2, 0])]
)
def test_a_value_that_the_type_cannot_hold_is_refused(address, name, value):
    assert infer(address, {"inputs": typed(**{name: {"data": value}})}, "types")[0] == 400


@pytest.mark.parametrize(
    "body, encoding, status",
    [
        (b"no gzip", "gzip", 400),
        (gzip.compress(b"{}")[:-4], "gzip", 400),
        (gzip.compress(b"{}") + b"more", "gzip", 400),
        (b"{}", "br", 415),
        (gzip.compress(bytes(80 << 20)), "gzip", 413),
    ],
    ids=["not gzip", "cut short", "with a tail", "unknown", "too large"],  # a header of gzip holds the time
)
def test_bad_compression_is_refused(address, body, encoding, status):
    assert infer(address, body, headers={"Content-Encoding": encoding})[0] == status


def test_a_fixed_model_takes_its_own_shape_only(address):
    assert infer(address, {"inputs": [X]}, "fixed")[0] == 200
    assert infer(address, {"inputs": [x_input(shape=[2, 4], data=[0] * 8)]}, "fixed")[0] == 400


def test_an_empty_batch_has_an_empty_answer(address):
    status, answer = infer(address, {"inputs": [x_input(shape=[0, 4], data=[])]})
    assert status == 200 and answer["outputs"][0]["shape"] == [0, 4] and answer["outputs"][0]["data"] == []


def test_metrics_count_requests_by_status_and_model_alone(address):
    infer(address, {"inputs": [X]})
    infer(address, {"inputs": []})
    call(address, "/v2/models/evil%22%7D/infer", b"{}")
    text = call(address, "/metrics")[1].decode()
    assert 'pycompress_requests_total{model="double",status="200"}' in text
    assert 'pycompress_requests_total{model="double",status="400"}' in text
    assert "pycompress_active_requests 0.0" in text and "evil" not in text
    assert 'pycompress_waiting_requests{model="double"} 0.0' in text
