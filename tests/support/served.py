"""A server in a thread or a process, models whose answers are known, and requests."""

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

import pycompress as pc
from pycompress.serve import Limits, create_app, server


def model_of(nodes, inputs, outputs) -> onnx.ModelProto:
    ports = [
        [helper.make_tensor_value_info(n, getattr(TensorProto, t), s) for n, t, s in side] for side in (inputs, outputs)
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", *ports), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def doubling(batch="n") -> onnx.ModelProto:
    """y = 2x for rows of 4."""
    return model_of(
        [helper.make_node("Add", ["x", "x"], ["y"])], [("x", "FLOAT", [batch, 4])], [("y", "FLOAT", [batch, 4])]
    )


def many_types() -> onnx.ModelProto:
    """Casts of int64, uint8 and bool, and a float of any shape."""
    return model_of(
        [
            helper.make_node("Add", ["i", "i"], ["i2"]),
            helper.make_node("Cast", ["u"], ["uf"], to=TensorProto.FLOAT),
            helper.make_node("Not", ["b"], ["nb"]),
            helper.make_node("Log", ["f"], ["lf"]),
        ],
        [("i", "INT64", [2]), ("u", "UINT8", [2]), ("b", "BOOL", [2]), ("f", "FLOAT", ["n", "m"])],
        [("i2", "INT64", [2]), ("uf", "FLOAT", [2]), ("nb", "BOOL", [2]), ("lf", "FLOAT", ["n", "m"])],
    )


class Slow(pc.InferenceSession):
    """Takes its time for each run."""

    seconds = 0.2

    def run(self, *args, **options):
        time.sleep(self.seconds)
        return super().run(*args, **options)


def session_of(model, kind=pc.InferenceSession) -> pc.InferenceSession:
    options = pc.SessionOptions()
    options.intra_op_num_threads = 1
    return kind(model, options)


@contextlib.contextmanager
def serving(sessions, limits: Limits | None = None, **options):
    """host:port of a server in a thread of this process."""
    import uvicorn

    limits = limits or Limits()
    app, bound, up = create_app(sessions, limits=limits, **options), server.listen("127.0.0.1", 0), threading.Event()
    config = uvicorn.Config(app, http="h11", ws="none", lifespan="on", log_level="warning", access_log=False)
    running = server.Server(config, limits, up.set)
    running.capture_signals = contextlib.nullcontext  # these are the main thread's
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    assert up.wait(60)
    yield server.url(bound).removeprefix("http://")
    running.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def started(*words: str, env=None) -> tuple[subprocess.Popen, str]:
    """``pycompress serve`` as a process, and its host:port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pycompress", "serve", *words, "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return process, json.loads(line)["url"].removeprefix("http://")


def rows(seed: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)


def call(address, path, body=None, headers=None, method=None):
    """(status, parsed JSON or bytes, headers)."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        json_alone = answer.headers.get("content-type") == "application/json"
        return answer.status, json.loads(data) if json_alone else data, answer.headers
    finally:
        connection.close()


def infer(address, request, model="double", headers=None, tail=b""):
    head = request if isinstance(request, bytes) else json.dumps(request).encode()
    headers = dict(headers or {})
    if tail:
        headers.setdefault("Inference-Header-Content-Length", str(len(head)))
    return call(address, f"/v2/models/{model}/infer", head + tail, headers)[:2]


def x_input(**changes) -> dict:
    return {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]} | changes
