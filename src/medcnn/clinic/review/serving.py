"""Runs the application until a signal comes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

STOP = [getattr(signal, s) for s in ("SIGINT", "SIGTERM") if hasattr(signal, s)]
# More requests at once than any page makes.
MOST_AT_ONCE = 64
MOST_WAIT_S = 10


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
