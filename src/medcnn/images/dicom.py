"""One DICOM file -> pixels as a radiologist would see them.

open       PS3.10 7.1, PS3.5 A     with or without preamble, in any transfer syntax
refuse                             what is not a single image, or has an impossible header
frame      PS3.3 C.7.6.16          one of several frames, with its own steps
decode     PS3.5 8, A.4            stored values, through pydicom and `decoders.py`
grey       PS3.4 N.2               `grayscale.py`: modality, padding, VOI, polarity -> uint16
colour     PS3.3 C.7.6.3           RGB, YBR and palettes (`palette.py`) -> uint8
"""

from __future__ import annotations

import logging
import struct
import zlib
from io import BytesIO
from typing import Any, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_fragmented_frames, get_frame
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from medcnn.images import decoders, grayscale
from medcnn.images.codestreams import Codestream, codestream_for
from medcnn.images.levels import shows_the_same
from medcnn.images.limits import MAX_INFLATED_BYTES, refuse_bomb, refuse_oversize
from medcnn.images.luts import voi_luts
from medcnn.images.palette import through_palette
from medcnn.images.precision import as_cells, as_colours
from medcnn.images.raster import read_colour_jpeg
from medcnn.images.reading import Frames
from medcnn.images.said import say_once
from medcnn.images.shrinking import reduced
from medcnn.system.errors import NO_IMAGE, ImageError

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
JPEG_OF_8_BITS = (JPEGBaseline8Bit, JPEGExtended12Bit)
# Objects with pixel data that are not pictures of a patient (PS3.4 B.5), and what they contain.
STORAGE = "1.2.840.10008.5.1.4.1.1."
NO_PICTURES = {
    STORAGE + "66.4": "a mask",
    STORAGE + "66.7": "a mask",
    STORAGE + "30": "a map of a measured quantity",
    STORAGE + "481.2": "a dose",
    STORAGE + "77.1.6": "a slide in tiles",
}

NEEDED = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def read_dicom(
    data: bytes, *, window: int = 0, frames: Frames = Frames.ERROR, at_least_px: int | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """[H, W, 1] uint16 in 0..65535 with air dark, or [H, W, 3] uint8 RGB.

    Args:
        data: the file.
        window: which of several windows or VOI LUTs, counted from 0.
        frames: which of several frames.
        at_least_px: a decoder may return a smaller image, with both sides at least this.

    Raises:
        ImageError, and whatever else pydicom raises for damaged files.
    """
    dataset, index = checked(data, frames)
    cells = decode(dataset, index, at_least_px, window)
    if dataset.PhotometricInterpretation in MONOCHROME:
        return reduced(grayscale.rendered(dataset, cells, window), at_least_px)
    return colour(dataset, cells)


def checked(data: bytes, frames: Frames) -> tuple[pydicom.Dataset, int]:
    """The data set, checked to be a readable image, and the index of the frame to use."""
    dataset = open_dataset(data)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        decoders.refuse_syntax(syntax)  # if it is unknown, what was parsed may be anything
    refuse_what_is_no_image(dataset)
    decoders.refuse_syntax(syntax)
    index = refuse_header(dataset, frames)
    return of_frame(dataset, index), index


def open_dataset(data: bytes) -> pydicom.Dataset:
    """The data set, even without the preamble and the file meta information of PS3.10 7.1.

    If the meta information is missing, the first element shows the encoding.
    """
    deflated = deflated_at(data)
    # force: the caller has checked that the bytes begin like a data set
    dataset = pydicom.dcmread(BytesIO(inflated(data[deflated:]) if deflated else data), force=True)
    if not dataset:
        raise ImageError("it begins like a DICOM but contains no element; the file is truncated")
    if deflated:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    elif "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native
        say_once(
            logging.WARNING,
            "a DICOM has no file meta information (PS3.10 7.1); its encoding is taken from its "
            "first element",
        )
    return dataset


def deflated_at(data: bytes) -> int:
    """Where the deflated data set begins (PS3.5 A.5); 0 if the file is not deflated."""
    at, syntax = 132 if data[128:132] == b"DICM" else 0, b""
    # group 2 is always explicit little endian (PS3.10 7.1); OB and UN have the long length
    while data[at : at + 2] == b"\2\0" and len(data) >= at + 12:
        long = data[at + 4 : at + 6] in (b"OB", b"UN")
        start = at + (12 if long else 8)
        (length,) = struct.unpack_from("<I" if long else "<H", data, start - (4 if long else 2))
        if data[at + 2 : at + 4] == b"\x10\0":
            syntax = data[start : start + length].rstrip(b"\0 ")
        at = start + length
    return at if syntax == DeflatedExplicitVRLittleEndian.encode() else 0


def inflated(packed: bytes) -> bytes:
    """RFC 1951 with a limit, which pydicom lacks.

    Raises:
        ImageError: the result is larger than any genuine data set, or the stream is truncated.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = stream.decompress(packed, MAX_INFLATED_BYTES)
    if stream.unconsumed_tail:
        raise ImageError(
            f"deflated, and larger than the limit of {MAX_INFLATED_BYTES >> 20} MiB; the file is "
            "damaged, or made to exhaust memory"
        )
    if not stream.eof:
        raise ImageError("truncated: the deflated data set is incomplete")
    refuse_bomb(len(plain), len(packed))
    return plain


def refuse_what_is_no_image(dataset: pydicom.Dataset) -> None:
    """Raises ImageError for plans, reports, waveforms, directories, masks and doses."""
    sop_class = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    kind = getattr(sop_class, "name", None) or "an object without a class"
    if getattr(sop_class, "is_private", False):
        kind = f"an object of the private class {kind}"
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError(f"{NO_IMAGE}: {kind} has measured floats, not grey levels")
    if "PixelData" not in dataset:
        raise ImageError(f"{NO_IMAGE}: {kind} contains no pixel data")
    if what := NO_PICTURES.get(str(sop_class)):
        raise ImageError(f"{NO_IMAGE}: {kind} contains {what}")


def refuse_header(dataset: pydicom.Dataset, frames: Frames) -> int:
    """Which frame is to be read, counted from 0.

    Raises:
        ImageError: the Image Pixel module (PS3.3 C.7.6.3) is incomplete, contradictory or not
            supported. This is checked before memory is allocated for the pixels.
    """
    if missing := [name for name in NEEDED if dataset.get(name) in (None, "")]:
        raise ImageError(f"the header lacks {', '.join(missing)}")
    count = int(dataset.get("NumberOfFrames") or 1)
    if count != 1 and frames is Frames.ERROR:
        raise ImageError(
            f"{count} frames in one file; a label for one image needs one frame: save that frame "
            "as a file, or set data.frames to first or middle"
        )
    if count < 1:
        raise ImageError(f"NumberOfFrames is {count}, so there is no image")
    refuse_oversize(dataset.Columns, dataset.Rows)
    kind, samples = dataset.PhotometricInterpretation, dataset.SamplesPerPixel
    if kind not in MONOCHROME + COLOUR:
        raise ImageError(f"PhotometricInterpretation '{kind}' is not supported")
    if samples != (1 if kind in MONOCHROME or kind == "PALETTE COLOR" else 3):
        raise ImageError(f"{kind} and {samples} samples per pixel contradict each other")
    syntax = dataset.file_meta.TransferSyntaxUID
    compressed = syntax.is_encapsulated
    if samples == 3 and not compressed:
        _refuse_plain_colour(dataset, kind)
    allocated, stored, high = dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        raise ImageError(f"{stored} bits stored in {allocated} are not supported")
    # PS3.5 8.1.1; older files may have an overlay in the bits below the pixel
    lifted = kind in MONOCHROME and (not compressed or syntax == RLELossless)
    if not (stored - 1 <= high < allocated if lifted else high == stored - 1):
        raise ImageError(f"HighBit {high}, {stored} bits stored in {allocated}: not supported")
    if not compressed:
        _refuse_wrong_length(dataset, count, frames)
    elif frames is Frames.ERROR:
        _refuse_more_frames(dataset.PixelData)
    return count // 2 if frames is Frames.MIDDLE else 0


def _refuse_plain_colour(dataset: pydicom.Dataset, kind: str) -> None:
    """Raises ImageError for uncompressed colour that contradicts itself; without a planar
    configuration (PS3.3 C.7.6.3.1.3) it is read by pixel, as nearly all writers intend."""
    if kind in ("YBR_ICT", "YBR_RCT"):
        raise ImageError(f"{kind} occurs only in JPEG 2000 (PS3.3 C.7.6.3.1.2), which this is not")
    if (planar := dataset.get("PlanarConfiguration")) in (None, ""):
        dataset.PlanarConfiguration = 0
        say_once(logging.WARNING, "colour without PlanarConfiguration is read pixel by pixel")
    elif planar not in (0, 1):
        raise ImageError(f"PlanarConfiguration {planar} is not 0 or 1")


def _refuse_wrong_length(dataset: pydicom.Dataset, count: int, frames: Frames) -> None:
    """Uncompressed pixel data have exactly one length (PS3.5 8.1.1, and 8.2 for YBR_FULL_422); any
    excess is cut off if the policy names a frame."""
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else dataset.SamplesPerPixel
    needed = count * dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
    found = len(dataset.PixelData or b"")
    if found < needed:
        raise ImageError(f"truncated: {found} bytes of pixel data, but the header says {needed}")
    if found > needed + needed % 2:
        said = f"{found} bytes of pixel data, but the header says {needed}"
        if frames is Frames.ERROR:
            raise ImageError(
                f"{said}: there are more frames, or the header is wrong; to read what the header "
                "describes, set data.frames to first or middle"
            )
        say_once(
            logging.WARNING,
            "a DICOM has more pixel data than its header says; only what it says is read",
        )
        dataset["PixelData"].value = dataset.PixelData[: needed + needed % 2]


def _refuse_more_frames(encapsulated: bytes) -> None:
    """A frame may be split into fragments (PS3.5 A.4), but not all of them begin like a frame."""
    by_frame = generate_fragmented_frames(encapsulated, number_of_frames=1)
    fragments = [fragment for frame in by_frame for fragment in frame]
    found = sum(fragment.startswith(fragments[0][:4]) for fragment in fragments)
    if found > 1:
        raise ImageError(
            f"{found} compressed frames, but the header says one; to read the first, set "
            "data.frames to first"
        )


def of_frame(dataset: pydicom.Dataset, index: int) -> pydicom.Dataset:
    """The data set with the modality and VOI steps of one frame at its top level.

    Enhanced objects keep them in functional groups, shared or for each frame: PS3.3 C.7.6.16.2.9
    (Pixel Value Transformation) and C.7.6.16.2.10 (Frame VOI LUT).
    """
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*shared[:1], *own[index : index + 1]]:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for element in (group.get(name) or [{}])[0]:
                if not element.is_empty:
                    dataset[element.tag] = element
    return dataset


def decode(
    dataset: pydicom.Dataset, index: int, at_least_px: int | None, window: int
) -> NDArray[Any]:
    """One frame in native byte order: grey as the unsigned cells of PS3.5 8.1.1 [H, W], with their
    unused bits; colour [H, W, 3] with planes interleaved and YBR converted to RGB (PS3.3
    C.7.6.3.1.2). Grey JPEG 2000 may be reduced, with both sides at least `at_least_px`, if that
    looks the same through `window`.

    Raises:
        ImageError: no decoder for the transfer syntax (PS3.5 annex A) is installed, or the frame
            is not what the header says.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder, plugins = decoders.plugins_of(syntax)
    grey = dataset.PhotometricInterpretation in MONOCHROME
    # pydicom types its options as one object, but accepts them as keywords
    options: Any = {"correct_unused_bits": not grey}
    found: Codestream | None = None
    frame = _frame(dataset, index) if plugins else b""
    if plugins:
        cells = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
        refuse_bomb(cells * dataset.BitsAllocated // 8, len(frame))
    if plugins and syntax != RLELossless:
        found = codestream_for(dataset, frame)
        if syntax in JPEGLSTransferSyntaxes:
            decoders.refuse_broken_off(frame)
        if grey and syntax in JPEG2000TransferSyntaxes and _same_when_reduced(dataset, found):
            level = _level(dataset, frame, found, at_least_px, window)
            if level is not None:
                return level
        if syntax in JPEG_OF_8_BITS and (found.samples, found.bits) == (3, 8):
            rgb = dataset.PhotometricInterpretation == "RGB"
            pixels = read_colour_jpeg(frame, rgb=rgb, at_least_px=at_least_px)
            return as_colours(pixels, found, dataset)
        # some writers label as YBR_FULL what they gave to the encoder as RGB
        options = {"correct_unused_bits": False, "as_rgb": not found.becomes_rgb}
    faults = []
    for plugin in plugins or [""]:
        try:
            values, _ = decoder.as_array(dataset, index=index, decoding_plugin=plugin, **options)
        except RuntimeError as error:
            faults.append(str(error).strip().splitlines()[-1].partition(":")[2].strip())
            continue
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if found is None:
            return values.view(f"u{values.itemsize}") if grey else values
        if not grey:
            palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
            return values if palette else as_colours(values, found, dataset)
        if plugin == "pillow" and found.signed and dataset.PixelRepresentation == 0:
            # pillow shifts signed samples above 0; pydicom undoes that only under a signed header
            values ^= np.array(1 << (found.bits - 1), dtype=values.dtype)
        exact = syntax not in LOSSY if found.exact is None else found.exact
        return as_cells(values, found, dataset, lossless=exact)
    why = "; ".join(dict.fromkeys(faults))
    raise ImageError(
        f"damaged: cannot be decoded as {syntax.name} ({syntax}): {why[:200]}"
        f"{decoders.what_to_install()}"
    )


def _same_when_reduced(dataset: pydicom.Dataset, found: Codestream) -> bool:
    """Whether the chain nearly commutes with means. It does not if padding would mix with pixels,
    if there is no usable window (fallback percentiles depend on noise), or if samples may be
    clipped."""
    centers, widths, function = grayscale.windows(dataset)
    pairs = list(zip(centers, widths, strict=False))
    windowed = bool(pairs) and all(grayscale.usable(*pair, function) for pair in pairs)
    shown = windowed or bool(voi_luts(dataset))
    plain = dataset.PixelRepresentation == 0 and found.bits <= dataset.BitsStored
    return shown and plain and "PixelPaddingValue" not in dataset


def _level(
    dataset: pydicom.Dataset, frame: bytes, found: Codestream, at_least_px: int | None, window: int
) -> NDArray[np.uint16] | None:
    """The frame at a lower level; None if full decoding would look different, or if the level
    cannot be decoded (full decoding then finds out whether the file is damaged)."""
    halvings = decoders.halvings_for(found, at_least_px)
    if not halvings:
        return None
    try:
        level = decoders.level_of(frame, found, halvings)
    except Exception:  # pillow may raise anything
        return None
    every = np.arange(2**found.bits, dtype=np.uint16)[None]
    curve = grayscale.rendered(dataset, every, window)[0, :, 0] / 257
    return decoders.centred(level, halvings) if shows_the_same(level, curve, halvings) else None


def _frame(dataset: pydicom.Dataset, index: int) -> bytes:
    """The compressed bytes of one frame: PS3.5 A.4."""
    offsets, lengths = (
        dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    )
    return get_frame(
        dataset.PixelData,
        index,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=(offsets, lengths) if offsets and lengths else None,
    )


def colour(dataset: pydicom.Dataset, values: NDArray[Any]) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of decoded colour, through the palette if there is one (C.7.6.3.1.5)."""
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return through_palette(dataset, values)
    if bits == 8 and values.dtype == np.uint8:
        return cast(NDArray[np.uint8], np.ascontiguousarray(values))
    return np.asarray(np.rint(values.astype(np.float32) * (255 / (2**bits - 1))), dtype=np.uint8)
