"""A process that decodes files on request, so that a crash of a decoder kills only this process.

It communicates over its pipes and opens nothing but images: a setting on the first line, then one
request `[path, what is asked]` per line; each answer is a head and the bytes made from the file.
It does not import torch, so it starts in a fifth of a second.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from medcnn.images import file_part

# A file that takes longer ends this process: no signal handler runs inside a decoder that hangs.
# This is processor time, since a loaded machine or a slow drive is not the file's fault; 80
# megapixels of JPEG 2000 need 24 s. The second limit is for what would wait for ever.
LIMIT_S, WAITING_LIMIT_S = 60, 600
# Length of the head (JSON) and of the bytes that follow it.
FRAME = struct.Struct("<II")

# Path and `Request.asked` -> head and bytes.
Look = Callable[[str, Sequence[str | None]], tuple[dict[str, Any], bytes]]


class _Kept(logging.Handler):
    """Messages of the readers, for the process that has a terminal and a log file."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelno, record.getMessage()))


def _limit(limited: bool) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S if limited else 0)
        signal.alarm(WAITING_LIMIT_S if limited else 0)
    elif limited:  # Windows: a watchdog in C that uses wall-clock time
        faulthandler.dump_traceback_later(WAITING_LIMIT_S, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def serve(look_of: Callable[[dict[str, Any]], Look]) -> None:
    """Answer requests until the pipe closes, which it also does when the asking process dies.

    Args:
        look_of: setting -> what makes an answer.
    """
    answers = os.fdopen(os.dup(1), "wb")
    # what a library in C prints must not come between the answers
    os.dup2(2, 1)
    look = look_of(json.loads(sys.stdin.buffer.readline()))
    kept = _Kept()
    logger = logging.getLogger("medcnn")
    logger.addHandler(kept)
    logger.propagate = False
    logger.setLevel(logging.INFO)

    def answer(head: dict[str, Any], data: bytes) -> None:
        line = json.dumps({**head, "said": kept.said}).encode()
        kept.said = []
        answers.write(FRAME.pack(len(line), len(data)) + line + data)
        answers.flush()

    try:
        answer({}, b"")
        for line in sys.stdin.buffer:
            path, asked = json.loads(line)
            # a large npz is hashed and unpacked up to the row, without any foreign decoder
            limited = file_part(path) == path
            _limit(limited)
            head, data = look(path, asked)
            _limit(False)
            answer(head, data)
    except BrokenPipeError:
        os._exit(0)
