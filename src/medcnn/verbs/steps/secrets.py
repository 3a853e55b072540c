"""Secrets of `serve`, in files that nobody else may read."""

from __future__ import annotations

from pathlib import Path

from medcnn.system.errors import UsageError
from medcnn.system.files import POSIX

LEAST_TOKEN = 16


def token(file: str | None) -> str:
    """The token of the page; "" if none is set; raises UsageError."""
    if file is None:
        return ""
    found = _secret("token_file", file)
    if len(found) < LEAST_TOKEN:
        raise UsageError(
            f"token_file={file} holds {len(found)} characters, which can be guessed; use "
            f"{LEAST_TOKEN} or more, such as the output of openssl rand -hex 32."
        )
    return found


def credentials(file: str | None) -> str:
    """`user:password` or a bearer token; "" if none are needed; raises UsageError."""
    if file is None:
        return ""
    found = _secret("web.credentials", file)
    if found and found.isascii() and found.isprintable():
        return found
    odd = "several lines" if len(found.splitlines()) > 1 else "characters that are not ASCII"
    raise UsageError(
        f"web.credentials={file} holds {odd if found else 'nothing'}; it should hold "
        "user:password, or a bearer token, in one line of ASCII characters."
    )


def _secret(name: str, file: str) -> str:
    path = Path(file)
    if POSIX and path.stat().st_mode & 0o077:
        raise UsageError(f"{name}={file}: other users can read it. Run chmod 600 '{file}'.")
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{name}={file} is not a text file in UTF-8.") from None
