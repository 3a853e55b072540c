"""What arrived and what became of it, on disk before the sender hears of it.

An image is a file, and its state a row of an SQLite table in WAL mode, flushed at each commit. A
file without a row was never acknowledged, and its sender keeps it; a row without its results has
not been sent. So a kill at any moment loses nothing. Names of files and rows are keyed digests.

    waiting -> built -> sent -> forgotten, the earliest first, beyond a number
     |   ^      |   ^
     |   +------+---+ tried again later
     +-> failed (no prediction) -> waiting or dropped, if somebody says so
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from medcnn.system.files import flush_folder, own_folder
from medcnn.system.privacy import keyed, pseudonym
from medcnn.system.run_facts import now

FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 900.0
MOST_SHOWN = 50
FORGET_EVERY = 1000
TABLE = """
create table if not exists images (
    key text primary key, shown text not null, checkpoint text not null, state text not null,
    since text not null, tries integer not null, due real not null, reason text not null,
    results integer not null)
"""
# every image that arrives asks how many wait
BY_STATE = "create index if not exists by_state on images (state, due)"


class State(StrEnum):
    WAITING = "waiting"
    BUILT = "built"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


# States of an image that is on no disk of ours any more.
OVER = (State.SENT, State.DROPPED)


class FullError(Exception):
    """The disk or the queue has no room; the sender should try again later."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An image in the spool."""

    key: str
    shown: str
    tries: int
    results: int
    state: State


class Spool:
    """One process uses it at a time; its threads take turns.

    Args:
        folder: private; created if missing.
        checkpoint: digest of the model that answers. An image that comes again gets an answer only
            if another model gave the last one, or none could be given.
        most: images that may wait.
        remembered: answered images whose repeat is recognised; the earliest answers beyond that are
            forgotten. A repeat of those gets the same objects again, which an archive files once.
        listed_days: answers of so many days are not forgotten, since the server that images are
            fetched from may still list them, and they would be fetched again without end.
        least_free_bytes: of the disk.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint: str,
        *,
        most: int,
        remembered: int,
        least_free_bytes: int,
        listed_days: int = 0,
    ) -> None:
        self.folder, self.checkpoint = own_folder(folder), checkpoint
        self.files, self.results = own_folder(folder / "images"), own_folder(folder / "results")
        self.most, self.least_free_bytes = most, least_free_bytes
        self.remembered, self.listed_s, self._sent = remembered, 86_400.0 * listed_days, 0
        self._turn = threading.Lock()
        self._table = sqlite3.connect(folder / "state.sqlite", check_same_thread=False)
        self._table.execute("pragma journal_mode=wal")
        self._table.execute("pragma synchronous=full")
        self._table.execute(TABLE)
        self._table.execute(BY_STATE)
        self._table.commit()
        for made in (folder, folder.parent, folder.parent.parent):
            flush_folder(made)
        self._sweep()
        self._forget()

    def close(self) -> None:
        with self._turn:
            self._table.close()

    def _sweep(self) -> None:
        """Remove files that a kill left without a row that needs them."""
        rows = self._table.execute("select key, state, results from images").fetchall()
        needed = {f"{key}.dcm" for key, state, _ in rows if state not in OVER}
        made = {
            f"{key}-{i}.dcm" for key, state, n in rows if state == State.BUILT for i in range(n)
        }
        for folder, names in ((self.files, needed), (self.results, made)):
            for path in folder.iterdir():
                if path.name not in names:
                    path.unlink()

    def _forget(self) -> None:
        """Remove the rows of the earliest answers beyond those that are remembered."""
        self._table.execute(
            "delete from images where state in (?1, ?2) and due <= ?4 and due <= (select due from "
            "images where state in (?1, ?2) order by due desc limit 1 offset ?3)",
            (*OVER, self.remembered, time.time() - self.listed_s),
        )
        self._table.commit()

    def receive(self, uid: str, data: bytes) -> bool:
        """Keep an image; whether it is one to answer. On disk when this returns.

        Raises:
            FullError: there is no room for it.
            OSError: the disk cannot be written.
        """
        key = keyed(uid, "spool").hex()
        with self._turn:
            state, checkpoint = self._found(key)
            if state not in (None, State.FAILED, State.DROPPED) and (
                state != State.SENT or checkpoint == self.checkpoint
            ):
                return False
            if self._count(State.WAITING) >= self.most:
                raise FullError(f"{self.most:,} images wait already")
            if shutil.disk_usage(self.folder).free - len(data) < self.least_free_bytes:
                raise FullError("the disk is nearly full")
            _write(self.files / f"{key}.dcm", data)
            self._insert(key, uid, State.WAITING, "")
        return True

    def unfetched(self, uid: str, reason: str) -> None:
        """Record an image as failed without keeping a file."""
        with self._turn:
            self._insert(keyed(uid, "spool").hex(), uid, State.FAILED, reason)

    def _insert(self, key: str, uid: str, state: State, reason: str) -> None:
        shown = pseudonym(uid, "image")
        row = (key, shown, self.checkpoint, state, now(), 0, 0.0, reason, 0)
        self._table.execute(f"insert or replace into images values ({','.join('?' * 9)})", row)
        self._table.commit()

    def knows(self, uid: str) -> bool:
        """Whether an image was received, whatever became of it; one that failed is not fetched
        again, though a sender may send it again."""
        with self._turn:
            state, checkpoint = self._found(keyed(uid, "spool").hex())
        return state is not None and (state != State.SENT or checkpoint == self.checkpoint)

    def _found(self, key: str) -> tuple[str | None, str]:
        """State of an image, None of one that is not there, and the model that answers it."""
        found = self._table.execute(
            "select state, checkpoint from images where key = ?", (key,)
        ).fetchone()
        return found or (None, "")

    def _count(self, state: State) -> int:
        found = self._table.execute("select count(*) from images where state = ?", (state,))
        return int(found.fetchone()[0])

    def waiting(self, most: int) -> list[Entry]:
        """Images to ask about now, the first to arrive first."""
        return self._due(State.WAITING, most)

    def due(self, most: int) -> list[Entry]:
        """Images whose results are to be sent now."""
        return self._due(State.BUILT, most)

    def _due(self, state: State, most: int) -> list[Entry]:
        with self._turn:
            rows = self._table.execute(
                "select key, shown, tries, results from images where state = ? and due <= ? "
                "order by due, rowid limit ?",
                (state, time.time(), most),
            ).fetchall()
        return [Entry(key, shown, tries, results, state) for key, shown, tries, results in rows]

    def image(self, entry: Entry) -> Path:
        return self.files / f"{entry.key}.dcm"

    def objects(self, entry: Entry) -> list[Path]:
        """The results to send."""
        return [self.results / f"{entry.key}-{i}.dcm" for i in range(entry.results)]

    def built(self, entry: Entry, objects: Sequence[bytes]) -> None:
        """Keep the results; from now on these bytes are sent, however often that is tried."""
        for i, data in enumerate(objects):
            _write(self.results / f"{entry.key}-{i}.dcm", data)
        more = {"results": len(objects), "checkpoint": self.checkpoint, "tries": 0, "due": 0.0}
        self._set(entry, State.BUILT, "", **more)

    def sent(self, entry: Entry) -> None:
        """Everything arrived: only the row stays, without a name."""
        self._set(entry, State.SENT, "", due=time.time())
        for path in (self.image(entry), *self.objects(entry)):
            path.unlink(missing_ok=True)
        self._sent += 1
        if self._sent % FORGET_EVERY == 0:
            with self._turn:
                self._forget()

    def later(self, entry: Entry, reason: str) -> None:
        """Try again to answer or to send, after a wait that doubles each time."""
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(entry.tries, 30), LONGEST_WAIT_S)
        self._set(entry, entry.state, reason, tries=entry.tries + 1, due=time.time() + wait_s)

    def failed(self, entry: Entry, reason: str) -> None:
        """No answer can be given. The image stays until it is sent again, or somebody says what
        shall become of it."""
        self._set(entry, State.FAILED, reason)

    def again(self) -> int:
        """Ask about all that failed once more; how many. What was never fetched is forgotten, so
        that it is fetched if the server still lists it."""
        with self._turn:
            keys = self._failed()
            there = [key for key in keys if (self.files / f"{key}.dcm").exists()]
            gone = [(key,) for key in {*keys} - {*there}]
            self._table.executemany("delete from images where key = ?", gone)
            self._table.executemany(
                "update images set state = ?, reason = '', tries = 0, due = 0 where key = ?",
                [(State.WAITING, key) for key in there],
            )
            self._table.commit()
        return len(keys)

    def drop(self) -> int:
        """Delete the files of all that failed; how many. Their rows stay, so that none is fetched
        again; a sender may send them again."""
        with self._turn:
            keys = self._failed()
            self._table.executemany(
                "update images set state = ?, reason = '', due = ? where key = ?",
                [(State.DROPPED, time.time(), key) for key in keys],
            )
            self._table.commit()
            for key in keys:  # after a kill, the next start does it
                for path in (self.files / f"{key}.dcm", *self.results.glob(f"{key}-*.dcm")):
                    path.unlink(missing_ok=True)
        return len(keys)

    def _failed(self) -> list[str]:
        found = self._table.execute("select key from images where state = ?", (State.FAILED,))
        return [str(key) for (key,) in found]

    def _set(self, entry: Entry, state: State, reason: str, **more: object) -> None:
        columns = {"state": state, "reason": reason, **more}
        with self._turn:
            sets = ", ".join(f"{name} = ?" for name in columns)
            self._table.execute(
                f"update images set {sets} where key = ?", (*columns.values(), entry.key)
            )
            self._table.commit()

    def counts(self) -> dict[str, int]:
        """State -> images."""
        with self._turn:
            return {str(state): self._count(state) for state in State}

    def failures(self) -> list[tuple[str, str, int, str]]:
        """Since when, which image, how often it was tried, and why it failed; the newest first."""
        with self._turn:
            rows = self._table.execute(
                "select since, shown, tries, reason from images where reason != '' "
                "order by rowid desc limit ?",
                (MOST_SHOWN,),
            )
            return [(str(a), str(b), int(c), str(d)) for a, b, c, d in rows.fetchall()]


def _write(path: Path, data: bytes) -> None:
    """The file whole or not at all, flushed with its name."""
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush_folder(path.parent)
