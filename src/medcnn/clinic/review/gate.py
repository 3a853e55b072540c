"""Who may ask the server: a browser under one of its own names, and with a token where it is
reached from other machines."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "medcnn"
# Pages are small and change with every answer; images name patients. Nothing of it is kept.
ALWAYS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
WRONG_TOKEN_S = 0.5


class Gate:
    """Lets a request pass, or answers it.

    Args:
        names: what the `Host` of a request may be. A page of somebody else whose name was made to
            lead here (DNS rebinding) has another one.
        token: "" where none is needed.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], token: str) -> None:
        self.app, self.names, self.token = app, {n.lower() for n in names}, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", POLICY)
            await send(message)

        status, why = self._refusal(scope)
        if status == 401 and scope["path"] == "/enter":
            status = 0
        if status == 401 and scope["method"] == "GET" and scope["path"] == "/":
            scope = {**scope, "path": "/entry", "raw_path": b"/entry"}
            status = 0
        if status:
            if status == 401:
                await asyncio.sleep(WRONG_TOKEN_S)
            await PlainTextResponse(why, status)(scope, receive, guarded)
        else:
            await self.app(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in self.names:
            known = ", ".join(sorted(self.names))
            return 403, f"This server answers under the names {known} only (setting names)."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        foreign = origin is not None and origin.split("://")[-1].lower() != host
        # the page itself is the same for everybody, and links and login proxies lead to it
        navigates = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
        asked = scope["method"], scope["path"], *navigates
        linked = asked == ("GET", "/", "navigate", "document")
        if foreign or not (linked or site in ("same-origin", "none")):
            return 403, "Another page sent this request."
        if self.token and not self._known(scope, headers):
            return 401, "The token is missing or wrong."
        if scope["method"] not in ("GET", "HEAD") and "x-medcnn" not in headers:
            return 403, "This request does not come from the page."
        return 0, ""

    def _known(self, scope: Scope, headers: Headers) -> bool:
        sent = headers.get("authorization", "")
        if same(sent.removeprefix("Bearer "), self.token) and sent.startswith("Bearer "):
            return True
        # also where another program of this host set cookies that break the rules
        return same(HTTPConnection(scope).cookies.get(COOKIE, ""), ticket(self.token))


def same(left: str, right: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(left.encode(), right.encode())


def ticket(token: str) -> str:
    """What a browser keeps instead of the token."""
    return hmac.digest(token.encode(), b"review", "sha256").hex()
