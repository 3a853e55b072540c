"""Sends many files through decoder processes, and finds and names a file that kills one."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from medcnn.images import file_part
from medcnn.pixels.process import FRAME, LIMIT_S, WAITING_LIMIT_S
from medcnn.system.progress import log

# The next request waits in the pipe, so that a process never waits for this one.
AHEAD = 2
# Starting a process costs as much as decoding a few files.
FILES_PER_PROCESS = 8
# A process that dies closes its pipe a moment before it has an exit code.
GRACE_S = 5.0
# Windows has neither signal.
LIMITS_S = {"SIGPROF": LIMIT_S, "SIGALRM": WAITING_LIMIT_S}
TIME_IS_UP = {-getattr(signal, s): t for s, t in LIMITS_S.items() if hasattr(signal, s)}

Answer = tuple[dict[str, Any] | None, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Attributes:
    asked: for each product, the hash of the content that the existing one was made from; empty if
        there is none, None if it is not wanted.
    """

    row: int
    path: str
    asked: tuple[str | None, ...] = ("",)


def answers(
    requests: Sequence[Request], module: str, setting: dict[str, Any], *, processes: int
) -> Iterator[tuple[Request, dict[str, Any], bytes]]:
    """Each request with the head and the bytes of its answer, in the order in which they become
    ready; the head says `why` if there are none.

    If a process dies, its requests are repeated one by one in a separate process; what kills that
    one too is unreadable for that reason. A kill from outside (out of memory with many at work)
    therefore costs time but no image. What takes too long is unreadable at once.

    Args:
        module: its `main` is what the processes run; it calls `process.serve`.
        setting: the first message to them, as JSON.
    """
    # The rows of an array share a file, which one process then unpacks, not all of them.
    files = len({file_part(r.path) for r in requests})
    crew = min(processes, -(-files // FILES_PER_PROCESS))
    suspects: list[Request] = []
    for asked, head, data, _ in _answers(requests, module, setting, crew, AHEAD):
        if head is None:
            suspects.append(asked)
        else:
            yield asked, head, data
    for asked, head, data, why in _answers(suspects, module, setting, 1, 1):
        yield asked, {"why": why} if head is None else head, data


def _answers(
    requests: Sequence[Request], module: str, setting: dict[str, Any], processes: int, ahead: int
) -> Iterator[tuple[Request, dict[str, Any] | None, bytes, str]]:
    """Each request with its answer, or with how the process that had it ended."""
    waiting = deque(requests)
    heard: set[tuple[int, str]] = set()
    answered: queue.SimpleQueue[tuple[_Process, Answer]] = queue.SimpleQueue()
    crew = [_Process(module, setting, answered) for _ in range(min(processes, len(waiting)))]
    try:
        while waiting or any(p.asked for p in crew):
            for process in crew:
                while process.ready and waiting and len(process.asked) < ahead:
                    process.ask(waiting.popleft())
            process, (head, data) = answered.get()
            if head is None:
                crew.remove(process)
                why = process.end(GRACE_S)
                if not process.ready:
                    raise RuntimeError(f"the decoder process did not start: {why}")
                if process.asked and process.popen.returncode in TIME_IS_UP:
                    # it would take as long again
                    yield process.asked.popleft(), {"why": why}, b"", ""
                yield from ((request, None, b"", why) for request in process.asked)
                if waiting:
                    crew.append(_Process(module, setting, answered))
                continue
            for level, message in head.pop("said"):
                if (level, message) not in heard:
                    heard.add((level, message))
                    log.log(level, message)
            if process.ready:
                yield process.asked.popleft(), head, data, ""
            process.ready = True
    finally:
        for process in crew:
            process.end()


@dataclass(slots=True, init=False)
class _Process:
    """A decoder process, and the requests that it has not answered yet."""

    popen: subprocess.Popen[bytes]
    requests: IO[bytes]
    answers: IO[bytes]
    complaints: IO[bytes]
    listener: threading.Thread
    ready: bool = False
    asked: deque[Request] = field(default_factory=deque)

    def __init__(
        self,
        module: str,
        setting: dict[str, Any],
        answered: queue.SimpleQueue[tuple[_Process, Answer]],
    ) -> None:
        self.ready, self.asked = False, deque()
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {module} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            bufsize=0,
            # Ctrl-C is for the process that the user started, which ends this one.
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                # one thread each: threads that compete for a core lose more than they gain
                "OMP_NUM_THREADS": "1",
            },
        )
        assert self.popen.stdin
        assert self.popen.stdout
        self.requests, self.answers = self.popen.stdin, self.popen.stdout
        # a thread, since Windows has selectors for sockets only; AHEAD bounds what it keeps
        self.listener = threading.Thread(target=self._listen, args=(answered,), daemon=True)
        self.listener.start()
        self._send(setting)

    def _listen(self, answered: queue.SimpleQueue[tuple[_Process, Answer]]) -> None:
        answer: Answer = {}, b""
        while answer[0] is not None:
            answer = self._next_answer()
            answered.put((self, answer))

    def ask(self, request: Request) -> None:
        self.asked.append(request)
        self._send([request.path, request.asked])

    def _send(self, what: object) -> None:
        try:
            self.requests.write(json.dumps(what).encode() + b"\n")
        except BrokenPipeError:
            return  # it is dead; the other pipe shows this

    def _next_answer(self) -> Answer:
        """The head and the bytes; no head if the process died."""
        frame = self._exactly(FRAME.size)
        if frame is None:
            return None, b""
        sizes = FRAME.unpack(frame)
        head, data = self._exactly(sizes[0]), self._exactly(sizes[1])
        if head is None or data is None:
            return None, b""
        return json.loads(bytes(head)), data

    def _exactly(self, count: int) -> bytes | None:
        buffer = bytearray(count)
        view, done = memoryview(buffer), 0
        while done < count:
            read = self.answers.readinto(view[done:])  # type: ignore[attr-defined]
            if not read:
                return None
            done += read
        return bytes(buffer)

    def end(self, grace_s: float = 0.0) -> str:
        """Kill it if it is still alive; returns how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(grace_s)
        self.popen.kill()
        code = self.popen.wait()
        self.listener.join()  # the pipe ends with its process
        self.complaints.seek(0)
        last = self.complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        for pipe in (self.requests, self.answers, self.complaints):
            pipe.close()
        if not self.ready:
            return f"exit code {code}; {' '.join(last)}"
        if code in TIME_IS_UP:
            return f"decoding took longer than {TIME_IS_UP[code]} s and was stopped"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the decoder crashed on this file ({how})"
