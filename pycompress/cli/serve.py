"""``pycompress serve``: models over HTTP."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from . import models
from .output import Output


def add(subparsers, common):
    parser = subparsers.add_parser(
        "serve",
        parents=[common],
        help="serve models over HTTP (Open Inference Protocol v2)",
        description="Serve models by the Open Inference Protocol, version 2: JSON and binary tensors, health, and metrics "
        "for Prometheus at /metrics. Requests that arrive together are run as one batch where the model's batch is open. "
        "There is no authentication: put a proxy before it to serve others. SIGTERM finishes what runs.",
    )
    parser.add_argument("models", metavar="[NAME=]MODEL", nargs="+", help=f"{models.HELP}; its name is the file's")
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen at; default 127.0.0.1")
    parser.add_argument("--port", type=port, default=8000, metavar="P", help="default 8000; 0: any free port")
    parser.add_argument("--max-batch", type=models.count, default=8, metavar="N", help="samples of a batch; default 8")
    parser.add_argument(
        "--max-delay", type=milliseconds, default=0.0, metavar="MS",
        help="milliseconds that a request waits for others while a worker is free; default 0",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=models.count, default=1, metavar="N", help="runs of a model at a time; default 1"
    )
    models.add_threads(parser)
    parser.add_argument("--max-body", type=models.count, default=64, metavar="MB", help="of a request; default 64")
    parser.add_argument(
        "--max-memory", type=models.count, default=1024, metavar="MB",
        help="of all requests in work, and of the activations of a run; default 1024",
    )  # fmt: skip
    parser.add_argument(
        "--max-requests", type=models.count, default=256, metavar="N", help="in work or waiting; default 256"
    )
    parser.add_argument(
        "--timeout", type=models.count, default=30, metavar="S",
        help="seconds for a request to arrive, for its result, and for its response to be read; default 30",
    )  # fmt: skip
    return parser


def execute(args, out: Output) -> dict:
    from ..serve import Limits, create_app, server

    limits = Limits(
        body=args.max_body << 20, memory=args.max_memory << 20, requests=args.max_requests, timeout=float(args.timeout)
    )
    named = _named(args.models)
    bound = server.listen(args.host, args.port)
    sessions = {name: models.Source(path).session(args.threads) for name, path in named.items()}
    app = create_app(
        sessions, limits=limits, max_batch=args.max_batch, max_delay=args.max_delay / 1000, workers=args.workers
    )
    if not server.is_loopback(bound):
        out.warn(f"{server.url(bound)} can be reached from other machines, and there is no authentication")
    alone = {name: batcher.why_alone for name, batcher in app.state.batchers.items()}
    address = server.url(bound)

    def ready() -> None:
        for name, why in alone.items():
            out.line(
                f"{name}: " + (f"each request is run alone: {why}" if why else f"batches of up to {args.max_batch}")
            )
        out.line(f"listening at {address}")
        out.event({"url": address, "models": list(named)})
        sys.stdout.flush()

    server.run(app, bound, limits, ready)
    return {"url": address, "models": list(named)}


def _named(words: list[str]) -> dict[str, str]:
    """{name: model}; the name of a file is its stem, with characters that no URL holds replaced."""
    found: dict[str, str] = {}
    for word in words:
        given = re.fullmatch(r"([A-Za-z0-9._-]{1,128})=(.+)", word)
        if given and not Path(word).exists():
            name, path = given.groups()
        else:
            path = word
            stem = Path(word.removeprefix("zoo:").partition(",")[0]).name
            stem = stem.removesuffix(".onnx").removesuffix(".safetensors").removesuffix(".plan")
            name = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:128] or "model"
        if name in found:
            raise ValueError(f"two models are called {name}: write NAME=MODEL")
        found[name] = path
    return found


def port(text: str) -> int:
    """argparse type of a TCP port."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def milliseconds(text: str) -> float:
    """argparse type of milliseconds from 0 to 10000."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 10000")
    return value
