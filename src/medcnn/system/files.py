"""Files appear whole or not at all: written next to their place, flushed to disk, then renamed.
Also the cache folder, which only its owner can read."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, TextIO

from medcnn.system.errors import UsageError

ABANDONED_AFTER_S = 86_400.0
# Windows has neither owners and modes of files nor folders that can be flushed. There, a file is as
# private as its folder's access list.
POSIX = hasattr(os, "geteuid")
OPENED = sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# `.report.HEX.part.html` while it is written, and `.HEX.part` of what has no other name yet.
_PART = re.compile(r"\.(.*\.)?[0-9a-f]{32}\.part(\.[^.]*)?", re.DOTALL)
SEAL_BYTES = hashlib.sha256().digest_size


@contextmanager
def replacing(
    path: Path, *, keep: Path | None = None, num_bytes: int | None = None
) -> Iterator[Path]:
    """A temporary path in the same folder that replaces `path` when the block ends.

    If the block raises, the old file stays.

    Args:
        keep: where the old file goes; after a kill, it may be the only one, and is whole.
        num_bytes: size of the file, if known; the error of a full disk then says how much is
            missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the process number: machines that share a disk have equal ones
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part{path.suffix}")
    sweep(path.parent, older_than_s=ABANDONED_AFTER_S)
    try:
        # created here, so that others cannot read it, whatever mode the writer would use
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.chmod(as_private_as(path.parent))
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        # a full disk does not name the file, and the user knows this one by its final name
        if error.errno and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        if error.errno in NO_ROOM and error.filename == str(path):
            found_room = temporary.stat().st_size if temporary.exists() else 0
            error.strerror = f"{error.strerror}, {_missing(found_room, num_bytes)}"
        raise
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Names in it reach the disk; without this, a power cut brings back what was before a rename,
    or takes a new file away."""
    if POSIX:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(path: Path, *, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Only one process at a time may be in the block, of all that use the lock file `path`.

    The system releases the lock however its holder ends; over NFS the server does. The file stays,
    since removing it would let two in.

    Args:
        waiting: called once if another process holds the lock, before waiting for it.

    Raises:
        BlockingIOError: another process holds it, and `waiting` is None.
        OSError: the file cannot be created, or files cannot be locked there.
    """
    import filelock  # 25 ms, which --help need not spend

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
    """The mode of a file: others may read it if they may enter `folder` and the umask allows it."""
    # it can only be read by setting it; a file that another thread creates meanwhile stays private
    mask = os.umask(0o077)
    os.umask(mask)
    entered = folder.stat().st_mode
    others = 0o060 * bool(entered & 0o010) | 0o006 * bool(entered & 0o001)
    return 0o600 | (others & ~mask)


@contextmanager
def private_to(folder: Path) -> Iterator[None]:
    """Everything written in the block, by any library, is as private as `folder`."""
    others = ~folder.stat().st_mode & 0o077
    mask = os.umask(0o077)
    os.umask(mask | others)
    try:
        yield
    finally:
        os.umask(mask)


def sweep(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Remove what killed processes of medcnn left. In a shared folder, remove old files only."""
    for left in filter(is_part, folder.glob(".*.part*")):
        try:
            if not older_than_s or time.time() - left.stat().st_mtime > older_than_s:
                left.unlink()
        except OSError:
            continue  # another process was faster


def is_part(path: Path) -> bool:
    """Whether it has a name that only medcnn gives, to a file that is not whole yet."""
    return _PART.fullmatch(path.name) is not None


@contextmanager
def table(path: Path) -> Iterator[TextIO]:
    """A table to write, which replaces `path` when the block ends."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        yield file


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def without_nan(value: Any) -> Any:
    """Plain nested values with None for nan and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """A mapping; empty if there is no such file, or it holds nothing of the kind."""
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def write_json(path: Path, content: Any) -> None:
    """Strict JSON, with null for numbers that are not available."""
    write_text(path, json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n")


def write_bytes(path: Path, *contents: bytes | memoryview, keep: Path | None = None) -> None:
    size = sum(memoryview(content).nbytes for content in contents)
    with replacing(path, keep=keep, num_bytes=size) as temporary, temporary.open("wb") as file:
        for content in contents:
            file.write(content)


def kept_twice(path: Path) -> tuple[Path, Path]:
    """Where `write_sealed` keeps its content, and where the previous one."""
    return path, path.with_stem(f"{path.stem}-before")


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write `content`, followed by its SHA-256; the previous file is kept too."""
    newest, before = kept_twice(path)
    write_bytes(newest, content, hashlib.sha256(content).digest(), keep=before)


def read_sealed(path: Path, *, shared: bool = True) -> memoryview:
    """What `write_sealed` wrote.

    Args:
        shared: whether it may belong to another user: a run folder may, a cache may not.

    Raises:
        ValueError: what is wrong with the file; completes a sentence that begins with its name.
    """
    whole = memoryview(path.read_bytes() if shared else read_own(path))
    content, seal = whole[:-SEAL_BYTES], whole[-SEAL_BYTES:]
    if not len(whole):
        raise ValueError("is empty")
    if hashlib.sha256(content).digest() != seal:
        only = "contains only zeros" if not any(whole[:4096]) else "was cut short or changed"
        raise ValueError(f"{only} ({len(whole):,} bytes, its checksum does not match)")
    return content


def cache_folder() -> Path:
    """MEDCNN_CACHE, else `medcnn` in the user's cache folder."""
    if named := os.environ.get("MEDCNN_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medcnn"


def cache_place(*names: str) -> Path:
    """A folder below the cache folder that only its owner may enter; created if missing.

    Raises:
        OSError: it cannot be created.
        UsageError: there is a link or another user's folder.
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
    """The same for a folder that a setting names; its parents are created as usual."""
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
    """The bytes of a file of this user; links are not followed.

    Raises:
        OSError: it is missing, or a link.
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
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        _refuse_foreign(path, found)
        if POSIX and found.st_mode & 0o022:
            raise UsageError(
                f"other users can write {path}, so its content cannot be trusted. If it is yours: "
                f"chmod 600 '{path}'; if not, remove it."
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_foreign(path: Path, found: os.stat_result) -> None:
    if POSIX and found.st_uid not in (os.geteuid(), 0):
        raise UsageError(
            f"{path} belongs to another user (number {found.st_uid}), who could have put anything "
            "there. Remove it, or name a place of your own (MEDCNN_CACHE; for the pseudonym key, "
            "MEDCNN_PSEUDONYM_KEY_FILE)."
        )


def read_at(descriptor: int, into: memoryview, start: int) -> int:
    """Fill `into` from byte `start` on; returns how many bytes the file had. For one thread at a
    time on Windows, which cannot read by position."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [into], start)
    os.lseek(descriptor, start, os.SEEK_SET)
    data = os.read(descriptor, into.nbytes)
    into.cast("B")[: len(data)] = data
    return len(data)


def packaged(package: str, name: str) -> str:
    """The text of a data file that is part of a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


# Control characters (C0 except tab and line feed, DEL, C1), which move a terminal's cursor or
# change its title or clipboard; and characters that reverse or hide what follows (Unicode TR 36).
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u2069\ufeff]")


def visible(text: str) -> str:
    """Text without effect on a terminal: `\\x1b[31m` is shown, and does not turn the text red."""
    return _UNSEEN.sub(lambda sign: repr(sign[0])[1:-1], text)


def heading(text: str) -> str:
    """The name of a column as written in a table; csv keeps a carriage return and reads it back."""
    return "\r".join(map(visible, text.split("\r")))


def quoted(text: str) -> str:
    """A cell of a table for people: text that a spreadsheet would run as a formula gets a leading
    apostrophe (OWASP, "CSV injection"), which `plain` removes."""
    text = heading(text)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
