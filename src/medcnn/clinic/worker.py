"""Takes images from the spool, asks the model, and sends results to a peer until they arrive."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.clinic.spool import Entry, Spool
from medcnn.system.errors import MedcnnError
from medcnn.system.privacy import pseudonymised
from medcnn.system.progress import log

AT_ONCE = 16
IDLE_S = 0.5
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMade:
    """Why there are no objects of a file, and whether there may be some another time."""

    why: str
    passing: bool = False


# The answer to a file.
Made = list[bytes] | NotMade


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who gets the results, and our own title."""

    host: str
    port: int
    title: str
    own_title: str


class Worker(threading.Thread):
    """Works until `stop`; whatever it was doing is done again after a kill.

    Args:
        answer: the objects of each file, or the reason why there are none.
    """

    def __init__(
        self, spool: Spool, peer: Peer, answer: Callable[[Sequence[Path]], list[Made]]
    ) -> None:
        super().__init__(name="worker", daemon=True)
        self.spool, self.peer, self.answer = spool, peer, answer
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                busy = self.build() + self.send()
            except Exception as error:  # a full disk, a locked table: the images are still there
                log.error(f"worker: {_why(error)}")
                busy = 0
                self._over.wait(TIMEOUT_S / 10)
            if not busy:
                self._over.wait(IDLE_S)

    def build(self) -> int:
        """Ask about some images; how many."""
        entries = self.spool.waiting(AT_ONCE)
        if not entries:
            return 0
        for entry, made in zip(entries, self._made(entries), strict=True):
            if isinstance(made, NotMade):
                when = "yet" if made.passing else "at all"
                log.warning(f"{entry.shown} gets no answer {when}: {made.why}")
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
        from pydicom.uid import ExplicitVRLittleEndian
        from pynetdicom import AE

        objects: dict[Entry, list[Any]] = {}
        for entry in entries:
            try:
                objects[entry] = [pydicom.dcmread(p) for p in self.spool.objects(entry)]
            except Exception as error:  # a damaged file must not hold up the others
                self.spool.failed(entry, f"its results cannot be read: {_why(error)}")
        if not objects:
            return 0
        ae = AE(ae_title=self.peer.own_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT_S
        ae.connection_timeout = 10
        for uid in sorted({str(o.SOPClassUID) for of in objects.values() for o in of}):
            ae.add_requested_context(uid, ExplicitVRLittleEndian)
        peer = self.peer
        assoc = ae.associate(peer.host, peer.port, ae_title=peer.title)
        if not assoc.is_established:
            # pynetdicom leaves the socket of a failed connection to the garbage collector
            if (transport := assoc.dul.socket) is not None and transport.socket is not None:
                transport.socket.close()
            why = "refuses us" if assoc.is_rejected else "does not answer"
            for entry in objects:
                self.spool.later(entry, f"{peer.title} at {peer.host}:{peer.port} {why}")
            return 0
        done = 0
        try:
            for entry, of in objects.items():
                if reason := _stored(assoc, of):
                    self.spool.later(entry, f"{peer.title}: {reason}")
                else:
                    self.spool.sent(entry)
                    done += 1
        finally:
            assoc.release()
        return done


def _passing(error: Exception) -> bool:
    """Whether the machine is to blame and not the image: no memory, no disk. Readers of images also
    raise OSError for damage, but without a number of the system's."""
    system = isinstance(error, OSError) and error.errno is not None
    return system or isinstance(error, MemoryError | sqlite3.Error)


def _why(error: Exception) -> str:
    """Of our own errors and those of the system; the text of others may quote a header."""
    if isinstance(error, MedcnnError):
        return pseudonymised(str(error))
    more = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{more}"


def _stored(assoc: Any, objects: Sequence[Any]) -> str:
    """Why the peer does not have all of them; "" if it has. One that it has already is the same."""
    for made in objects:
        try:
            status = assoc.send_c_store(made)
        except (RuntimeError, ValueError) as error:  # no connection, or no context for this class
            return str(error).split("\n")[0]
        if "Status" not in status:
            return "the connection was lost"
        # 0xBxxx: stored, with a remark
        if status.Status != 0 and status.Status >> 12 != 0xB:
            return f"it answers 0x{status.Status:04X}"
    return ""
