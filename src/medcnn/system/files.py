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
SEAL_BYTES = hashlib.sha256().digest_size


@contextmanager
def replacing(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` when the block ends.

    A block that raises leaves what was there before.

    Args:
        keep: where what was there before goes; a kill can leave that one alone, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the process number: machines that share a disk have equal ones
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part{path.suffix}")
    sweep(path.parent, older_than_s=ABANDONED_AFTER_S)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # some writers leave files that only their owner may read
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        # the rename itself must reach the disk, or a power cut brings the old file back
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Remove what killed processes left; whoever shares a folder waits until it is surely theirs
    no more."""
    for left in folder.glob(".*.part*"):
        try:
            if not older_than_s or time.time() - left.stat().st_mtime > older_than_s:
                left.unlink()
        except OSError:
            continue  # another process was faster


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, *contents: bytes | memoryview, keep: Path | None = None) -> None:
    with replacing(path, keep=keep) as temporary, temporary.open("wb") as file:
        for content in contents:
            file.write(content)


def kept_twice(path: Path) -> tuple[Path, Path]:
    """Where `write_sealed` keeps its content, and where that of the time before."""
    return path, path.with_stem(f"{path.stem}-before")


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write `content` with its SHA-256 behind it; what stood there is kept once more."""
    newest, before = kept_twice(path)
    write_bytes(newest, content, hashlib.sha256(content).digest(), keep=before)


def read_sealed(path: Path) -> memoryview:
    """What `write_sealed` wrote.

    Raises:
        ValueError: what is wrong with the file, as an end of a sentence that begins with its name.
    """
    whole = memoryview(path.read_bytes())
    content, seal = whole[:-SEAL_BYTES], whole[-SEAL_BYTES:]
    if not len(whole):
        raise ValueError("is empty")
    if hashlib.sha256(content).digest() != seal:
        only = "holds nothing but zeros" if not any(whole[:4096]) else "was cut short or changed"
        raise ValueError(f"{only} ({len(whole):,} bytes, its checksum does not fit)")
    return content


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
