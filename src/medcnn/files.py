"""Files appear whole or not at all: written beside their place, flushed to the disk, then renamed.
And where what can be made again is kept."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABANDONED_AFTER_S = 86_400.0


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` when the block ends.

    A block that raises leaves what was there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the process number: machines that share a disk have equal ones
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part{path.suffix}")
    _sweep(path.parent)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # some writers leave files that only their owner may read
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
        # the rename itself must reach the disk, or a power cut brings the old file back
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left a day ago or earlier."""
    for left in folder.glob(".*.part*"):
        try:
            if time.time() - left.stat().st_mtime > ABANDONED_AFTER_S:
                left.unlink()
        except OSError:
            continue  # another process was faster


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def cache_folder() -> Path:
    """MEDCNN_CACHE, else `medcnn` in the user's cache folder."""
    if named := os.environ.get("MEDCNN_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medcnn"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def quoted(text: str) -> str:
    """A cell of a table for people: a text that a spreadsheet would run as a formula gets an
    apostrophe in front (OWASP, "CSV injection"); `plain` takes it away again."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
