"""The size that a WebP, AVIF or HEIC claims. It is read here first, since pillow and libheif
allocate memory as soon as they open the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from medcnn.images.coded_sizes import coded_sizes, refuse_larger
from medcnn.images.limits import refuse_bomb, refuse_oversize
from medcnn.system.errors import ImageError

# ISO/IEC 14496-12 8.11 and 23008-12: boxes that contain boxes, and the number of bytes before these
HOLDERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif")


def kind_of_ftyp(data: bytes) -> str:
    """AVIF, HEIF, or "" for another file of this family, such as a video."""
    if data[4:8] != b"ftyp":
        return ""
    (length,) = struct.unpack_from(">I", data)
    brands = [data[8:12], *(data[i : i + 4] for i in range(16, min(length, 256, len(data)), 4))]
    if any(b in AVIF_BRANDS for b in brands):
        return "AVIF"
    return "HEIF" if any(b in HEIF_BRANDS for b in brands) else ""


def refuse_large_webp(data: bytes) -> None:
    """Raises ImageError if the canvas of a WebP is too large: RFC 9649, 2.5 to 2.7."""
    kind, start = data[12:16], 20
    try:
        if kind == b"VP8X":
            parts = struct.unpack_from("<HBHB", data, start + 4)
            width, height = parts[0] + (parts[1] << 16) + 1, parts[2] + (parts[3] << 16) + 1
        elif kind == b"VP8L":
            (both,) = struct.unpack_from("<I", data, start + 1)
            width, height = (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", data, start + 6))
        else:
            raise ImageError("damaged: the WebP does not begin with a picture")
        (length,) = struct.unpack_from("<I", data, 4)
    except struct.error:
        raise ImageError("truncated: the WebP ends inside its header") from None
    if length + 8 > len(data):
        raise ImageError("truncated: the WebP is shorter than it says")
    refuse_oversize(width, height)
    refuse_bomb(width * height * 4, len(data))


def refuse_large_heif(data: bytes) -> None:
    """Raises ImageError if the largest picture of an AVIF or HEIC (property `ispe`) is too large,
    or a codestream is larger than that."""
    sizes, metas, configs = [], [], []
    try:
        for kind, start, end in _boxes(data, 0, len(data)):
            if kind == b"ispe" and end - start >= 12:
                sizes.append(struct.unpack_from(">II", data, start + 4))
            elif kind == b"moov":  # the properties do not describe its pictures
                raise ImageError("an animation or a burst; save the one picture to use")
            elif kind == b"meta":
                metas.append(data[start + HOLDERS[kind] : end])
            elif kind == b"hvcC":
                configs.append(data[start:end])
        if not sizes:
            raise ImageError("damaged: the file does not give the size of any picture")
        for meta in metas:
            refuse_larger(coded_sizes(data, meta, configs), sizes)
    except (struct.error, IndexError):
        raise ImageError("truncated: the file ends inside its header") from None
    for width, height in sizes:
        refuse_oversize(width, height)
        refuse_bomb(width * height * 3, len(data))


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of every box, nested ones included."""
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = min(end, at + length) if length else end
        if stop < start:
            return
        yield kind, start, stop
        if kind in HOLDERS:
            yield from _boxes(data, start + HOLDERS[kind], stop)
        at = stop
