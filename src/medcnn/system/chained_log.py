"""A log whose lines are chained: each has the SHA-256 of itself and of the line before.

So a line that was changed, removed, added or moved is noticed. Rewriting every line from some place
on leaves no trace in the file; the last hash, which is kept elsewhere, gives it away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from medcnn.system.errors import MedcnnError
from medcnn.system.files import as_private_as, locked
from medcnn.system.progress import log

BEGINNING = "0" * 64
MOST_FAULTS = 20
# Longer than any line that is written.
TAIL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class End:
    """The last line of a log: its number, from 1, and its hash."""

    line: int = 0
    head: str = BEGINNING


def appended(path: Path, entries: Sequence[Mapping[str, Any]]) -> End:
    """Add lines, flushed to disk together; processes that share the log take turns.

    A half line, left by a kill or a power cut, was never promised to anybody: it is replaced by a
    line that says so.

    Raises:
        MedcnnError: the last line is not as it was written, so nothing can be chained to it.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    with locked(lock, waiting=lambda: log.info(f"waiting for {path}, in use by another process")):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, as_private_as(path.parent))
        with os.fdopen(handle, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            whole, _, half = file.read().rpartition(b"\n")
            # a file without one whole line may be anything, so nothing is cut from it
            end = _end_of(whole.rpartition(b"\n")[2], path) if size else End()
            if half:
                file.truncate(size - len(half))
                entries = [{"kind": "repaired", "half_line_bytes": len(half)}, *entries]
            lines = []
            for entry in entries:
                end, text = _next(end, entry)
                lines.append(text)
            file.seek(0, os.SEEK_END)
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
    return end


def _next(end: End, entry: Mapping[str, Any]) -> tuple[End, str]:
    content = {**entry, "line": end.line + 1, "previous": end.head}
    own = _hash(content)
    return End(end.line + 1, own), _text({**content, "sha256": own}) + "\n"


def _text(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True)


def _hash(entry: Mapping[str, Any]) -> str:
    return sha256(_text(entry).encode()).hexdigest()


def _read(line: bytes) -> tuple[dict[str, Any], str] | None:
    """A line and the hash that it contains; None if it is not as it was written."""
    try:
        whole = json.loads(line)
        entry = {**whole}
        own = entry.pop("sha256")
        right = own == _hash(entry) and isinstance(entry["line"], int) and "previous" in entry
        right = right and _text(whole) == line.decode().rstrip("\n")  # to the byte
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    return (entry, own) if right else None


def _end_of(line: bytes, path: Path) -> End:
    found = _read(line)
    if found is None:
        raise MedcnnError(
            f"log={path}: its last line is not as it was written, so nothing is added to it. "
            f"medcnn verify {path} shows what was changed; to continue, name another log."
        )
    return End(found[0]["line"], found[1])


def faults_in(path: Path) -> Iterator[tuple[str, End]]:
    """The fault of each line in words, "" if it has none, and the end of the log so far."""
    end = End()
    with path.open("rb") as file:
        for place, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                yield f"line {place} breaks off: a write was interrupted", end
                return
            found = _read(line)
            if found is None:
                # its number and hash cannot be trusted: the next line says what it followed
                end = End(end.line + 1, "")
                yield f"line {place} was changed", end
                continue
            (entry, own), fault = found, ""
            gap = entry["line"] - end.line - 1
            if gap > 0:
                what = "a line is" if gap == 1 else f"{gap} lines are"
                fault = f"{what} missing before line {place} (number {entry['line']})"
            elif gap < 0:
                fault = f"line {place} (number {entry['line']}) is out of order or there twice"
            elif end.head and entry["previous"] != end.head:
                fault = f"line {place} does not follow the line before it: one was replaced"
            end = End(entry["line"], own)
            yield fault, end
