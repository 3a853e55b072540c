"""A process that decodes the files it is asked for, so that what kills a decoder kills only it.

It talks over its pipes and opens nothing but images: a setting on the first line, then one request
`[path, known content or null]` a line; each answer is a head and the pixels. It imports no torch,
which keeps its start at a fifth of a second.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import signal
import stat
import struct
import sys
import time
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.errors import ImageError
from medcnn.images import Preprocessing, file_part

# A file that takes longer ends this process: no signal handler runs inside a decoder that hangs.
LIMIT_S = 60
# What a network drive answers for a while; tried again after these pauses.
PASSING = (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOTCONN, errno.EREMOTEIO)
PAUSES_S = (0.2, 1.0, 3.0)
# Length of the head (JSON) and of the pixels that follow it.
FRAME = struct.Struct("<II")
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
            return {"why": f"preprocessing failed: {type(error).__name__}: {error}"}, b""
        time.sleep(pause_s)
    raise AssertionError("the last try returns")


class _Kept(logging.Handler):
    """What the readers say, to be said by the process that has a terminal and a log file."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelno, record.getMessage()))


def main() -> None:
    """Answer requests until the pipe closes, which it also does when the asking process dies."""
    answers = os.fdopen(os.dup(1), "wb")
    # what a library in C prints must not come between the answers
    os.dup2(2, 1)
    setting = json.loads(sys.stdin.buffer.readline())
    root, how = Path(setting["root"]), Preprocessing.from_json(setting["preprocessing"])
    kept = _Kept()
    logger = logging.getLogger("medcnn")
    logger.addHandler(kept)
    logger.propagate = False
    logger.setLevel(logging.INFO)

    def answer(head: dict[str, Any], pixels: bytes) -> None:
        head["said"], kept.said = kept.said, []
        line = json.dumps(head).encode()
        answers.write(FRAME.pack(len(line), len(pixels)) + line + pixels)
        answers.flush()

    try:
        answer({}, b"")
        pauses_s: tuple[float, ...] = PAUSES_S
        for line in sys.stdin.buffer:
            path, known = json.loads(line)
            signal.alarm(LIMIT_S)
            head, pixels = decoded(root, path, known, how, pauses_s)
            signal.alarm(0)
            # a drive that is gone is not waited for again at each of a hundred thousand files
            pauses_s = () if head.pop("gone", False) else PAUSES_S
            answer(head, pixels)
    except BrokenPipeError:
        os._exit(0)
