"""Files -> preprocessed pixels, in processes of their own; both ends of the pipe."""

from __future__ import annotations

import errno
import hashlib
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.images import Preprocessing, file_part
from medcnn.pixels.pool import Request, answers
from medcnn.pixels.process import Look, serve
from medcnn.system.errors import ImageError

# What a network drive answers for a while; tried again after these pauses.
PASSING = (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOTCONN, errno.EREMOTEIO)
PAUSES_S = (0.2, 1.0, 3.0)
CONTENT_BYTES = 16

Seen = tuple[int, int, int]


def seen(file: Path) -> Seen:
    """Size, time of change of the content and of the entry, in ns; raises OSError."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=8)
def content_of(file: Path, as_seen: Seen) -> str:
    """Hash of the bytes; `as_seen` is in the key so that an array of many images is hashed once."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, _hash).hexdigest()


def _hash() -> Any:
    return hashlib.blake2b(digest_size=CONTENT_BYTES)


def decoded(
    root: Path, path: str, known: str | None, how: Preprocessing, pauses_s: tuple[float, ...]
) -> tuple[Any, bytes]:
    """The head of an answer and the pixels; none where the content is `known` or unreadable."""
    file = root / file_part(path)
    for pause_s in (*pauses_s, None):
        try:
            before = seen(file)
            # a named pipe would block for ever
            if known and stat.S_ISREG(file.stat().st_mode) and content_of(file, before) == known:
                return {"seen": before, "same": True}, b""
            pixels = np.ascontiguousarray(how.read(root, path)).tobytes()
            content = content_of(file, before)
            if seen(file) != before:
                raise OSError(errno.EAGAIN, "it changed while it was read")
            return {"seen": before, "content": content, "crc": zlib.crc32(pixels)}, pixels
        except FileNotFoundError:
            return {"why": "the file is missing"}, b""
        except (ImageError, OSError) as error:
            cause = error.__cause__ if isinstance(error, ImageError) else error
            passing = isinstance(cause, OSError) and cause.errno in PASSING
            if pause_s is None or not passing:
                text = str(error) if isinstance(error, ImageError) else error.strerror
                tries = f" (tried {len(pauses_s) + 1} times)" if passing else ""
                return {"why": f"{text or error}{tries}", "gone": passing}, b""
        except Exception as error:
            # what a library says may hold anything, a file name too
            return {"why": f"preprocessing failed ({type(error).__name__})"}, b""
        time.sleep(pause_s)
    raise AssertionError("the last try returns")


def main() -> None:
    """In a process of its own."""
    pauses_s: tuple[float, ...] = PAUSES_S

    def look_of(setting: dict[str, Any]) -> Look:
        root, how = Path(setting["root"]), Preprocessing.from_json(setting["preprocessing"])

        def look(path: str, known: str | None) -> tuple[dict[str, Any], bytes]:
            nonlocal pauses_s
            head, pixels = decoded(root, path, known, how, pauses_s)
            # a drive that is gone is not waited for again at each of a hundred thousand files
            pauses_s = () if head.pop("gone", False) else PAUSES_S
            return head, pixels

        return look

    serve(look_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one request: `why` it cannot be read, or its pixels, or `same` content as known.

    Attributes:
        seen: size and times of the file, as it was read.
        content: hash of the file.
        crc: CRC-32 of the pixels.
    """

    row: int
    pixels: bytes = b""
    seen: Seen = (0, 0, 0)
    content: str = ""
    crc: int = 0
    same: bool = False
    why: str = ""


def decode(
    requests: Sequence[Request], root: Path, how: Preprocessing, *, processes: int
) -> Iterator[Answer]:
    """One answer to each request, in the order in which they are ready."""
    setting = {"root": str(root), "preprocessing": how.to_json()}
    for request, head, pixels in answers(requests, __name__, setting, processes=processes):
        head["seen"] = tuple(head.get("seen", (0, 0, 0)))
        yield Answer(row=request.row, pixels=pixels, **head)
