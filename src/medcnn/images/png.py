"""The chunks of a PNG: those that pillow needs, and what it gets wrong."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medcnn.images.samples import Pixels
from medcnn.system.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6
# Chunks that affect pixels, and the two that may contain the camera's orientation. All others are
# dropped, since they may be valid and large: pillow refuses a colour profile of a megabyte.
KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
ORIENTED = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
TEXT = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Png:
    """A PNG with correct checksums.

    Attributes:
        data: the file without chunks that do not affect pixels. 16-bit grey with alpha becomes
            8-bit RGBA, which has the same bytes: pillow would drop the lower 8 bits.
        clear: the grey level, or the three levels, that are transparent (tRNS).
    """

    data: bytes
    depth: int
    colour: int
    clear: tuple[int, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether pairs of bytes are one sample each: grey and alpha."""
        return self.colour == GREY_ALPHA and self.depth == 16


def checked(data: bytes) -> Png:
    """Raises ImageError if a checksum is wrong (pillow ignores those of the pixels) or the end is
    missing."""
    parts, header, clear = [SIGNATURE], b"", b""
    for kind, body in _chunks(data):
        if kind == b"IHDR":
            if len(body) != 13 or header:
                raise ImageError("damaged: the PNG has no valid header")
            header = body
            if body[8:10] == bytes((16, GREY_ALPHA)):
                body = body[:8] + bytes((8, RGBA)) + body[10:]
        elif not header:
            raise ImageError("damaged: the PNG does not begin with its header")
        elif kind == b"tRNS" and header[9] in (GREY, RGB):
            clear = body
            continue  # compared later, when the depth is known
        if kind in KEPT or (kind in TEXT and body.startswith(ORIENTED)):
            parts.append(_chunk(kind, body))
    depth, colour = header[8], header[9]
    if len(clear) != {GREY: 2, RGB: 6}.get(colour):
        clear = b""  # a damaged one has no effect
    return Png(
        data=b"".join(parts),
        depth=depth,
        colour=colour,
        clear=struct.unpack(f">{len(clear) // 2}H", clear),
    )


def without_pixels(data: bytes) -> bytes:
    """The header and EXIF of a PNG, which may follow its pixels, for readers that would decode
    these to find it. Raises as `checked` does."""
    oriented = [
        _chunk(kind, body)
        for kind, body in _chunks(data)
        if kind in (b"IHDR", b"eXIf") or (kind in TEXT and body.startswith(ORIENTED))
    ]
    return b"".join([SIGNATURE, *oriented, _chunk(b"IDAT", b""), _chunk(b"IEND", b"")])


def cleared(pixels: Pixels, png: Png) -> Pixels:
    """Black where a pixel has the one level or colour that tRNS calls transparent.

    Args:
        pixels: [H, W, 1 or 3], levels of fewer than 8 bits spread over 0..255.

    Raises:
        ImageError: 16-bit RGB, since the lower 8 bits are not available.
    """
    if not png.clear:
        return pixels
    if png.colour == RGB and png.depth == 16:
        raise ImageError(
            "medcnn does not read a PNG with a transparent colour and 16 bits per channel; save it "
            "with an alpha channel, or with 8 bits"
        )
    most = 2**png.depth - 1
    scale = int(np.iinfo(pixels.dtype).max) // most
    # stored in 16 bits, of which only the lowest count: PNG 11.3.1.1
    levels = np.array([(v & most) * scale for v in png.clear], dtype=pixels.dtype)
    pixels[(pixels == levels).all(axis=2)] = 0
    return pixels


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk up to the end of the image: PNG 5.3."""
    at, end = len(SIGNATURE), len(data)
    while at + 12 <= end:
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
        if at > end:
            break
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, at - 4)[0]:
            raise ImageError("damaged: a checksum of the PNG is wrong")
        yield kind, body
        if kind == b"IEND":
            return
    raise ImageError("truncated: the PNG ends before its last chunk")


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)
