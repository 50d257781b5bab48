"""Many clients at once: each gets its own answer, whatever the others do."""

import socket
import struct
import threading

import numpy as np
import pytest
from onnx import TensorProto, helper

from served import Slow, call, doubling, infer, model_of, rows, serving, session_of, x_input

triton = pytest.importorskip("tritonclient.http")


def asked(client, x, model="double", binary=True, **options):
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x, binary_data=binary)
    wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
    return client.infer(model, [tensor], outputs=wanted, **options).as_numpy("y")


def in_threads(count: int, work) -> None:
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    if errors:
        raise errors[0]


def test_the_triton_client_finds_the_server_ready_and_reads_the_metadata(address):
    client = triton.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("double", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "pycompress"
    assert client.get_model_metadata("double")["inputs"][0]["datatype"] == "FP32"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_the_triton_client_is_answered(address, binary, compression):
    client, x = triton.InferenceServerClient(address), rows(3, 5)
    how = {"request_compression_algorithm": compression, "response_compression_algorithm": compression}
    assert np.array_equal(asked(client, x, binary=binary, **how, request_id="a"), 2 * x)


@pytest.mark.parametrize("max_delay", [0.0, 0.02])
@pytest.mark.parametrize("workers", [1, 2])
def test_concurrent_clients_get_their_own_answers(max_delay, workers):
    with serving({"double": session_of(doubling())}, max_batch=8, max_delay=max_delay, workers=workers) as address:

        def work(i):
            client = triton.InferenceServerClient(address)
            for k in range(40):
                x = rows(1000 * i + k, 1 + (i + k) % 11)
                assert np.array_equal(asked(client, x, binary=k % 4 > 0), 2 * x)

        in_threads(12, work)
        text = call(address, "/metrics")[1].decode()
        assert 'requests_total{model="double",status="200"} 480.0' in text
        batches = float(text.split('pycompress_batch_samples_count{model="double"} ')[1].split("\n")[0])
        assert batches < 480  # some requests shared one


def test_a_model_that_mixes_samples_never_shares_a_batch():
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], axes=[0]), helper.make_node("Sub", ["x", "m"], ["y"])]
    model = model_of(nodes, [("x", "FLOAT", ["n", 4])], [("y", "FLOAT", ["n", 4])])
    with serving({"double": session_of(model)}, max_batch=8, max_delay=0.05) as address:

        def work(i):
            client = triton.InferenceServerClient(address)
            for k in range(10):
                x = rows(100 * i + k, 2)
                assert np.array_equal(asked(client, x), x - x.max(axis=0))

        in_threads(8, work)


def cut(address: str, where: int) -> None:
    """Begin a request and go away: in the header, in the body, or before the answer, in turn; with a reset at times."""
    host, port = address.split(":")
    body = b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [9, 9, 9, 9]}]}'
    head = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        if where % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall([head[:30], head + body[:20], head + body][where % 3])


def test_cut_connections_harm_nobody_else():
    with serving({"double": session_of(doubling())}, max_batch=8) as address:

        def work(i):
            client = triton.InferenceServerClient(address)
            for k in range(60):
                if (i + k) % 4 == 0:
                    cut(address, i + k // 4)
                x = rows(1000 * i + k)
                assert np.array_equal(asked(client, x), 2 * x)

        in_threads(8, work)
        assert infer(address, {"inputs": [x_input()]})[0] == 200
        for _ in range(100):
            text = call(address, "/metrics")[1].decode()
            if "active_requests 0.0" in text:
                break
        assert "active_requests 0.0" in text and 'waiting_requests{model="double"} 0.0' in text
        assert 'requests_total{model="double",status="200"}' in text


def test_a_request_whose_client_has_gone_is_not_run():
    ran = []

    class Counting(Slow):
        def run(self, names, feed, *args, **options):
            ran.append(float(next(iter(feed.values())).flat[0]))
            return super().run(names, feed, *args, **options)

    with serving({"double": session_of(doubling(), Counting)}, max_batch=1) as address:
        first = threading.Thread(target=infer, args=(address, {"inputs": [x_input()]}))
        first.start()
        while 1.0 not in ran:
            pass
        cut(address, 2)
        first.join()
        assert infer(address, {"inputs": [x_input(data=[5, 0, 0, 0])]})[0] == 200
    assert 5.0 in ran and 9.0 not in ran


def test_where_a_batch_fails_each_request_is_run_alone():
    class Failing(Slow):
        seconds = 0.05

        def run(self, names, feed, *args, **options):
            (x,) = feed.values()
            if (x == 7).any():
                raise RuntimeError("secret")
            return super().run(names, feed, *args, **options)

    with serving({"double": session_of(doubling(), Failing)}, max_batch=8) as address:

        def work(i):
            for _ in range(5):
                status, answer = infer(address, {"inputs": [x_input(data=[i] * 4)]})
                if i == 7:
                    assert status == 500 and "secret" not in answer["error"]
                else:
                    assert status == 200 and answer["outputs"][0]["data"] == [2 * i] * 4

        in_threads(10, work)


def test_two_shapes_at_once_keep_apart():
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    model = model_of(nodes, [("x", "FLOAT", ["n", "m"])], [("y", "FLOAT", ["n", "m"])])
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    with serving({"double": session_of(model)}, max_batch=8, max_delay=0.01) as address:

        def work(i):
            client = triton.InferenceServerClient(address)
            for k in range(15):
                x = np.full((1, 1 + (i + k) % 3), i, np.float32)
                assert np.array_equal(asked(client, x), 2 * x)

        in_threads(8, work)
