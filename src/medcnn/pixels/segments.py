"""The pixel cache on disk: segments, each written by a single build.

A segment is `<id>.pixels`, the images one after the other, and `<id>.rows`, one record for each
complete image. A build appends only to its own segment: pixels first, then the record. So a build
may be killed at any moment, two may run at once even if files cannot be locked, and a reader never
sees half an image. A segment is never changed afterwards, except that damaged pixels are
overwritten with the same pixels undamaged.

A segment contains no names: paths are keyed digests, since a file may be named after a patient.
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from medcnn.pixels.decoder import Seen
from medcnn.system.files import OPENED, open_own, read_at, read_own
from medcnn.system.privacy import keyed

# path, size, the two times, content, segment, slot, CRC-32 of the pixels; CRC-32 of all of these
RECORD = struct.Struct("<16sqqq16s16sII")
CHECK = struct.Struct("<I")
NOT_OPEN = -1
TAG_BYTES = 8
NOWHERE = -1


def path_key(path: str) -> bytes:
    return keyed(path, "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the pixels of a file are, and which file they were made from.

    Attributes:
        path: keyed digest of its path.
        seen: its size and times.
        content: hash of its bytes.
        crc: CRC-32 of the pixels.
        segment: id of the segment that holds the pixels.
        slot: their place in it, counted in images.
    """

    path: bytes
    seen: Seen
    content: bytes
    crc: int
    segment: bytes = b""
    slot: int = -1

    def packed(self) -> bytes:
        body = RECORD.pack(self.path, *self.seen, self.content, self.segment, self.slot, self.crc)
        return body + CHECK.pack(zlib.crc32(body))


def stored_in(folder: Path, tag: bytes = b"") -> Iterator[Stored]:
    """All complete records of all segments with that tag in `folder`, the latest segment last."""
    step = RECORD.size + CHECK.size
    for file in _by_age(folder, tag):
        try:
            data = read_own(file)
        except FileNotFoundError:
            continue  # merged meanwhile
        # an incomplete record at the end was being written when its build was killed
        for start in range(0, len(data) - step + 1, step):
            body = data[start : start + RECORD.size]
            if CHECK.unpack_from(data, start + RECORD.size)[0] != zlib.crc32(body):
                continue
            path, *times, content, segment, slot, crc = RECORD.unpack(body)
            yield Stored(
                path=path,
                seen=(times[0], times[1], times[2]),
                content=content,
                segment=segment,
                slot=slot,
                crc=crc,
            )


def _by_age(folder: Path, tag: bytes = b"") -> list[Path]:
    def age(file: Path) -> int:
        with suppress(FileNotFoundError):
            return file.stat().st_mtime_ns
        return 0

    return sorted(folder.glob(f"{tag.hex()}*.rows"), key=age)


def merge(folder: Path, image_bytes: int) -> None:
    """Merge all segments into one, with each path's latest record and its pixels if undamaged.

    Only one builder may do this. Readers of the old segments have them open. Raises OSError.
    """
    files = _by_age(folder)
    if sum(f.stat().st_size for f in folder.glob("*.pixels")) > shutil.disk_usage(folder).free / 2:
        return
    latest = {stored.path: stored for stored in stored_in(folder)}
    opened: dict[bytes, Pixels] = {}
    image = np.empty(image_bytes, np.uint8)
    with Writer(folder) as writer:
        for stored in latest.values():
            with suppress(FileNotFoundError):
                if stored.segment not in opened:
                    opened[stored.segment] = Pixels(folder, stored.segment, image_bytes)
                whole = opened[stored.segment].read(stored.slot, image)
                if whole and zlib.crc32(image.data) == stored.crc:
                    writer.add(stored, image.data)
    for file in files:
        file.unlink(missing_ok=True)
        file.with_suffix(".pixels").unlink(missing_ok=True)


class Pixels:
    """The pixels of one segment, read by position.

    The file is not mapped into memory: if a mapped file is cut off, the process ends, and pages
    that were read count as its memory. A read costs no more than copying from a map.
    """

    def __init__(self, folder: Path, segment: bytes, image_bytes: int) -> None:
        """Raises OSError."""
        self.path = folder / f"{segment.hex()}.pixels"
        self.image_bytes = image_bytes
        self._file = open_own(self.path)

    def slots(self) -> int:
        """How many images the file can hold; it grows while a build goes on."""
        return os.fstat(self._file).st_size // self.image_bytes

    def read(self, slot: int, into: NDArray[Any]) -> bool:
        """Fill `into`, contiguous; False if the file ends too early or its drive is gone."""
        try:
            return read_at(self._file, into.data, slot * self.image_bytes) == self.image_bytes
        except OSError:
            return False

    def mend(self, slot: int, pixels: bytes) -> None:
        """Restore pixels that have this slot's checksum; raises OSError."""
        with self.path.open("r+b") as file:
            file.seek(slot * self.image_bytes)
            file.write(pixels)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


class Segments(list[Pixels]):
    """The segments of a folder, opened when they are first asked for."""

    def __init__(self, folder: Path, image_bytes: int) -> None:
        super().__init__()
        self._folder, self._image_bytes = folder, image_bytes
        self._numbers: dict[bytes, int] = {}

    def number(self, stored: Stored) -> int:
        """Number of the segment with these pixels; `NOWHERE` if it is gone or cut off."""
        number = self._numbers.get(stored.segment, NOWHERE)
        if number == NOWHERE:
            try:
                self.append(Pixels(self._folder, stored.segment, self._image_bytes))
            except FileNotFoundError:
                return NOWHERE
            number = self._numbers[stored.segment] = len(self) - 1
        return number if stored.slot < self[number].slots() else NOWHERE


class Memory:
    """The same for pixels in memory."""

    def __init__(self, images: NDArray[Any]) -> None:
        self.images = images

    def read(self, slot: int, into: NDArray[Any]) -> bool:
        into[...] = self.images[slot]
        return True


class Writer:
    """A new segment; its files appear with the first image.

    Args:
        tag: beginning of its name, `TAG_BYTES` long; None for any.
    """

    def __init__(self, folder: Path, tag: bytes | None = None) -> None:
        name = uuid.uuid4().bytes
        self.segment, self.images = (tag or name[:TAG_BYTES]) + name[TAG_BYTES:], 0
        self._folder = folder
        self._pixels = self._rows = NOT_OPEN

    def __enter__(self) -> Self:
        return self

    def add(self, stored: Stored, pixels: bytes | memoryview) -> Stored:
        """Append pixels; returns where they are. Raises OSError, leaving no record."""
        placed = replace(stored, segment=self.segment, slot=self.images)
        self._open()
        _write(self._pixels, pixels)
        _write(self._rows, placed.packed())
        self.images += 1
        return placed

    def confirm(self, stored: Stored) -> None:
        """Record that the file of existing pixels has new times but the same content."""
        self._open()
        _write(self._rows, stored.packed())

    def _open(self) -> None:
        if self._rows == NOT_OPEN:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | OPENED
            name = self.segment.hex()
            self._pixels = os.open(self._folder / f"{name}.pixels", flags, 0o600)
            self._rows = os.open(self._folder / f"{name}.rows", flags, 0o600)

    def __exit__(self, *_: object) -> None:
        for file in (self._pixels, self._rows):
            if file != NOT_OPEN:
                os.fsync(file)
                os.close(file)


def _write(file: int, data: bytes | memoryview) -> None:
    """Write all of it: a signal or a full disk may cut a write short; the next one then raises."""
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(file, left) :]
