"""The page as a Starlette application. Files stay in a private folder for as long as it takes to
answer, and are sent again with an answer: between two requests the server keeps nothing."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from medcnn.clinic.review.answers import Answers
from medcnn.clinic.review.gate import ALWAYS, COOKIE, POLICY, WRONG_TOKEN_S, Gate, same, ticket
from medcnn.clinic.review.reading import Reader, decided
from medcnn.clinic.spool import Spool
from medcnn.pages.review_page import Receipts, Room, entry_page, receipts, result, review_page
from medcnn.system.errors import MedcnnError, UsageError
from medcnn.system.files import own_folder
from medcnn.system.privacy import pseudonymised
from medcnn.system.progress import log
from medcnn.system.tracebacks import traceback_of

MOST_TOKEN_BYTES, TOKEN_WITHIN_S = 4096, 10


class TooLargeError(UsageError):
    """A file is larger than the server takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the application needs.

    Attributes:
        names: under which browsers may reach it.
        token: "" where none is needed.
        secure: whether it is reached by TLS.
        uploads: private folder of the files that are being answered.
        spool: of the DICOM receiver; None where there is none.
    """

    reader: Reader
    answers: Answers
    room: Room
    names: Sequence[str]
    token: str
    secure: bool
    uploads: Path
    spool: Spool | None = None


def application(served: Served) -> Starlette:
    """Everything that a browser may ask for."""
    routes = [
        Route("/", _Page(served.room, review_page)),
        Route("/entry", _Page(served.room.title, entry_page)),
        Route("/enter", _enter(served), methods=["POST"]),
        Route("/judge", _judge(served), methods=["POST"]),
        Route("/answer", _answer(served), methods=["POST"]),
        Route("/receipts", _receipts(served)),
        Route("/failed", _settle(served), methods=["POST"]),
    ]
    gate = Middleware(Gate, names=served.names, token=served.token)
    faults: dict[Any, Any] = {
        MedcnnError: _refused,
        ClientDisconnect: _left,
        OSError: _failed,
        Exception: _unforeseen,
    }
    return Starlette(routes=routes, middleware=[gate], exception_handlers=faults)


class _Page:
    """A page that is the same for everybody, with the policy that allows its script."""

    def __init__(self, about: Any, render: Callable[[Any], tuple[str, str]]) -> None:
        page, digest = render(about)
        self.page, self.policy = page, f"frame-ancestors 'none'; script-src {digest}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {"Content-Security-Policy": self.policy}
        await HTMLResponse(self.page, headers=headers)(scope, receive, send)


def _enter(served: Served) -> Callable[[Request], Any]:
    async def enter(request: Request) -> Response:
        body = b""
        with suppress(TimeoutError):  # what came until then is no token
            async with asyncio.timeout(TOKEN_WITHIN_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MOST_TOKEN_BYTES:
                        break
        if not same(body.decode("utf-8", "replace").strip(), served.token):
            await asyncio.sleep(WRONG_TOKEN_S)
            return PlainTextResponse("This is not the token.", 401)
        response = PlainTextResponse("")
        response.set_cookie(
            COOKIE, ticket(served.token), httponly=True, samesite="strict", secure=served.secure
        )
        return response

    return enter


def _judge(served: Served) -> Callable[[Request], Any]:
    async def judge(request: Request) -> Response:
        async with _received(request, served) as file:
            found = await run_in_threadpool(served.reader.review, file)
        return HTMLResponse(result(found, served.room))

    return judge


def _answer(served: Served) -> Callable[[Request], Any]:
    def kept(file: Path, kind: str, drop: str, classes: list[str]) -> str:
        _, said = served.reader.asked([file])
        if said.unreadable:
            raise UsageError(f"Not kept: {said.unreadable[0][1]}.")
        how = served.reader.model.preprocessing
        return served.answers.add(
            file.read_bytes(),
            how.read_whole(file.parent, file.name),
            classes,
            kind=kind,
            drop=drop,
            said=decided(said),
            checkpoint=str(served.reader.model.provenance["checkpoint_sha256"]),
        )

    async def answer(request: Request) -> Response:
        asked = request.query_params
        kind, drop = asked.get("kind", ""), asked.get("drop", "")
        if kind not in ("agreed", "corrected") or not 0 < len(drop) <= 100:
            raise UsageError("Not kept: the request is not one of this page.")
        async with _received(request, served) as file:
            message = await run_in_threadpool(kept, file, kind, drop, asked.getlist("class"))
        return PlainTextResponse(message)

    return answer


def _receipts(served: Served) -> Callable[[Request], Any]:
    async def show(_: Request) -> Response:
        if (spool := served.spool) is None:
            return PlainTextResponse("This server receives nothing by DICOM.", 404)
        found = Receipts(
            counts=await run_in_threadpool(spool.counts),
            failures=await run_in_threadpool(spool.failures),
        )
        return HTMLResponse(receipts(found))

    return show


def _settle(served: Served) -> Callable[[Request], Any]:
    """What becomes of images that failed."""

    async def settle(request: Request) -> Response:
        spool, what = served.spool, request.query_params.get("do")
        if spool is None or what not in ("again", "drop"):
            raise UsageError("Not done: the request is not one of this page.")
        many = await run_in_threadpool(spool.again if what == "again" else spool.drop)
        log.info(f"page: {many:,} that failed: {'tried again' if what == 'again' else 'dropped'}")
        return PlainTextResponse("")

    return settle


@asynccontextmanager
async def _received(request: Request, served: Served) -> AsyncIterator[Path]:
    """The file that is the body of a request, for the length of the block.

    Raises:
        TooLargeError: it is larger than the server takes.
    """
    most = served.room.most_mb * 1_000_000
    too_large = TooLargeError(f"The file has more than the {served.room.most_mb} MB allowed.")
    if int(request.headers.get("content-length") or 0) > most:
        raise too_large
    handle, name = tempfile.mkstemp(dir=own_folder(served.uploads), prefix="upload-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise too_large
                await run_in_threadpool(file.write, chunk)
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


async def _refused(_: Request, error: Exception) -> Response:
    status = 413 if isinstance(error, TooLargeError) else 400
    return PlainTextResponse(pseudonymised(str(error)), status)


async def _left(_: Request, __: Exception) -> Response:
    """Whoever asked does not wait for the answer."""
    return Response(status_code=499)


async def _failed(_: Request, error: Exception) -> Response:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    log.error(f"a request failed: {reason}")
    return PlainTextResponse(f"The server could not do it: {reason}.", 507)


async def _unforeseen(_: Request, error: Exception) -> Response:
    """As the command line says it; the traceback has no names, and no command can ask for it
    later. Starlette answers outside the gate then, so its headers are added here."""
    kind = type(error).__name__
    log.error(f"a request failed:\n{traceback_of(error)}")
    log.error(f"{kind}: this is a bug in medcnn; report the traceback above, which has no names")
    message = f"The server could not do it ({kind}). This is a bug in medcnn; its log says more."
    return PlainTextResponse(message, 500, {**ALWAYS, "Content-Security-Policy": POLICY})
