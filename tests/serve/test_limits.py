"""Limits of size, time and number; connections that do nothing; the end of the process."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from onnx import helper, numpy_helper

import pycompress as pc
from pycompress.serve import Limits, create_app, server
from served import Slow, call, doubling, infer, model_of, serving, session_of, started, x_input

HEAD = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def connected(address) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def answered(connection: socket.socket) -> bytes:
    """What arrives until the server closes the connection."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_a_request_above_the_limit_is_refused_by_its_header_and_by_its_bytes():
    with serving({"double": session_of(doubling())}, Limits(body=1000)) as address:
        with connected(address) as connection:
            connection.sendall(HEAD % 10**12)
            assert b" 413 " in connection.recv(4096)
        with connected(address) as connection:
            chunked = HEAD.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
            connection.sendall(chunked + 3 * (b"190\r\n" + b"x" * 0x190 + b"\r\n"))
            assert b" 413 " in connection.recv(4096)
        assert infer(address, {"inputs": [x_input()]})[0] == 200


def test_too_much_json_is_refused():
    with serving({"double": session_of(doubling())}, Limits(json=100)) as address:
        status, answer = infer(address, {"inputs": [x_input(data=[1.0] * 100)]})
        assert status == 413 and "binary" in answer["error"]


def test_a_request_that_does_not_arrive_is_given_up():
    with serving({"double": session_of(doubling())}, Limits(timeout=0.5)) as address:
        with connected(address) as connection:
            connection.sendall(HEAD % 1000 + b"{")
            assert b" 408 " in connection.recv(4096)


def test_requests_beyond_the_number_are_refused_and_the_others_answered():
    with serving({"double": session_of(doubling(), Slow)}, Limits(requests=3), max_batch=1) as address:
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(infer(address, {"inputs": [x_input()]})[0])) for _ in range(8)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert set(found) == {200, 429} and found.count(200) >= 3
        assert call(address, "/v2/health/live")[0] == 200


def test_bodies_beyond_the_memory_are_refused():
    with serving({"double": session_of(doubling())}, Limits(memory=20_000)) as address:
        with connected(address) as holding:
            holding.sendall(HEAD % 15_000 + b"x" * 14_000)
            status = 200
            while status == 200:  # until these bytes have been read
                status, answer = infer(address, b" " * 10_000)
                status = 200 if status == 400 else status
            assert status == 429 and "memory" in answer["error"]
        while infer(address, {"inputs": [x_input()]})[0] != 200:
            pass


def test_a_result_that_takes_too_long_is_given_up():
    with serving({"double": session_of(doubling(), Slow)}, Limits(timeout=0.1)) as address:
        status, answer = infer(address, {"inputs": [x_input()]})
        assert status == 503 and "no result" in answer["error"]


def test_shapes_whose_activations_take_too_much_memory_are_refused():
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("ReduceSum", ["c"], ["y"])]
    inputs = [("a", "FLOAT", ["n", 1]), ("b", "FLOAT", [1, "m"])]
    model = model_of(nodes, inputs, [("y", "FLOAT", [1, 1])])
    with serving({"outer": session_of(model)}, Limits(memory=10**6)) as address:

        def ask(n):
            shapes = {"a": [n, 1], "b": [1, n]}
            tensors = [{"name": k, "shape": s, "datatype": "FP32", "data": [1] * n} for k, s in shapes.items()]
            return infer(address, {"inputs": tensors}, "outer")

        assert ask(100)[1]["outputs"][0]["data"] == [10_000]
        status, answer = ask(2000)
        assert status == 413 and "activations" in answer["error"]


@pytest.mark.parametrize("sent", [b"", b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\nGET /v"])
def test_a_connection_that_does_nothing_is_closed(sent):
    with serving({"double": session_of(doubling())}, Limits(timeout=0.5)) as address, connected(address) as connection:
        connection.sendall(sent)
        answered(connection)  # ends


def test_a_client_that_does_not_read_is_dropped():
    size = 16_000_000  # bytes, more than the system's buffers take
    model = model_of(
        [helper.make_node("Expand", ["x", "shape"], ["y"])], [("x", "FLOAT", [1])], [("y", "FLOAT", [size // 4])]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([size // 4]), "shape"))
    with serving({"wide": session_of(model)}, Limits(timeout=1)) as address, connected(address) as connection:
        body = json.dumps({"inputs": [x_input(shape=[1], data=[1])], "parameters": {"binary_data_output": True}})
        connection.sendall(HEAD.replace(b"double", b"wide") % len(body) + body.encode())
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        assert "active_requests 1.0" in call(address, "/metrics")[1].decode()
        while "active_requests 0.0" not in call(address, "/metrics")[1].decode():
            time.sleep(0.1)
        assert len(answered(connection)) < size


@pytest.mark.parametrize("junk", [b"\x00" * 100, b"GET\r\n\r\n", b"a" * 100_000])
def test_what_is_no_http_is_refused(address, junk):
    with connected(address) as connection:
        try:
            connection.sendall(junk)
        except ConnectionError:
            return
        assert b" 400 " in answered(connection)[:100]


def test_an_open_port_of_this_machine_alone_needs_no_warning_and_others_do():
    process, address = started("zoo:mobilenetv1,width=0.25,resolution=32", "--quiet", "--host", "0.0.0.0")
    try:
        assert call(address.replace("0.0.0.0", "127.0.0.1"), "/v2/models/mobilenetv1/ready")[0] == 200
    finally:
        process.send_signal(signal.SIGTERM)
    assert "no authentication" in process.communicate(timeout=30)[1]
    process, address = started("small=zoo:mobilenetv1,width=0.25,resolution=32")
    process.send_signal(signal.SIGTERM)
    assert "warning" not in process.communicate(timeout=30)[1] and address.startswith("127.0.0.1")


def test_sigterm_finishes_what_runs(tmp_path):
    path = tmp_path / "slow model!.onnx"
    path.write_bytes(pc.zoo.mobilenetv1(resolution=224, batch=None).SerializeToString())
    process, address = started(str(path), "--threads", "1", "--max-batch", "1")
    name, count = "slow_model_", 3 * 224 * 224
    found = []

    def ask():
        tensor = {"name": "input", "shape": [16, 3, 224, 224], "datatype": "FP32"}
        tensor["parameters"] = {"binary_data_size": 16 * count * 4}
        found.append(infer(address, {"inputs": [tensor]}, name, tail=bytes(16 * count * 4))[0])

    ask()
    thread = threading.Thread(target=ask)
    thread.start()
    while "active_requests 1.0" not in call(address, "/metrics")[1].decode():
        pass
    process.send_signal(signal.SIGTERM)
    thread.join()
    assert found == [200, 200] and process.wait(30) == 0
    with pytest.raises(OSError):
        call(address, "/v2")


def test_accepted_connections_do_not_wait_for_acknowledgements():
    with server.listen("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP  # what asyncio wants to see before it sets TCP_NODELAY


def test_ctrl_c_ends_it():
    process, _ = started("zoo:mobilenetv1,width=0.25,resolution=32")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130 and "Traceback" not in process.stderr.read()


def test_ctrl_c_is_not_lost_where_uvicorn_s_second_signal_is(monkeypatch):
    app = create_app({"m": session_of(doubling())})
    monkeypatch.setattr(signal, "raise_signal", lambda number: None)
    with pytest.raises(KeyboardInterrupt):
        server.run(app, server.listen("127.0.0.1", 0), Limits(), lambda: os.kill(os.getpid(), signal.SIGINT))


@pytest.mark.parametrize(
    "words, said",
    [
        (["missing.onnx"], "no such model"),
        (["zoo:mobilenetv1,width=0.25,resolution=32", "--port", "70000"], "port"),
        (["zoo:mobilenetv1,width=0.25,resolution=32", "--host", "203.0.113.1"], "assign|address"),
        (["a=x.onnx", "a=y.onnx"], "two models are called a"),
        (["a/b=x.onnx"], "no such model"),
    ],
)
def test_what_cannot_be_served_is_said(words, said):
    import re

    done = subprocess.run(
        [sys.executable, "-m", "pycompress", "serve", "--port", "0", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and re.search(said, done.stderr) and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "x" * 129, "é"])
def test_a_name_that_is_no_part_of_a_url_is_refused(name):
    with pytest.raises(ValueError, match="names"):
        create_app({name: session_of(doubling())})


@pytest.mark.parametrize("value", [0, -1, "1", True, float("nan"), float("inf")])
def test_a_limit_that_is_no_positive_number_is_refused(value):
    with pytest.raises(ValueError, match="body"):
        Limits(body=value)
