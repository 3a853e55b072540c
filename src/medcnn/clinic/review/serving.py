"""Runs the application until a signal comes."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

STOP = [getattr(signal, s) for s in ("SIGINT", "SIGTERM") if hasattr(signal, s)]
# More requests at once than any page makes; one address gets a part of them, so that nobody who
# opens connections and says nothing keeps the others out.
MOST_AT_ONCE, MOST_OF_ONE = 64, 24
MOST_WAIT_S, IDLE_S = 10, 10
# Of connections whose TLS handshake has not ended; beyond that the one that began first makes room.
MOST_UNHEARD, HANDSHAKE_S, PAUSE_S = 64, 5.0, 1.0


class Connection(H11Protocol):
    """Ends if its address has many others, or when nothing is asked for a while."""

    _checked: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peers = [c.client for c in self.connections if isinstance(c, H11Protocol)]
        if self.client and [p[0] for p in peers if p].count(self.client[0]) > MOST_OF_ONE:
            transport.close()
        else:
            self.loop.call_later(IDLE_S, self._check)

    def _check(self) -> None:
        """End it if nothing was asked since the last check, and nothing is being answered."""
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._checked is self.cycle:
            self.transport.close()
            return
        self._checked = self.cycle if idle else self
        self.loop.call_later(IDLE_S, self._check)


class Loop(asyncio.SelectorEventLoop):
    """Accepts connections itself: asyncio gives each a minute for its handshake, and any number."""

    # as uvicorn calls it
    async def create_server(  # type: ignore[override]
        self, protocol: Callable[[], asyncio.Protocol], *, sock: socket.socket, ssl: Any, **_: Any
    ) -> Listening:
        sock.setblocking(False)
        return Listening(self.create_task(self._accepted(protocol, sock, ssl)))

    async def _accepted(
        self, protocol: Callable[[], asyncio.Protocol], listening: socket.socket, tls: Any
    ) -> None:
        within_s = HANDSHAKE_S if tls else None
        unheard: dict[asyncio.Task[Any], socket.socket] = {}

        def heard(task: asyncio.Task[Any]) -> None:
            connection = unheard.pop(task)
            if task.cancelled() or task.exception():  # which is no fault of ours
                connection.close()

        while True:
            try:
                connection, _ = await self.sock_accept(listening)
            except OSError:  # more open files than the system allows, until some end
                await asyncio.sleep(PAUSE_S)
                continue
            task = self.create_task(
                self.connect_accepted_socket(
                    protocol, connection, ssl=tls, ssl_handshake_timeout=within_s
                )
            )
            unheard[task] = connection
            task.add_done_callback(heard)
            if len(unheard) > MOST_UNHEARD:
                next(iter(unheard)).cancel()


class Listening:
    """What uvicorn knows of a server."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def close(self) -> None:
        self._task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.wait([self._task])


def serve_until_stopped(app: Starlette, listening: socket.socket, **tls: Any) -> None:
    """Returns when SIGINT or SIGTERM came and running requests have ended.

    Args:
        listening: the socket, which is closed.
        tls: certificate and key as uvicorn names them.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        http=Connection,
        limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=MOST_WAIT_S,
        **tls,
    )
    with _ending_quietly():
        answer(uvicorn.Server(config), listening)


def answer(server: uvicorn.Server, listening: socket.socket) -> None:
    """Run a server on a loop that gives nobody long for a handshake."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(server.serve(sockets=[listening]))


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """uvicorn raises a signal again when it has ended by it, which would then end the process
    before anything else is put in order."""
    before = {s: signal.signal(s, lambda *_: None) for s in STOP}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
