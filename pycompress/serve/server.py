"""Runs an application with uvicorn: one process, signals, and connections that do nothing."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from .limits import Limits


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens and drops connections that do nothing.

    uvicorn itself lets a client that sends no request, half a header, or does not read its response keep the connection
    for ever.
    """

    def __init__(self, config: uvicorn.Config, limits: Limits, ready: Callable[[], None]):
        super().__init__(config)
        self.limits, self.ready = limits, ready
        self.interrupted = False  # by SIGINT
        self._stuck: dict[Any, tuple[object, float]] = {}  # since when a connection is in this state

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        self.ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self._drop_idle(time.monotonic())
        return await super().on_tick(counter)

    def _drop_idle(self, now: float) -> None:
        stuck: dict[Any, tuple[object, float]] = {}
        connection: Any  # one of uvicorn's classes, of which only HTTP/1.1's is used
        for connection in list(self.server_state.connections):
            cycle, unread = connection.cycle, connection.transport.get_write_buffer_size()
            between = cycle is None or cycle.response_complete
            if unread or between:
                state = (id(cycle), unread)
                before, since = self._stuck.get(connection, (None, now))
                since = since if before == state else now
                stuck[connection] = (state, since)
                if now - since > self.limits.timeout:
                    connection.transport.abort()
        self._stuck = stuck

    def handle_exit(self, sig: int, frame) -> None:
        self.interrupted |= sig == signal.SIGINT
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host`, a name or address, and `port`; 0: any free one.

    Raises
    ------
    OSError
        If there is no such address here, or the port is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # asyncio sets TCP_NODELAY only where the protocol is named; without it, answers wait 40 ms for an acknowledgement
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)
    except OSError:
        bound.close()
        raise
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    address = bound.getsockname()[0]
    return address.startswith("127.") or address == "::1"


def url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app, bound: socket.socket, limits: Limits, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; what runs is finished first. SIGINT then raises KeyboardInterrupt."""
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="on", log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=int(2 * limits.timeout) + 1,
    )  # fmt: skip
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has finished
    server = Server(config, limits, ready)
    try:
        server.run(sockets=[bound])
    finally:
        signal.signal(signal.SIGTERM, before)
        bound.close()
    if server.interrupted:  # uvicorn raises the signal again, but that can get lost while its event loop ends
        raise KeyboardInterrupt
