"""Decoders that pydicom lacks, as a plugin for it, and which plugin decodes what.

RLE        our own: pydicom's output can grow without limit (PS3.5 annex G)
JPEG       extended and lossless, through imagecodecs (libjpeg-turbo 3; BSD)
the rest   pydicom's plugins: JPEG-LS pyjpegls, (HT)JPEG 2000 pylibjpeg-openjpeg, JPEG 2000 and
           JPEG baseline pillow

imagecodecs also has HTJ2K, through OpenJPH, but returns wrong pixels if that fails.

gdcm is never used, even if installed: it ends the process on bad input.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.decoders.base import Decoder, DecodeRunner
from pydicom.pixels.decoders.base import get_decoder as decoder_of
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from medcnn.images.codestreams import Codestream
from medcnn.images.shrinking import divisor
from medcnn.system.errors import ImageError, pip_install

# Not by name: `medcnn` on the package index is another project.
INSTALL = f"install the extra medcnn[dicom]: {pip_install('dicom')}"
# Packages of the extra -> module.
EXTRA = {
    "imagecodecs": "imagecodecs",
    "pylibjpeg": "pylibjpeg",
    "pylibjpeg-openjpeg": "openjpeg",
    "pyjpegls": "jpeg_ls",
}
JPEG = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
# pydicom's names of the plugins that we allow, in order of preference.
ALLOWED = ("medcnn", "pyjpegls", "pylibjpeg", "pillow")
DECODED = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    *(DeflatedExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit, *JPEG),
    *JPEGLSTransferSyntaxes,
    *(JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
)
# Transfer syntaxes that pydicom cannot name.
NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
    "1.2.840.113619.5.2": "GE's Implicit VR Big Endian",
}
# pydicom looks up this name and the next.
DECODER_DEPENDENCIES: dict[UID, tuple[str, ...]] = {
    RLELossless: (),
    **dict.fromkeys(JPEG, ("imagecodecs>=2025.3.30",)),
}


def is_available(uid: str) -> bool:
    return uid == RLELossless or find_spec("imagecodecs") is not None


def refuse_syntax(syntax: UID) -> None:
    """Raises ImageError for a transfer syntax (PS3.5 annex A) that medcnn does not read."""
    if syntax in DECODED:
        return
    name = NAMES.get(syntax) or (syntax.name if syntax.name != syntax else "")
    kind = "private transfer syntax" if syntax.is_private else "transfer syntax"
    said = f"{name} ({syntax})" if name else str(syntax) or "without a name"
    raise ImageError(
        f"the {kind} {said} is not supported; export the image with another one, such as Explicit "
        "VR Little Endian"
    )


def plugins_of(syntax: UID) -> tuple[Decoder, list[str]]:
    """pydicom's decoder for a transfer syntax (PS3.5 annex A) and the names of usable plugins.

    Raises:
        ImageError: the syntax is not supported, or no decoder for it is installed.
    """
    refuse_syntax(syntax)
    decoder = decoder_of(syntax)
    if not decoder.is_encapsulated:
        return decoder, []
    names = [name for name in ALLOWED if name in decoder.available_plugins]
    if not names:
        raise ImageError(
            f"no decoder is installed for its compression, {syntax.name} ({syntax}): {INSTALL}"
        )
    return decoder, names


def what_to_install() -> str:
    """A hint if the extra is incomplete, otherwise ""."""
    missing = [package for package, module in EXTRA.items() if find_spec(module) is None]
    return f". If other programs can open the file: {INSTALL}" if missing else ""


def decode_frame(frame: bytes, runner: DecodeRunner) -> Any:
    """The bytes of one frame, as pydicom expects them from a plugin; RLE in separate planes."""
    if runner.transfer_syntax == RLELossless:
        planes = unpacked(
            frame,
            runner.rows * runner.columns,
            runner.samples_per_pixel,
            runner.bits_allocated // 8,
        )
        runner.set_option("planar_configuration", 1)
        return planes.data
    import imagecodecs  # late: it takes half a second

    refuse_broken_off(frame)
    # colours as stored, whatever a marker says: pydicom converts what is not RGB
    stored = "rgb" if runner.samples_per_pixel == 3 else None
    values = imagecodecs.jpeg8_decode(frame, colorspace=stored, outcolorspace=stored)
    runner.set_option("bits_allocated", 8 * values.itemsize)
    runner.set_option("planar_configuration", 0)
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def refuse_broken_off(frame: bytes) -> None:
    """Refuse a truncated JPEG, since libjpeg fills in what is missing and imagecodecs drops its
    warning, or JPEG-LS, since its decoder CharLS then runs for 20 s. Neither marker occurs within a
    scan: there, ITU-T T.81 B.1.1.2 puts a 0 byte after 0xFF, and T.87 a 0 bit.

    Raises:
        ImageError: no end of image follows the last scan.
    """
    if frame.rfind(END_OF_IMAGE) < frame.rfind(START_OF_SCAN):
        raise ImageError("truncated: the compressed frame ends within its scan")


def unpacked(frame: bytes, pixels: int, samples: int, size: int) -> NDArray[np.uint8]:
    """[samples, pixels, size] little endian, from a frame of RLE Lossless (PS3.5 G.3 to G.5).

    Args:
        frame: 16 numbers (how many segments, and where they start), then the segments: the bytes
            of each sample, most significant first.
        pixels: per image.
        samples: per pixel.
        size: bytes per sample.

    Raises:
        ImageError: the segments contain too few or too many bytes.
    """
    if len(frame) < 64:
        raise ImageError("truncated: the RLE frame ends inside its header")
    count, *starts = struct.unpack_from("<16I", frame)
    if count != samples * size:
        raise ImageError(f"the RLE frame has {count} segments, but needs {samples * size}")
    ends = [*starts[1:count], len(frame)]
    planes = np.empty((samples, pixels, size), dtype=np.uint8)
    for i, (start, end) in enumerate(zip(starts, ends, strict=False)):
        if not 64 <= start <= end <= len(frame):
            raise ImageError("the RLE frame refers to segments beyond its end")
        segment = _segment(frame[start:end], pixels)
        if len(segment) < pixels:
            raise ImageError(f"truncated: an RLE segment has {len(segment)} of {pixels} bytes")
        planes[i // size, :, size - 1 - i % size] = np.frombuffer(segment, np.uint8, pixels)
    return planes


# Bytes that a writer may have left after the last pixel of a segment.
SLACK = 256


def _segment(packed: bytes, pixels: int) -> bytes | bytearray | memoryview:
    """PackBits, PS3.5 G.3.2, never longer than `pixels` plus some slack."""
    try:
        import imagecodecs

        return imagecodecs.packbits_decode(packed, out=bytearray(pixels + SLACK))
    except (ImportError, RuntimeError):
        # RuntimeError: also for a padding byte, which is allowed (G.3.1) and begins no run
        return _segment_in_python(packed, pixels)


def _segment_in_python(packed: bytes, pixels: int) -> bytearray:
    found, at, end = bytearray(), 0, len(packed)
    while at < end:
        head = packed[at]
        if head < 128:
            found += packed[at + 1 : at + 2 + head]
            at += 2 + head
        else:
            if head > 128:
                found += packed[at + 1 : at + 2] * (257 - head)
            at += 2 if head > 128 else 1
        if len(found) > pixels + SLACK:
            raise ImageError(
                f"an RLE segment has more than the {pixels} bytes of the image; the file is "
                "damaged, or made to exhaust memory"
            )
    return found


def halvings_for(found: Codestream, at_least_px: int | None) -> int:
    """How often an image may be halved, at most to an eighth, without moving any part of it."""
    if found.samples != 1 or found.signed or not found.at_origin:
        return 0
    choices = tuple(1 << n for n in range(min(3, found.halvings), 0, -1))
    return divisor(found.rows, found.columns, at_least_px, choices).bit_length() - 1


def level_of(frame: bytes, found: Codestream, halvings: int) -> NDArray[np.uint32]:
    """[H, W] of JPEG 2000 or HTJ2K, grey and unsigned, at a lower resolution level.

    A level is the low-pass band of the wavelet (ITU-T T.800 F.3): almost the mean over squares.

    Raises:
        ImageError, and whatever pillow raises: it fails on some valid files.
    """
    with Image.open(BytesIO(frame), formats=["JPEG2000"]) as image:
        image.reduce = halvings  # type: ignore[method-assign, assignment]
        image.load()
        values = np.asarray(image)
    if values.shape != (found.rows >> halvings, found.columns >> halvings):
        raise ImageError(f"a lower level has {values.shape[1]} x {values.shape[0]} pixels")
    # pillow scales up to 8 or 16 bits
    return (values >> (8 * values.itemsize - found.bits)).astype(np.uint32)


def centred(values: NDArray[np.uint32], halvings: int) -> NDArray[np.uint16]:
    """Move values of a level, which are those of every 2nd, 4th or 8th pixel, to the centre of the
    squares; otherwise edges would be off by up to 3.5 pixels."""
    # (2^(n-1) - 1/2) / 2^n of a step, in sixteenths
    part = {1: 4, 2: 6, 3: 7}[halvings]
    for axis in (0, 1):
        following = np.take(values, range(1, values.shape[axis] + 1), axis=axis, mode="clip")
        values = np.asarray((values * (16 - part) + following * part + 8) >> 4, dtype=np.uint32)
    return values.astype(np.uint16)


def _register() -> None:
    for uid in DECODER_DEPENDENCIES:
        decoder = decoder_of(uid)
        if "medcnn" not in (*decoder.available_plugins, *decoder.missing_dependencies):
            decoder.add_plugin("medcnn", (__name__, "decode_frame"))


_register()
