"""Runs the application until a signal comes."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
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
        uvicorn.Server(config).run(sockets=[listening])


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
