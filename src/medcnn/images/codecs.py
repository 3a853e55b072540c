"""Compressed images outside DICOM that pillow reads in part or not at all: 12-bit and lossless
JPEG, JPEG-LS, JPEG 2000 of depths other than 8 bits, and PNG with 16-bit colours. Uses imagecodecs
(BSD), part of the extra `dicom`.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.images.codestreams import (
    ALONE,
    END_OF_IMAGE,
    J2K_START,
    MAX_TILES,
    START_OF_FRAME,
    START_OF_SCAN,
    Codestream,
    codestream_of,
    refuse_scans,
)
from medcnn.images.limits import refuse_bomb, refuse_oversize
from medcnn.images.samples import Deep, Pixels, full_range, grey_or_rgb
from medcnn.system.errors import ImageError, pip_install

# ITU-T T.81 table B.1, and T.87 for the last: the process that a start of frame names
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
PROCESSES = {
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xCB: "lossless, arithmetically coded",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
}


def jpeg_kind(data: bytes) -> tuple[int, int]:
    """The start of frame of a JPEG, and the bits of its samples; (0, 0) if there is none.

    Raises:
        ImageError: a process that none of our decoders reads.
    """
    at, end = 2, len(data) - 9
    while at < end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in START_OF_FRAME:
            if marker in PROCESSES:
                raise ImageError(f"medcnn does not read a {PROCESSES[marker]} JPEG; save it as PNG")
            return marker, data[at + 4]
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            break
        if marker == 0xFF:
            at += 1
        else:
            at += 2 if marker in ALONE else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return 0, 0


def read_deep_jpeg(data: bytes, marker: int, spread: Deep) -> Pixels:
    """[H, W, 1 or 3] of a 12-bit JPEG, a lossless JPEG, or a JPEG-LS.

    Raises:
        ImageError: imagecodecs is not installed, or the image is refused or truncated.
    """
    what = {LOSSLESS: "a lossless JPEG", JPEG_LS: "a JPEG-LS"}.get(marker, "a 12-bit JPEG")
    codecs = _codecs(what)
    found = codestream_of(data)
    _refuse(found, data, what)
    # libjpeg would fill in what is missing
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ImageError("truncated: the JPEG ends within its scan")
    if marker == JPEG_LS:
        values = codecs.jpegls_decode(data)
        if found.samples > 1 and values.shape[0] == found.samples != values.shape[-1]:
            values = values.transpose(1, 2, 0)
    else:
        refuse_scans(data)
        values = codecs.jpeg8_decode(data)
    return _shown(values, found, spread)


def read_jpeg2000(data: bytes, spread: Deep) -> Pixels:
    """[H, W, 1 or 3] of JPEG 2000, bare or in a JP2, of a depth other than 8 bits.

    Raises as `read_deep_jpeg` does.
    """
    found = jpeg2000_of(data)
    codecs = _codecs(f"a JPEG 2000 of {found.bits} bits")
    return _shown(codecs.jpeg2k_decode(data), found, spread)


def jpeg2000_of(data: bytes) -> Codestream:
    """What its header says; raises ImageError if that is too large."""
    # the boxes of a JP2 may hold a colour profile before the codestream
    start = data.find(J2K_START)
    if start < 0:
        raise ImageError("truncated: the JPEG 2000 ends before its codestream")
    found = codestream_of(data[start:])
    _refuse(found, data, "a JPEG 2000")
    return found


def _refuse(found: Codestream, data: bytes, what: str) -> None:
    refuse_oversize(found.columns, found.rows)
    if found.signed:
        raise ImageError(f"{what} of signed numbers, whose zero is unknown; save it as unsigned")
    if not 1 <= found.bits <= 16:
        raise ImageError(f"{what} with {found.bits} bits per sample; 1 to 16 can be read")
    if found.samples > 4:
        raise ImageError(f"{what} with {found.samples} samples per pixel; 1 to 4 can be read")
    if found.tiles > MAX_TILES:
        raise ImageError(
            f"{what} with {found.tiles} tiles, more than {MAX_TILES}; it is damaged, or made to "
            "exhaust memory"
        )
    size = found.columns * found.rows * found.samples * (1 if found.bits <= 8 else 2)
    refuse_bomb(size, len(data))


def _shown(values: Any, found: Codestream, spread: Deep) -> Pixels:
    values = np.asarray(values)
    values = values[:, :, None] if values.ndim == 2 else values
    if values.shape != (found.rows, found.columns, found.samples):
        raise ImageError(
            f"damaged: its header says {found.columns} x {found.rows} pixels of {found.samples} "
            f"samples, but the decoded image has the shape {list(values.shape)}"
        )
    deep = found.bits == 16
    return grey_or_rgb(spread.colours(values) if deep else full_range(values, found.bits))


def read_deep_png(data: bytes) -> NDArray[np.uint16]:
    """[H, W, 3 or 4] of a PNG with 16-bit colours; pillow would drop the lower 8 bits.

    Raises:
        ImageError: imagecodecs is not installed.
    """
    codecs = _codecs("a PNG of 16-bit colours that use fewer bits")
    return np.asarray(codecs.png_decode(data), dtype=np.uint16)


def _codecs(what: str) -> Any:
    try:
        import imagecodecs  # late: it takes half a second
    except ImportError:
        raise ImageError(
            f"no decoder is installed for {what}: install the extra medcnn[dicom]: "
            f"{pip_install('dicom')}"
        ) from None
    return imagecodecs
