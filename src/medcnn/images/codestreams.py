"""What the header of a compressed frame says, read before a decoder in C sees the frame.

A frame whose size differs from its DICOM header is damaged, or made to break a decoder: native
decoders allocate memory by what the frame says.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medcnn.system.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

# ITU-T T.81 table B.1 (start of frame, without DHT, JPG and DAC) and T.87 C.1.1 (JPEG-LS)
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
LOSSLESS_OF_JPEG, JPEG_LS = {0xC3, 0xC7, 0xCB, 0xCF}, 0xF7
ALONE = {0x01, *range(0xD0, 0xD9)}
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
J2K_START = b"\xff\x4f\xff\x51"
COD, SOT = 0xFF52, 0xFF90
# A decoder keeps kilobytes for each tile that the header names; radiographs have one or a few.
MAX_TILES = 4096
# Each scan of a progressive JPEG covers the whole image, however few bytes it has. Encoders write
# about ten; libtiff too refuses more than 100 (JPEG_MAX_ALLOWED_SCAN_NUMBER).
MAX_SCANS = 100
# What ends a scan: no stuffed byte, restart or fill byte (T.81 B.1.1.2 and B.1.1.5)
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """What a frame says about itself.

    Attributes:
        kind: JPEG, JPEG-LS or JPEG 2000.
        halvings: how often a JPEG 2000 decoder can halve the image; 0 for other kinds.
        becomes_rgb: a JPEG 2000 decoder undoes the colour transform itself.
        at_origin: a JPEG 2000 begins at the origin of its grid, so that levels halve exactly.
        exact: its samples are those that were encoded, whatever its transfer syntax says; None if
            unknown, since a reversible JPEG 2000 may have been cut off.
    """

    kind: str
    columns: int
    rows: int
    samples: int
    bits: int
    signed: bool = False
    tiles: int = 1
    halvings: int = 0
    becomes_rgb: bool = False
    at_origin: bool = True
    exact: bool | None = None


def codestream_of(frame: bytes) -> Codestream:
    """The header of a frame of JPEG, JPEG-LS, JPEG 2000 or HTJ2K, by its first bytes.

    Raises:
        ImageError: it begins like none of them, or ends within its header.
    """
    try:
        if frame.startswith(b"\xff\xd8"):
            return _jpeg(frame)
        # JPEG 2000 is bare in a DICOM (PS3.5 8.2.4), but some writers leave the JP2 boxes on
        start = frame.find(J2K_START, 0, 4096)
        if start < 0:
            raise ImageError(
                f"the compressed frame starts with {frame[:4].hex(' ')}, so it is not JPEG, "
                "JPEG-LS or JPEG 2000"
            )
        return _jpeg2000(frame, start)
    except (struct.error, IndexError):
        raise ImageError("truncated: the compressed frame ends inside its header") from None


def codestream_for(dataset: Dataset, frame: bytes) -> Codestream:
    """The header of a frame of a DICOM.

    Raises:
        ImageError: the header of the DICOM describes another frame, or a decoder would need
            minutes or gigabytes.
    """
    found = codestream_of(frame)
    _refuse_other_size(found, dataset.Columns, dataset.Rows, dataset.SamplesPerPixel)
    if found.kind != "JPEG 2000":
        refuse_scans(frame)
    if found.samples > 1:
        _refuse_other_colours(
            found, dataset.file_meta.TransferSyntaxUID, dataset.PhotometricInterpretation
        )
    return found


def _refuse_other_size(found: Codestream, columns: int, rows: int, samples: int) -> None:
    if (found.columns, found.rows) != (columns, rows):
        raise ImageError(
            f"the compressed frame has {found.columns} x {found.rows} pixels, but the header says "
            f"{columns} x {rows}"
        )
    if found.samples != samples:
        raise ImageError(
            f"the compressed frame has {found.samples} samples per pixel, but the header says "
            f"{samples}"
        )
    if not 1 <= found.bits <= 16:
        raise ImageError(
            f"the compressed frame has {found.bits} bits per sample; 1 to 16 can be read"
        )
    if found.tiles > MAX_TILES:
        raise ImageError(
            f"the compressed frame has {found.tiles} tiles, more than {MAX_TILES}; it is damaged, "
            "or made to exhaust memory"
        )


def _refuse_other_colours(found: Codestream, syntax: UID, photometric: str) -> None:
    """Raises ImageError if nothing says how to undo the colour transform: a decoder would rely on
    the transfer syntax and turn red into blue."""
    # imported late: a picture outside DICOM does not need pydicom
    from pydicom import uid

    kinds = {"JPEG-LS": uid.JPEGLSTransferSyntaxes, "JPEG 2000": uid.JPEG2000TransferSyntaxes}
    kind = next((k for k, of in kinds.items() if syntax in of), "JPEG")
    if found.kind != kind:
        raise ImageError(
            f"the compressed frame is a colour {found.kind}, but its transfer syntax is "
            f"{syntax.name} ({syntax}), so it is unclear what its colours mean"
        )
    # baseline JPEG says in its own header what its colours are
    own = syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
    if photometric in ("YBR_ICT", "YBR_RCT") and kind != "JPEG 2000" and not own:
        raise ImageError(
            f"the header says that colours are {photometric}, which only JPEG 2000 has (PS3.5 "
            f"8.2.4), but the compressed frame is a {kind}"
        )


def refuse_scans(jpeg: bytes) -> None:
    """Raises ImageError for a JPEG with so many scans that decoding would take minutes."""
    # rarely true; the pair also occurs by chance in what a camera or phone adds
    if jpeg.count(b"\xff\xda") > MAX_SCANS and (scans := _scans(jpeg)) > MAX_SCANS:
        raise ImageError(
            f"a JPEG with {scans} scans, more than {MAX_SCANS}; it is damaged, or made to waste "
            "time"
        )


def _scans(jpeg: bytes) -> int:
    """The number of scans before the end of the image: T.81 B.2."""
    scans, at = 0, 2
    while found := MARKER.search(jpeg, at):
        marker, at = jpeg[found.start() + 1], found.end()
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        if marker not in ALONE and at + 2 <= len(jpeg):
            at += max(2, struct.unpack_from(">H", jpeg, at)[0])
    return scans


def _jpeg(frame: bytes) -> Codestream:
    """ITU-T T.81 B.2.2; a segment begins with its marker and its length."""
    at = 2
    while True:
        if frame[at] != 0xFF:
            raise ImageError("the compressed frame has no marker where a JPEG has one")
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte, T.81 B.1.1.2
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker in (START_OF_SCAN, END_OF_IMAGE):
            raise ImageError("the compressed frame has no JPEG header")
        elif marker in START_OF_FRAME:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            ls = marker == JPEG_LS
            return Codestream(
                kind="JPEG-LS" if ls else "JPEG",
                columns=columns,
                rows=rows,
                samples=samples,
                bits=bits,
                exact=_near(frame, at) == 0 if ls else marker in LOSSLESS_OF_JPEG,
            )
        else:
            at += 2 + max(2, struct.unpack_from(">H", frame, at + 2)[0])


def _near(frame: bytes, at: int) -> int:
    """How far a sample of a JPEG-LS may be from the one that was encoded: T.87 C.2.3.

    Args:
        at: position of its start of frame.
    """
    while frame[at + 1] != START_OF_SCAN:
        at += 2 + max(2, struct.unpack_from(">H", frame, at + 2)[0])
    return frame[at + 5 + 2 * frame[at + 4]]


def _jpeg2000(frame: bytes, start: int) -> Codestream:
    """ITU-T T.800 A.5.1 (SIZ) and A.6.1 (COD)."""
    right, bottom, left, top, tile_w, tile_h, tile_x, tile_y, samples = struct.unpack_from(
        ">8IH", frame, start + 8
    )
    depths = {frame[start + 42 + 3 * i] for i in range(min(samples, 4))}
    if len(depths) != 1 or not tile_w or not tile_h or tile_x > left or tile_y > top:
        raise ImageError("the compressed frame has a header that JPEG 2000 does not allow")
    (depth,) = depths
    tiles = -(-(right - tile_x) // tile_w) * -(-(bottom - tile_y) // tile_h)
    at = start + 4 + struct.unpack_from(">H", frame, start + 4)[0]
    halvings, transform, exact = 0, 0, None
    while (marker := struct.unpack_from(">H", frame, at)[0]) != SOT:
        if marker == COD:
            transform, halvings = frame[at + 8], frame[at + 9]
            exact = None if frame[at + 13] else False  # 1: the 5-3 filter, which is reversible
        at += 2 + max(2, struct.unpack_from(">H", frame, at + 2)[0])
    return Codestream(
        kind="JPEG 2000",
        columns=right - left,
        rows=bottom - top,
        samples=samples,
        bits=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        tiles=tiles,
        halvings=halvings,
        becomes_rgb=transform == 1,
        at_origin=left == top == 0,
        exact=exact,
    )
