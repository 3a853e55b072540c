"""Rows of an array in an npz: `retinamnist.npz#train_images/17`.

An array may be larger than memory (PathMNIST at 224 pixels has 13.5 GB), so its header is checked
and its rows are read one by one from the zip. Reading rows in increasing order takes one
decompression; going back takes another, unless the array is stored uncompressed.
"""

from __future__ import annotations

import io
import math
import struct
import threading
import weakref
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.images.limits import refuse_bomb, refuse_oversize
from medcnn.images.samples import Deep, Pixels
from medcnn.system.errors import ImageError

BUFFER_BYTES = 1 << 20
# Only one thread may read: a stream has one position.
_reading = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayHeader:
    """What an npz says about an array, without unpacking it.

    Attributes:
        start: number of bytes before the values.
        by_rows: False in Fortran order, where a row is scattered over the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    by_rows: bool


def images_header(archive: zipfile.ZipFile, name: str) -> ArrayHeader:
    """The header of an array that exists and contains as many images as it says.

    Raises:
        ImageError: it does not; ValueError: its header is damaged.
    """
    header = array_header(archive, name)
    _refuse(name, header, archive.getinfo(f"{name}.npy"))
    return header


def array_header(archive: zipfile.ZipFile, name: str) -> ArrayHeader:
    """Raises KeyError if there is no array `name`, ValueError if its header is damaged."""
    with archive.open(f"{name}.npy") as array:
        major, _ = np.lib.format.read_magic(array)
        read = np.lib.format.read_array_header_1_0
        read = read if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(array)
        return ArrayHeader(
            shape=shape, dtype=dtype, start=array.tell(), by_rows=not fortran or len(shape) < 2
        )


def read_npz_row(file: Path, place: str, spread: Deep) -> Pixels:
    """Row `array/row` of an npz as [H, W, C], 16 bits by `spread`.

    Raises:
        ImageError: no such file, array or row, or an array that does not contain images; and
            whatever else zipfile and numpy raise for damaged files.
    """
    name, _, row = place.rpartition("/")
    try:
        found = file.stat()
    except FileNotFoundError:
        raise ImageError(f"the file {file.name} is missing") from None
    with _reading:
        rows = _rows(file, name, found.st_mtime_ns, found.st_size)
        count = rows.header.shape[0]
        if not row.isascii() or not row.isdigit() or int(row) >= count:
            raise ImageError(f"{file.name} has no row '{row}' in '{name}' ({count} rows)")
        image = rows.read(int(row))
    image = image[:, :, None] if image.ndim == 2 else image
    return spread(image) if image.dtype == np.uint16 else image


def is_deep(file: Path, name: str) -> bool:
    """Whether an array has 16 bits; damage is reported when it is read."""
    try:
        found = file.stat()
        return _is_deep(file, name, found.st_mtime_ns, found.st_size)
    except OSError:
        return False


@lru_cache(maxsize=64)
def _is_deep(file: Path, name: str, modified_ns: int, size_bytes: int) -> bool:
    """Time and size are part of the key, so a changed file is opened again."""
    try:
        with zipfile.ZipFile(file) as archive:
            return array_header(archive, name).dtype == np.uint16
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class _Rows:
    """An open array, whose values begin at `start` in `stream`; closes the stream."""

    stream: BinaryIO
    start: int
    header: ArrayHeader

    def __post_init__(self) -> None:
        weakref.finalize(self, self.stream.close)

    def read(self, row: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        shape, dtype = self.header.shape[1:], self.header.dtype
        size = math.prod(shape) * dtype.itemsize
        self.stream.seek(self.start + row * size)
        return np.array(np.frombuffer(self.stream.read(size), dtype).reshape(shape))


@lru_cache(maxsize=6)
def _rows(file: Path, name: str, modified_ns: int, size_bytes: int) -> _Rows:
    """The array `name`; time and size are part of the key, so a changed file is opened again."""
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        raise ImageError(f"{file.name} is not an npz, or is truncated") from None
    with archive:
        names = sorted(n.removesuffix(".npy") for n in archive.namelist())
        if name not in names:
            raise ImageError(f"{file.name} has no array '{name}'; found {', '.join(names)}")
        header, member = images_header(archive, name), archive.getinfo(f"{name}.npy")
        # a zip has one checksum for the whole array, so damage shows only at its end
        with archive.open(member) as whole:
            while whole.read(BUFFER_BYTES):
                pass
        if member.compress_type == zipfile.ZIP_STORED:
            stream = file.open("rb", buffering=BUFFER_BYTES)
            return _Rows(stream=stream, start=_place(stream, member) + header.start, header=header)
        packed = cast(Any, archive.open(member))
        packed.MAX_SEEK_READ = BUFFER_BYTES  # or rows are skipped in pieces of 16 MB
        unpacking = io.BufferedReader(packed, BUFFER_BYTES)
    return _Rows(stream=unpacking, start=header.start, header=header)


def _refuse(name: str, header: ArrayHeader, member: zipfile.ZipInfo) -> None:
    shape, dtype = header.shape, header.dtype
    if dtype not in (np.uint8, np.uint16):
        raise ImageError(f"'{name}' contains {dtype}; images are uint8 or uint16")
    if not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        raise ImageError(
            f"'{name}' has the shape {list(shape)}; images are [N, H, W] or [N, H, W, 1 or 3]"
        )
    if not header.by_rows:
        raise ImageError(
            f"'{name}' is stored in Fortran order, so single images cannot be read; save "
            "np.ascontiguousarray of it"
        )
    refuse_oversize(shape[2], shape[1])
    size = math.prod(shape) * dtype.itemsize
    if header.start + size != member.file_size:
        raise ImageError(
            f"damaged: '{name}' of shape {list(shape)} needs {size} bytes, but the file has "
            f"{member.file_size - header.start}"
        )
    refuse_bomb(size, member.compress_size)


def _place(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where the content of a member begins: after its local header (APPNOTE.TXT 4.3.7)."""
    file.seek(member.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return int(member.header_offset + 30 + name + extra)
