"""The application: routes, limits and errors around the models' batchers."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import InvalidArgument, ModelError
from ..session import InferenceSession
from . import protocol
from .batcher import Batcher
from .limits import Limits, Refused, quoted
from .metrics import Metrics

NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
VERSION = "1"
INLINE = 1 << 20  # bytes of JSON that are parsed in the event loop; more is parsed in a thread
PART = 1 << 18  # bytes of a response that are sent at a time
HEADER = "Inference-Header-Content-Length"
log = logging.getLogger(__name__)


def create_app(
    sessions: Mapping[str, InferenceSession],
    *,
    limits: Limits | None = None,
    max_batch: int = 8,
    max_delay: float = 0.0,
    workers: int = 1,
) -> Starlette:
    """An ASGI application that serves models by the Open Inference Protocol, version 2.

    Parameters
    ----------
    sessions : dict of str to InferenceSession
        By name: letters, digits, ``.``, ``_`` and ``-``.
    limits : Limits, optional
    max_batch : int
        Samples of several requests that are run as one batch, where the model leaves its batch open and treats samples
        independently, which is tried out here; 1: none are.
    max_delay : float
        Seconds that a request waits for others to share its batch while a worker is free.
    workers : int
        Runs of a model at a time, each with the threads of its session.

    Returns
    -------
    starlette.applications.Starlette

    Raises
    ------
    ValueError
        If a name or number is invalid.

    Examples
    --------
    >>> import pycompress
    >>> from pycompress.serve import create_app  # needs the package starlette
    >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32))
    >>> app = create_app({"mobilenet": session})  # uvicorn.run(app)
    """
    if not sessions or not all(NAME.fullmatch(name) for name in sessions):
        raise ValueError(f"models need names of letters, digits, '.', '_' and '-', got {list(sessions)}")
    if max_batch < 1 or workers < 1 or max_delay < 0:
        raise ValueError("max_batch and workers must be at least 1, max_delay not negative")
    limits = limits or Limits()
    batchers = {n: Batcher(s, max_batch, max_delay, workers, limits) for n, s in sessions.items()}
    service = Service(batchers, limits)
    prefixes = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    routes = [
        *(Route(f"{prefix}/infer", service, methods=["POST"]) for prefix in prefixes),
        Route("/v2", service.about),
        Route("/v2/health/live", service.alive),
        Route("/v2/health/ready", service.alive),
        Route("/metrics", service.metrics_page),
        *(Route(prefix, service.metadata) for prefix in prefixes),
        *(Route(f"{prefix}/ready", service.model_ready) for prefix in prefixes),
    ]
    app = Starlette(routes=routes, lifespan=service.lifespan, exception_handlers={HTTPException: _http_error})
    app.router.redirect_slashes = False  # it would answer with whatever host a client names
    app.state.batchers = batchers
    return app


class Tensors(Response):
    """A response in parts, each sent when the client has taken those before, so that it is in work until it is read."""

    async def __call__(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for at in range(0, len(self.body), PART):
            part = self.body[at : at + PART]
            await send({"type": "http.response.body", "body": part, "more_body": at + PART < len(self.body)})


class Service:
    """The handlers of the routes."""

    def __init__(self, batchers: dict[str, Batcher], limits: Limits):
        self.batchers, self.limits = batchers, limits
        self.metrics = Metrics()
        for name, batcher in batchers.items():
            self.metrics.watch(name, batcher)
        self.metrics.active.set_function(lambda: self.active)
        self.active = self.bytes = 0  # of requests in work
        self.parsing = asyncio.Lock()  # of large JSON: one at a time, since it takes a multiple of its size

    @asynccontextmanager
    async def lifespan(self, app):
        for batcher in self.batchers.values():
            batcher.start()
        yield
        for batcher in self.batchers.values():
            await batcher.close()

    async def about(self, request: Request) -> Response:
        from .. import __version__

        return JSONResponse({"name": "pycompress", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def alive(self, request: Request) -> Response:
        return Response()

    async def metrics_page(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def model_ready(self, request: Request) -> Response:
        self._named(request)
        return Response()

    async def metadata(self, request: Request) -> Response:
        name, batcher = self._named(request)
        ports = {"inputs": batcher.inputs, "outputs": batcher.outputs}
        described = {side: [protocol.described(port) for port in of] for side, of in ports.items()}
        return JSONResponse({"name": name, "versions": [VERSION], "platform": "pycompress", **described})

    def _named(self, request: Request) -> tuple[str, Batcher]:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name not in self.batchers or version != VERSION:
            raise HTTPException(404, f"there is no model {quoted(name)} of version {quoted(version)}")
        return name, self.batchers[name]

    async def __call__(self, scope, receive, send) -> None:
        """Inference: an ASGI endpoint, so that a request counts until its response is sent."""
        request = Request(scope, receive, send)
        name, batcher = self._named(request)
        began, held = time.monotonic(), []
        self.active += 1
        try:
            response = await self._guarded(request, name, batcher, held)
            self.bytes += len(response.body)
            held.append(len(response.body))
            await response(scope, receive, send)
        finally:
            self.active -= 1
            self.bytes -= sum(held)
        self.metrics.requests.labels(name, response.status_code).inc()
        self.metrics.seconds.labels(name).observe(time.monotonic() - began)

    async def _guarded(self, request: Request, name: str, batcher: Batcher, held: list[int]) -> Response:
        """The response to a request, whatever happens; `held` gets the bytes that it holds."""
        try:
            if self.active > self.limits.requests:
                raise Refused(429, f"{self.limits.requests} requests are in work: try again later")
            return await self._inferred(request, name, batcher, held)
        except Refused as error:
            return _error(error.status, str(error))
        except (InvalidArgument, ModelError) as error:  # a shape that cannot be run
            return _error(400, str(error))
        except MemoryError:
            return _error(503, "no memory for this request now")
        except ClientDisconnect:
            return Response(status_code=499)  # counted; there is nobody to read it
        except Exception:
            log.exception("model %s", name)
            return _error(500, "internal error; the server's log says more")

    async def _inferred(self, request: Request, name: str, batcher: Batcher, held: list[int]) -> Response:
        try:
            body = await asyncio.wait_for(self._body(request, held), self.limits.timeout)
        except asyncio.TimeoutError:
            raise Refused(408, f"the request did not arrive within {self.limits.timeout:g} s") from None
        gone = asyncio.create_task(request.receive())  # ends when the client goes away
        work = asyncio.create_task(self._answer(request, body, name, batcher))
        try:
            await asyncio.wait((gone, work), timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise ClientDisconnect
            raise Refused(503, f"no result within {self.limits.timeout:g} s: try again later")
        finally:
            work.cancel()
            gone.cancel()

    async def _body(self, request: Request, held: list[int]) -> bytes:
        limit, parts, size = self.limits.body, [], 0
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            raise Refused(413, f"{announced[:20]} bytes are above the limit of {limit}")
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise Refused(413, f"the request is above the limit of {limit} bytes")
            self._hold(len(part), held)
            parts.append(part)
        body = b"".join(parts)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            self._hold(limit, held)  # until its size is known
            body = await asyncio.to_thread(protocol.inflated, body, encoding, limit)
            self.bytes -= limit - len(body)
            held[-1] = len(body)
        return body

    def _hold(self, size: int, held: list[int]) -> None:
        if self.bytes + size > self.limits.memory:
            raise Refused(429, "the requests in work take all memory that is meant for them: try again later")
        self.bytes += size
        held.append(size)

    async def _answer(self, request: Request, body: bytes, name: str, batcher: Batcher) -> Response:
        length = protocol.header_length(request.headers.get(HEADER), len(body))
        about = (body, length, batcher.inputs, batcher.outputs, self.limits)
        if length <= INLINE:
            query = protocol.parsed(*about)
        else:
            async with self.parsing:
                query = await asyncio.to_thread(protocol.parsed, *about)
        outputs = await batcher.infer(query.feed)
        content, length = protocol.response(name, VERSION, query, outputs)
        if length is None:
            return Tensors(content, media_type="application/json")
        return Tensors(content, headers={HEADER: str(length)}, media_type="application/octet-stream")


def _error(status: int, message: str) -> Response:
    retry = {"Retry-After": "1"} if status in (429, 503) else {}
    return JSONResponse({"error": message[:1000]}, status, headers=retry)


async def _http_error(request: Request, error: Exception) -> Response:
    """Errors of the routing, such as 404 and 405, in the protocol's form."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
