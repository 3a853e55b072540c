"""Files appear whole or not at all: written beside their place, flushed to the disk, then renamed.
And where what can be made again is kept, for nobody but its owner."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from medcnn.system.errors import UsageError

ABANDONED_AFTER_S = 86_400.0
# What Windows has no word for: owners and modes of files, and folders that can be flushed. There a
# file is as private as its folder's access list.
POSIX = hasattr(os, "geteuid")
OPENED = sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SEAL_BYTES = hashlib.sha256().digest_size


@contextmanager
def replacing(
    path: Path, *, keep: Path | None = None, num_bytes: int | None = None
) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` when the block ends.

    A block that raises leaves what was there before.

    Args:
        keep: where what was there before goes; a kill can leave that one alone, whole.
        num_bytes: how large the file will be, where that is known: a full disk then says how much
            room is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the process number: machines that share a disk have equal ones
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part{path.suffix}")
    sweep(path.parent, older_than_s=ABANDONED_AFTER_S)
    try:
        # made here, so that nobody reads along whatever the writer's own mode would be
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.chmod(as_private_as(path.parent))
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        if POSIX:  # the rename itself must reach the disk, or a power cut brings the old file back
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        # a full disk does not say of which file; and the user knows this one by its own name
        if error.errno and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        if error.errno in NO_ROOM and error.filename == str(path):
            found_room = temporary.stat().st_size if temporary.exists() else 0
            error.strerror = f"{error.strerror}, {_missing(found_room, num_bytes)}"
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """One process at a time is within the block, of all that name the lock file `path`.

    The system gives the lock back however its holder ends; over NFS the server does. The file
    stays, since removing it would let two in.

    Args:
        waiting: called once where another process has the lock, which then is waited for.

    Raises:
        BlockingIOError: another process has it, and `waiting` is None.
        OSError: the file cannot be made, or files cannot be locked there.
    """
    import filelock  # 25 ms, which no help text need wait for

    lock = filelock.FileLock(path, mode=as_private_as(path.parent), fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as busy:
        if waiting is None:
            raise BlockingIOError(errno.EAGAIN, "another process has it", str(path)) from busy
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _missing(found_room: int, num_bytes: int | None) -> str:
    if num_bytes is None:
        return f"after the first {found_room:,} bytes"
    return f"for {num_bytes - found_room:,} of its {num_bytes:,} bytes"


def as_private_as(folder: Path) -> int:
    """The mode of a file: its owner's, and others' as far as they may enter `folder` and the umask
    of the user lets them."""
    # only setting it tells it; another thread may make a file meanwhile, which nobody else may read
    mask = os.umask(0o077)
    os.umask(mask)
    entered = folder.stat().st_mode
    others = 0o060 * bool(entered & 0o010) | 0o006 * bool(entered & 0o001)
    return 0o600 | (others & ~mask)


@contextmanager
def private_to(folder: Path) -> Iterator[None]:
    """All that is written within the block is as private as `folder`, by whatever library."""
    others = ~folder.stat().st_mode & 0o077
    mask = os.umask(0o077)
    os.umask(mask | others)
    try:
        yield
    finally:
        os.umask(mask)


def sweep(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Remove what killed processes left; whoever shares a folder waits until it is surely theirs
    no more."""
    for left in folder.glob(".*.part*"):
        try:
            if not older_than_s or time.time() - left.stat().st_mtime > older_than_s:
                left.unlink()
        except OSError:
            continue  # another process was faster


@contextmanager
def table(path: Path) -> Iterator[TextIO]:
    """A table to write, that takes the place of `path` when the block ends."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        yield file


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, *contents: bytes | memoryview, keep: Path | None = None) -> None:
    size = sum(memoryview(content).nbytes for content in contents)
    with replacing(path, keep=keep, num_bytes=size) as temporary, temporary.open("wb") as file:
        for content in contents:
            file.write(content)


def kept_twice(path: Path) -> tuple[Path, Path]:
    """Where `write_sealed` keeps its content, and where that of the time before."""
    return path, path.with_stem(f"{path.stem}-before")


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write `content` with its SHA-256 behind it; what stood there is kept once more."""
    newest, before = kept_twice(path)
    write_bytes(newest, content, hashlib.sha256(content).digest(), keep=before)


def read_sealed(path: Path, *, shared: bool = True) -> memoryview:
    """What `write_sealed` wrote.

    Args:
        shared: whether it may be another user's, as a run folder may, and a cache may not.

    Raises:
        ValueError: what is wrong with the file, as an end of a sentence that begins with its name.
    """
    whole = memoryview(path.read_bytes() if shared else read_own(path))
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


def cache_place(*names: str) -> Path:
    """A folder below the cache folder that its owner alone may enter; made where it is not there.

    Raises:
        OSError: it cannot be made.
        UsageError: a link or another user's folder stands there.
    """
    folder = cache_folder()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _own_folder(folder)
    for name in names:
        folder = folder / name
        _own_folder(folder)
    return folder


def own_folder(folder: Path) -> Path:
    """The same for a folder that a setting names; what lies above it is made as usual."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _own_folder(folder)
    return folder


def _own_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # whatever the umask
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is a link or a file", str(folder)) from None
        _refuse_foreign(folder, found)
        if POSIX and found.st_mode & 0o077:
            folder.chmod(0o700)


def read_own(path: Path) -> bytes:
    """What this user wrote, through no link.

    Raises:
        OSError: it is not there, or is a link.
        UsageError: another user could have put it there.
    """
    descriptor = open_own(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def open_own(path: Path) -> int:
    """A descriptor to read from; raises as `read_own`."""
    descriptor = os.open(path, os.O_RDONLY | OPENED)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        _refuse_foreign(path, found)
        if POSIX and found.st_mode & 0o022:
            raise UsageError(
                f"{path} may be written by other users, so nobody knows what it holds. If it is "
                f"yours: chmod 600 '{path}'; else remove it."
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_foreign(path: Path, found: os.stat_result) -> None:
    if POSIX and found.st_uid not in (os.geteuid(), 0):
        raise UsageError(
            f"{path} belongs to another user (number {found.st_uid}), who could have put anything "
            "there. Remove it, or name a place of your own (MEDCNN_CACHE, or for the key of the "
            "pseudonyms MEDCNN_PSEUDONYM_KEY_FILE)."
        )


def read_at(descriptor: int, into: memoryview, start: int) -> int:
    """Fill `into` from byte `start` on; returns how many bytes the file had. One thread at a time,
    where the system cannot read by position (Windows)."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [into], start)
    os.lseek(descriptor, start, os.SEEK_SET)
    data = os.read(descriptor, into.nbytes)
    into.cast("B")[: len(data)] = data
    return len(data)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


# Control characters (C0 but for tab and line feed, DEL, C1), which move a terminal's cursor, change
# its title or its clipboard; and signs that reverse or hide what follows (Unicode TR 36).
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u2069\ufeff]")


def visible(text: str) -> str:
    """Text that does nothing but stand there: `\\x1b[31m` for the sequence that makes it red."""
    return _UNSEEN.sub(lambda sign: repr(sign[0])[1:-1], text)


def heading(text: str) -> str:
    """The name of a column as a table has it; a carriage return is kept by csv, and read back."""
    return "\r".join(map(visible, text.split("\r")))


def quoted(text: str) -> str:
    """A cell of a table for people: a text that a spreadsheet would run as a formula gets an
    apostrophe in front (OWASP, "CSV injection"); `plain` takes it away again."""
    text = heading(text)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
