"""Requests per second and latencies of ``pycompress serve``, beside the bare session and MLServer with onnxruntime.

    python bench/bench_serve.py [MODEL.onnx] [--clients 1,8,64] [--requests 2000] [--mlserver PYTHON] [--lost 10000] [--json FILE]

MODEL has one float input whose batch is open; default: MobileNetV1, width 0.25, 64 x 64.  Clients are connections of one
process of their own, each of which sends its next request when it has its answer; servers take turns.  --mlserver names
the interpreter of an environment with mlserver and onnxruntime; it takes JSON only, so ours is measured with JSON, too.
--lost N: N requests of 8 clients, of which 5 % are cut off somewhere; every other one must have the right answer.
Latencies are in milliseconds, and so is the time that the server computed per request; "session" is ``run`` in a loop, one sample at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import pycompress as pc

HEADER = b"inference-header-content-length"
RUNTIME = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Runtime(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession("model.onnx", options)
        self.names = [[p.name for p in ports] for ports in (self.session.get_inputs(), self.session.get_outputs())]
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        outputs = self.session.run(None, {self.names[0][0]: x})
        encoded = [NumpyCodec.encode_output(name, y) for name, y in zip(self.names[1], outputs)]
        return InferenceResponse(model_name=self.name, outputs=encoded)
"""


class Case:
    """Samples, the requests for them, and what must come back."""

    def __init__(self, path: str, count: int = 16):
        session = pc.InferenceSession(path, pc.SessionOptions(intra_op_num_threads=1))
        (port,) = session.get_inputs()
        self.output = session.get_outputs()[0].name
        rng = np.random.default_rng(0)
        self.input, self.shape = port.name, [1, *port.shape[1:]]
        self.samples = [rng.standard_normal(self.shape, np.float32) for _ in range(count)]
        self.expected = [session.run(None, {port.name: x})[0].ravel() for x in self.samples]

    def request(self, i: int, binary: bool) -> bytes:
        x = self.samples[i]
        tensor = {"name": self.input, "shape": self.shape, "datatype": "FP32"}
        if binary:
            tensor["parameters"] = {"binary_data_size": x.nbytes}
            body = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
            extra, body = b"Inference-Header-Content-Length: %d\r\n" % len(body), body + x.tobytes()
        else:
            extra, body = (
                b"Content-Type: application/json\r\n",
                json.dumps({"inputs": [tensor | {"data": x.ravel().tolist()}]}).encode(),
            )
        head = b"POST /v2/models/model/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
        return head + extra + b"\r\n" + body

    def right(self, i: int, head: bytes, body: bytes) -> bool:
        if HEADER in head.lower():
            length = int(head.lower().split(HEADER + b":")[1].split(b"\r\n")[0])
            y = np.frombuffer(body[length:], np.float32)
        else:
            y = np.array(json.loads(body)["outputs"][0]["data"], np.float32)
        return np.allclose(y, self.expected[i], rtol=1e-3, atol=1e-3)


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[-1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def client(port: int, case: Case, requests: list[bytes], left: Iterator[int], cuts: float, told: dict, seed: int):
    """Send requests one after the other until `left` ends; a share `cuts` of them is cut off."""
    rng, connection = random.Random(seed), None
    for k in left:
        i = k % len(requests)
        if connection is None:
            connection = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
        reader, writer = connection
        if rng.random() < cuts:
            writer.write(requests[i][: rng.randrange(1, len(requests[i]) + 1)])
            await asyncio.sleep(rng.random() * 0.01)
            writer.transport.abort()
            connection, told["cut"] = None, told["cut"] + 1
            continue
        began = time.perf_counter()
        try:
            writer.write(requests[i])
            await writer.drain()
            head, body = await answer(reader)
        except (OSError, EOFError):
            told["lost"] += 1
            connection = None
            continue
        told["seconds"].append(time.perf_counter() - began)
        if b" 200 " not in head.split(b"\r\n")[0] or not case.right(i, head, body):
            told["wrong"] += 1
    if connection:
        connection[1].close()


async def load(port: int, case: Case, binary: bool, clients: int, count: int, cuts: float = 0.0) -> dict:
    told = {"seconds": [], "cut": 0, "lost": 0, "wrong": 0}
    requests = [case.request(i, binary) for i in range(len(case.samples))]
    left = iter(range(count))
    began = time.perf_counter()
    await asyncio.gather(*(client(port, case, requests, left, cuts, told, s) for s in range(clients)))
    return told | {"wall": time.perf_counter() - began}


def cpu_seconds(pid: int) -> float:
    """The time that a process has computed so far; other processes of the machine do not change it much."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def row(name: str, clients: int, told: dict) -> dict:
    times = 1e3 * np.array(told["seconds"])
    points = {f"p{q:g}": float(np.percentile(times, q)) for q in (50, 99, 99.9)}
    kept = {key: told[key] for key in ("cut", "lost", "wrong") if key in told}
    return {"server": name, "clients": clients, "per second": len(times) / told["wall"], **points, **kept}


def bare(path: str, case: Case, count: int, threads: int) -> dict:
    session, times = pc.InferenceSession(path, pc.SessionOptions(intra_op_num_threads=threads)), []
    feeds = [{case.input: x} for x in case.samples]
    session.run(None, feeds[0])
    wall = time.perf_counter()
    for k in range(count):
        began = time.perf_counter()
        session.run(None, feeds[k % len(feeds)])
        times.append(time.perf_counter() - began)
    return row("session", 1, {"seconds": times, "wall": time.perf_counter() - wall})


@contextlib.contextmanager
def ours(path: str, threads: int):
    words = [
        sys.executable,
        "-m",
        "pycompress",
        "serve",
        f"model={path}",
        "--port",
        "0",
        "--json",
        "--threads",
        str(threads),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield int(json.loads(process.stdout.readline())["url"].rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def mlserver(python: str, path: str, threads: int):
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        os.link(path, at / "model.onnx") if os.stat(path).st_dev == os.stat(folder).st_dev else (
            at / "model.onnx"
        ).write_bytes(Path(path).read_bytes())
        (at / "runtime.py").write_text(RUNTIME.replace("THREADS", str(threads)))
        batches = {"max_batch_size": 8, "max_batch_time": 0.001}
        (at / "model-settings.json").write_text(
            json.dumps({"name": "model", "implementation": "runtime.Runtime", **batches})
        )
        ports = {"http_port": 18080, "grpc_port": 18081, "metrics_port": 18082}
        (at / "settings.json").write_text(
            json.dumps({"debug": False, "parallel_workers": 0, "host": "127.0.0.1", **ports})
        )
        env = {name: word for name, word in os.environ.items() if name != "PYTHONPATH"}
        words = [python, "-c", "from mlserver.cli import main; main()", "start", "."]
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait("http://127.0.0.1:18080/v2/models/model/ready")
            yield 18080, process.pid
        finally:
            process.terminate()
            process.wait()


def _wait(url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            if urllib.request.urlopen(url, timeout=5).status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(url)


def measured(path: str, clients: list[int], count: int, python: str | None, lost: int, threads: int) -> Iterator[dict]:
    case = Case(path)
    yield bare(path, case, count, threads)
    servers = [("pycompress, binary", ours, True), ("pycompress, JSON", ours, False)]
    servers += [("MLServer, JSON", lambda p, t: mlserver(python, p, t), False)] if python else []
    for n in clients:
        for name, start, binary in servers:
            with start(path, threads) as (port, pid):
                asyncio.run(load(port, case, binary, n, max(50, 2 * n)))  # warm
                before = cpu_seconds(pid)
                told = asyncio.run(load(port, case, binary, n, count))
                yield row(name, n, told) | {"cpu": 1e3 * (cpu_seconds(pid) - before) / count}
    if lost:
        with ours(path, threads) as (port, _):
            yield row("pycompress, 5 % cut", 8, asyncio.run(load(port, case, True, 8, lost, cuts=0.05)))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", nargs="?")
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--mlserver", metavar="PYTHON")
    parser.add_argument("--lost", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.model or os.path.join(folder, "model.onnx")
        if not args.model:
            model = pc.zoo.mobilenetv1(width=0.25, resolution=64, batch=None)
            Path(path).write_bytes(model.SerializeToString())
        clients, rows = [int(n) for n in args.clients.split(",") if n], []
        print(
            "| server | clients | requests per second | p50 | p99 | p99.9 | CPU |\n|---|---:|---:|---:|---:|---:|---:|"
        )
        for r in measured(path, clients, args.requests, args.mlserver, args.lost, args.threads):
            rows.append(r)
            said = ", ".join(f"{r[key]} {key}" for key in ("cut", "lost", "wrong") if r.get(key) or r.get("cut"))
            figures = (
                f"{r['per second']:.0f} | {r['p50']:.2f} | {r['p99']:.2f} | {r['p99.9']:.2f} | {r.get('cpu', 0):.2f}"
            )
            print(f"| {r['server']}{f' ({said})' if said else ''} | {r['clients']} | {figures} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return any(r.get("lost") or r.get("wrong") for r in rows)


if __name__ == "__main__":
    sys.exit(main())
