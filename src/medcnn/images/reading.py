"""The one entry point for pixels: the first bytes of a file decide what it is, not its name."""

from __future__ import annotations

import re
import stat
import struct
from enum import StrEnum
from pathlib import Path

from medcnn.images import codecs
from medcnn.images.containers import kind_of_ftyp, refuse_large_heif, refuse_large_webp
from medcnn.images.limits import MAX_FILE_BYTES
from medcnn.images.nifti import is_nifti, read_nifti
from medcnn.images.npz import is_deep, read_npz_row
from medcnn.images.raster import read_png, read_raster, read_tiff
from medcnn.images.samples import Deep, Pixels
from medcnn.system.errors import ImageError

__all__ = [
    "Frames",
    "Pixels",
    "file_part",
    "is_dicom",
    "kind_of",
    "may_be_deep",
    "may_be_reduced",
    "read_file",
    "read_pixels",
]


class Frames(StrEnum):
    """What to do with a file that has several frames but only one label."""

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
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
}
# Other files that turn up under the name of an image, and what to say about them.
STRANGERS = {
    b"version https://git-lfs": "that is a git-lfs pointer, not an image; run `git lfs pull`",
    b"PK\3\4": "that is a zip archive; unpack it",
    b"\x1f\x8b": "that is a gzip archive; unpack it",
    b"BZh": "that is a bzip2 archive; unpack it",
    b"\xfd7zXZ": "that is an xz archive; unpack it",
    b"7z\xbc\xaf": "that is a 7z archive; unpack it",
    b"Rar!": "that is a RAR archive; unpack it",
    b"%PDF": "that is a PDF document, not an image",
    b"GIF8": "that is a GIF, which is not supported; save it as PNG",
    b"\xff\x0a": "that is JPEG XL, which is not supported; save it as PNG or JPEG",
    b"\0\0\0\x0cJXL ": "that is JPEG XL, which is not supported; save it as PNG or JPEG",
    b"II\xbc": "that is JPEG XR, which is not supported; save it as PNG or TIFF",
    b"ObjectType": "that is a MetaImage (mha, mhd), which is not supported; save it as PNG or TIFF",
    b"NDims": "that is a MetaImage (mha, mhd), which is not supported; save it as PNG or TIFF",
    b"NRRD": "that is an NRRD volume, which is not supported; save the slice to use as PNG or TIFF",
    b"\x89HDF": "that is an HDF5 file, which is not supported; save its images as PNG or TIFF",
    b"\x93NUMPY": "that is a numpy array; save its images as PNG, or as an npz",
    b"SIMPLE  =": "that is FITS, which is not supported; save it as 16-bit TIFF",
    b"8BPS": "that is a Photoshop file, which is not supported; save it as PNG or TIFF",
    b"ZISRAWFILE": "that is a microscopy file (CZI), which is not supported; save it as TIFF",
    b"\xd0\xcf\x11\xe0": "that is an old Office file or a Windows container, not an image",
    b"\0\0\0\0": "the file begins with zeros, as after an interrupted copy; copy it again",
}
HEAD_BYTES = 1024
# Portable maps of netpbm
NETPBM = re.compile(rb"P[1-7][ \t\r\n#]")


def read_pixels(
    root: Path,
    path: str,
    *,
    window: int = 0,
    frames: Frames = Frames.ERROR,
    at_least_px: int | None = None,
    full_scale: int = 16,
    tops: list[int] | None = None,
    data: bytes | None = None,
) -> Pixels:
    """The pixels of one image, upright and in the full range of their dtype.

    JPEG, PNG, TIFF, BMP, WebP, AVIF, HEIC, JPEG 2000, JPEG-LS and single-slice NIfTI keep grey as
    grey; palette, CMYK and other colours become RGB; transparent areas become black. DICOM goes
    through the grayscale pipeline of PS3.4 N.2 and becomes uint16 with air dark, or RGB. Can be
    called from many threads.

    Args:
        root: folder of the dataset.
        path: below `root`, with `/`; a row of an npz is `file.npz#array/row`.
        window: which window or VOI LUT of a DICOM that has several, counted from 0.
        frames: which frame of a DICOM that has several.
        at_least_px: a decoder may return a half, a quarter or an eighth of full size, with both
            sides at least this; None: full size.
        full_scale: number of bits used in 16-bit samples, if the file does not say.
        tops: receives the highest stored value of such samples.
        data: the bytes of the file, if already read.

    Returns:
        [H, W, C] with C 1 (grey) or 3 (RGB): uint8 in 0..255 or uint16 in 0..65535.

    Raises:
        ImageError: the image cannot be read; the text is the reason, in one line.
    """
    spread = Deep(full_scale or 16, tops)
    try:
        name, is_row, place = path.partition(".npz#")
        if is_row:
            return read_npz_row(root / f"{name}.npz", place, spread)
        data = read_file(root / path) if data is None else data
        return _decode(data, window, frames, at_least_px, spread)
    except ImageError as error:
        if str(error).isprintable():
            raise
        # a damaged header may contain anything
        raise ImageError(" ".join(re.sub(r"[^ -~]", " ", str(error)).split())) from None
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # Decoders raise SyntaxError, struct.error and, from Rust, panics that are not Exceptions.
        raise ImageError(_reason(error)) from error


def file_part(path: str) -> str:
    """The file of a manifest's path: `set.npz` of `set.npz#images/3`, or the path itself."""
    name, is_row, _ = path.partition(".npz#")
    return f"{name}.npz" if is_row else path


# Reasons that are not the file's fault: another time, it may be readable.
NOT_OPENED, NO_MEMORY = "the file cannot be opened", "there is not enough memory to decode it"


def read_file(file: Path) -> bytes:
    """The bytes of a file; raises ImageError if it cannot or must not be read."""
    try:
        found = file.stat()
        # A named pipe would block forever.
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("this is not a regular file (a folder, pipe or device)")
        if found.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"the file has {found.st_size >> 20} MiB, more than the limit of "
                f"{MAX_FILE_BYTES >> 20} MiB"
            )
        if found.st_size == 0:
            raise ImageError("the file is empty (0 bytes)")
        return file.read_bytes()
    except FileNotFoundError:
        raise ImageError("the file is missing") from None
    except OSError as error:
        raise ImageError(f"{NOT_OPENED}: {error.strerror or error}") from error


def _decode(
    data: bytes, window: int, frames: Frames, at_least_px: int | None, spread: Deep
) -> Pixels:
    # A DICOM may have a TIFF header in its 128 free bytes (PS3.10 7.1), so it is checked first.
    if is_dicom(data):
        # Imported here: a set of photographs does not need pydicom.
        from medcnn.images.dicom import read_dicom

        return read_dicom(data, window=window, frames=frames, at_least_px=at_least_px)
    match kind_of(data):
        case "PNG":
            return read_png(data, spread)
        case "TIFF":
            return read_tiff(data, spread)
        case "JPEG":
            marker, bits = codecs.jpeg_kind(data)
            if marker in (codecs.LOSSLESS, codecs.JPEG_LS) or bits > 8:
                return codecs.read_deep_jpeg(data, marker, spread)
            return read_raster(data, "JPEG", spread, at_least_px=at_least_px)
        case "BMP":
            return read_raster(data, "BMP", spread)
        case "JPEG2000":
            if codecs.jpeg2000_of(data).bits != 8:
                return codecs.read_jpeg2000(data, spread)
            return read_raster(data, "JPEG2000", spread)
        case "WebP" | "AVIF" as kind:
            refuse_large(data, kind)
            return read_raster(data, kind.upper(), spread)
        case "HEIC":
            from medcnn.images.heif import read_heif

            return read_heif(data)
        case "NIfTI":
            return read_nifti(data, spread)
    raise ImageError(_stranger(data))


def refuse_large(data: bytes, kind: str) -> None:
    """Raises ImageError if pillow would allocate too much as soon as it opens the file."""
    if kind == "WebP":
        refuse_large_webp(data)
    elif kind == "AVIF":
        refuse_large_heif(data)


def kind_of(data: bytes) -> str:
    """JPEG, PNG, TIFF, BMP, WebP, AVIF, HEIC, JPEG2000 or NIfTI by the first bytes, or ""."""
    for signature, kind in RASTER.items():
        if data.startswith(signature):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if found := kind_of_ftyp(data):
        return "HEIC" if found == "HEIF" else found
    return "NIfTI" if is_nifti(data) else ""


def may_be_deep(root: Path, path: str) -> bool:
    """Whether an image may have 16-bit samples without saying how many bits it uses. Looks only at
    the first bytes, since whole sets are checked; damage is reported when an image is read."""
    try:
        name, is_row, place = path.partition(".npz#")
        if is_row:
            return is_deep(root / f"{name}.npz", place.rpartition("/")[0])
        with (root / path).open("rb") as file:
            head = file.read(HEAD_BYTES)
        kind = "" if is_dicom(head) else kind_of(head)
        if kind == "JPEG":
            return codecs.jpeg_kind(head)[1] == 16
    except (OSError, ValueError):  # an ImageError is one too
        return False
    if kind == "PNG":
        return head[24:25] == b"\x10"
    return kind in ("TIFF", "JPEG2000", "NIfTI")


def may_be_reduced(data: bytes) -> bool:
    """Whether `at_least_px` may change what is read of this file."""
    return is_dicom(data) or kind_of(data) == "JPEG"


def is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM" or _begins_like_dicom(data)


def _begins_like_dicom(data: bytes) -> bool:
    """Whether this may be a data set without the preamble of PS3.10 7.1: group 0002 or 0008, then
    an explicit VR of two capitals, or the short value of an implicit one (PS3.5 7.1)."""
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
        # only the tag: the rest may be text about a patient
        tag = re.split(rb"[>\r\n]", head)[0].decode("ascii", "replace")
        return f"the file starts with '{tag}': that is a web page, not an image"
    if NETPBM.match(data):
        return "a PGM, PPM or PBM, which is not supported; save it as PNG"
    if data[4:8] == b"ftyp":
        return "a video (MP4, MOV) or a related file; save the picture to use"
    return (
        f"the file starts with the bytes {data[:8].hex(' ')}, so it is not JPEG, PNG, TIFF, BMP, "
        "DICOM, or any other format that medcnn reads"
    )


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, EOFError) or re.search("truncat|unexpected end|insufficient", text, re.I):
        return f"truncated: {text}"
    return f"damaged, or of an unknown kind: {text}"
