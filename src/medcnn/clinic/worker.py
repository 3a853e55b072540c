"""Takes images from the spool, asks the model, and has results delivered until they arrive."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.clinic.sending import Deliver
from medcnn.clinic.spool import Entry, Spool
from medcnn.system.errors import MedcnnError
from medcnn.system.privacy import pseudonymised
from medcnn.system.progress import log

AT_ONCE = 16
IDLE_S, PAUSE_S = 0.5, 6.0
# A server that says nothing is not waited for: what was not sent is sent after the next start.
STOP_S = 10.0
YET = "gets no answer yet"
KEPT = "gets no answer, and stays in the spool until it is tried again or dropped on the page"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMade:
    """Why a file got no objects, and whether trying again may help."""

    why: str
    passing: bool = False


# The answer to a file.
Made = list[bytes] | NotMade


class Stoppable(threading.Thread):
    """A thread that works until `stop`, which waits for it, but not for long."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()
        if self.is_alive():
            self.join(STOP_S)


class Worker(Stoppable):
    """Works until `stop`; whatever it was doing is done again after a kill.

    Args:
        deliver: brings results to whoever gets them.
        answer: the objects of each file, or the reason why there are none.
    """

    def __init__(
        self, spool: Spool, deliver: Deliver, answer: Callable[[Sequence[Path]], list[Made]]
    ) -> None:
        super().__init__("worker")
        self.spool, self.deliver, self.answer = spool, deliver, answer

    def run(self) -> None:
        while not self._over.is_set():
            try:
                busy = self.build() + self.send()
            except Exception as error:  # a full disk, a locked table: the images are still there
                if self._over.is_set():
                    return
                log.error(f"worker: {_why(error)}")
                busy = 0
                self._over.wait(PAUSE_S)
            if not busy:
                self._over.wait(IDLE_S)

    def build(self) -> int:
        """Ask about some images; how many."""
        entries = self.spool.waiting(AT_ONCE)
        if not entries:
            return 0
        for entry, made in zip(entries, self._made(entries), strict=True):
            if isinstance(made, NotMade):
                log.warning(f"{entry.shown} {YET if made.passing else KEPT}: {made.why}")
                (self.spool.later if made.passing else self.spool.failed)(entry, made.why)
            else:
                self.spool.built(entry, made)
        return len(entries)

    def _made(self, entries: Sequence[Entry]) -> list[Made]:
        files = [self.spool.image(entry) for entry in entries]
        try:
            return self.answer(files)
        except Exception as error:
            if len(files) == 1:
                return [NotMade(why=_why(error), passing=_passing(error))]
        # one of them is to blame; the others get their answer
        return [made for entry in entries for made in self._made([entry])]

    def send(self) -> int:
        """Send some results; how many images are done with."""
        entries = self.spool.due(AT_ONCE)
        if not entries:
            return 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in the headers that results inherit
            return self._sent(entries)

    def _sent(self, entries: Sequence[Entry]) -> int:
        import pydicom

        objects: dict[str, list[Any]] = {}
        for entry in entries:
            try:
                objects[entry.key] = [pydicom.dcmread(p) for p in self.spool.objects(entry)]
            except Exception as error:  # a damaged file must not hold up the others
                why = f"its results cannot be read: {_why(error)}"
                (self.spool.later if _passing(error) else self.spool.failed)(entry, why)
        entry_of, done = {entry.key: entry for entry in entries}, 0
        for key, reason in self.deliver(objects) if objects else ():
            if reason:
                self.spool.later(entry_of[key], reason)
            else:
                self.spool.sent(entry_of[key])
                done += 1
            if self._over.is_set():
                break
        return done


def _passing(error: Exception) -> bool:
    """Whether the machine is to blame and not the image: no memory, no disk. Readers of images also
    raise OSError for damage, but without a number of the system's."""
    if isinstance(error, OSError):
        return error.errno is not None and not isinstance(error, FileNotFoundError)
    return isinstance(error, MemoryError | sqlite3.Error)


def _why(error: Exception) -> str:
    """Of our own errors and those of the system; the text of others may quote a header."""
    if isinstance(error, MedcnnError):
        return pseudonymised(str(error))
    more = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{more}"
