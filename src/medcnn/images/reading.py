"""The one door to pixels: what a file is shows in its first bytes, not in its name."""

from __future__ import annotations

import re
import stat
import struct
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.images.limits import MAX_FILE_BYTES
from medcnn.images.npz import read_npz_row
from medcnn.images.raster import read_raster
from medcnn.system.errors import ImageError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class Frames(StrEnum):
    """What becomes of a file with several frames, which one label cannot speak for."""

    ERROR = "error"
    FIRST = "first"
    MIDDLE = "middle"


RASTER = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
}
# Other files that are found under the name of an image, and what to say of them.
STRANGERS = {
    b"version https://git-lfs": "that is a git-lfs pointer and no image; run `git lfs pull`",
    b"PK\3\4": "that is a zip archive; unpack it",
    b"\x1f\x8b": "that is a gzip archive; unpack it (NIfTI volumes are not images)",
    b"%PDF": "that is a PDF document and no image",
    b"GIF8": "that is a GIF, which no medical dataset should hold; save it as PNG",
    b"\0\0\0\x0cjP  ": "that is JPEG 2000 outside DICOM; save it as PNG or TIFF",
    b"\0\0\0\0": "the file begins with zeros, as after a copy that broke off; copy it again",
}


def read_pixels(
    root: Path,
    path: str,
    *,
    window: int = 0,
    frames: Frames = Frames.ERROR,
    at_least_px: int | None = None,
) -> Pixels:
    """The pixels of one image, upright and in the full range of their dtype.

    JPEG, PNG, TIFF and BMP keep grey as grey; palette, CMYK and other colours become RGB; what is
    transparent becomes black. DICOM takes the grayscale pipeline of PS3.4 N.2 and comes out as
    uint16 with air dark, or as RGB. Safe to call from many threads.

    Args:
        root: folder of the dataset.
        path: below `root`, with `/`; a row of an npz is `file.npz#array/row`.
        window: which of several windows or VOI LUTs of a DICOM, counted from 0.
        frames: which frame of a DICOM with several.
        at_least_px: a decoder that can may give the image at a half, a quarter or an eighth of its
            size, with both sides at least this long; None: at full size.

    Returns:
        [H, W, C] with C 1 (grey) or 3 (RGB): uint8 in 0..255 or uint16 in 0..65535.

    Raises:
        ImageError: the image cannot be read as it is; the text is the reason, in one line.
    """
    try:
        name, is_row, place = path.partition(".npz#")
        if is_row:
            return read_npz_row(root / f"{name}.npz", place)
        return _decode(read_file(root / path), window, frames, at_least_px)
    except ImageError as error:
        if str(error).isprintable():
            raise
        # what a damaged header holds may be anything
        raise ImageError(" ".join(re.sub(r"[^ -~]", " ", str(error)).split())) from None
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # Decoders raise SyntaxError, struct.error and, out of Rust, panics that are no Exception.
        raise ImageError(_reason(error)) from error


def file_part(path: str) -> str:
    """The file of a manifest's path: `set.npz` of `set.npz#images/3`, else the path itself."""
    name, is_row, _ = path.partition(".npz#")
    return f"{name}.npz" if is_row else path


def read_file(file: Path) -> bytes:
    """Its bytes; raises ImageError where it is none to read whole."""
    try:
        found = file.stat()
        # A named pipe would block for ever.
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("this is no regular file (a folder, pipe or device)")
        if found.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"the file has {found.st_size >> 20} MiB, more than the {MAX_FILE_BYTES >> 20} MiB "
                "that are read"
            )
        if found.st_size == 0:
            raise ImageError("the file is empty (0 bytes)")
        return file.read_bytes()
    except FileNotFoundError:
        raise ImageError("the file is missing") from None
    except OSError as error:
        raise ImageError(f"the file cannot be opened: {error.strerror or error}") from error


def _decode(data: bytes, window: int, frames: Frames, at_least_px: int | None) -> Pixels:
    # A DICOM may wear the head of a TIFF in its 128 free bytes (PS3.10 7.1), so it is asked first.
    if is_dicom(data):
        # Imported here: a set of photographs does not need pydicom.
        from medcnn.images.dicom import read_dicom

        return read_dicom(data, window=window, frames=frames, at_least_px=at_least_px)
    for signature, kind in RASTER.items():
        if data.startswith(signature):
            return read_raster(data, kind, at_least_px=at_least_px)
    raise ImageError(_stranger(data))


def is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM" or _begins_like_dicom(data)


def _begins_like_dicom(data: bytes) -> bool:
    """True where a data set without the preamble of PS3.10 7.1 may begin: group 0002 or 0008,
    then an explicit VR of two capitals, or the short value of an implicit one (PS3.5 7.1)."""
    if len(data) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", data[:4])
        if group in (0x0002, 0x0008) and element <= 0x0100:
            (length,) = struct.unpack(f"{order}I", data[4:8])
            return re.fullmatch(rb"[A-Z]{2}", data[4:6]) is not None or length <= 256
    return False


def _stranger(data: bytes) -> str:
    for signature, meaning in STRANGERS.items():
        if data.startswith(signature):
            return (
                meaning if signature[0] == 0 else f"the file starts with {signature!r}: {meaning}"
            )
    head = data[:40].lstrip(b"\xef\xbb\xbf \r\n\t")
    if head.startswith(b"<"):
        # up to where the tag ends: what follows may be text about a patient
        tag = re.split(rb"[>\r\n]", head)[0].decode("ascii", "replace")
        return f"the file starts with '{tag}', that is a web page and no image"
    return (
        f"the file starts with the bytes {data[:8].hex(' ')}, which is no JPEG, PNG, TIFF, BMP or "
        "DICOM"
    )


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, EOFError) or re.search("truncat|unexpected end|insufficient", text, re.I):
        return f"truncated: {text}"
    return f"damaged or of an unknown kind: {text}"
