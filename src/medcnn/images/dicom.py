"""One DICOM file -> pixels as a reader would see them.

open       PS3.10 7.1     with or without preamble, all uncompressed syntaxes and RLE
refuse                    what is no single image, or what its header cannot mean
decode     PS3.5 8, A.4   stored values, through pydicom
grey       PS3.4 N.2      `grayscale.py`: modality, padding, VOI, polarity -> uint16
colour     PS3.3 C.7.6.3  RGB, YBR and palettes -> uint8
"""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import Decoder
from pydicom.pixels.decoders.base import get_decoder as decoder_of
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)

from medcnn.errors import ImageError
from medcnn.images import grayscale
from medcnn.images.limits import refuse_oversize
from medcnn.images.reading import Frames

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
# Objects with pixel data that are no picture of a patient (PS3.4 B.5).
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
NO_PICTURES = (SegmentationStorage, RT_DOSE)

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
    data: bytes,
    *,
    window: int = 0,
    frames: Frames = Frames.ERROR,
    at_least_px: int | None = None,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """[H, W, 1] uint16 in 0..65535 with air dark, or [H, W, 3] uint8 RGB.

    Args:
        data: the file.
        window: which of several windows or VOI LUTs, counted from 0.
        frames: which of several frames.
        at_least_px: a decoder that can may give less than full size, both sides at least this.

    Raises:
        ImageError, and whatever else pydicom raises on damage.
    """
    dataset = open_dataset(data)
    refuse_what_is_no_image(dataset)
    refuse_header(dataset)
    stored = decode(dataset)
    if dataset.PhotometricInterpretation in MONOCHROME:
        return grayscale.rendered(dataset, stored, window)
    return colour(dataset, stored)


def open_dataset(data: bytes) -> pydicom.Dataset:
    """The data set, also without the preamble and the file meta information of PS3.10 7.1.

    Where the meta information is missing, the encoding is the one that the first element shows.
    """
    # force: the caller has seen that the bytes begin like a data set
    dataset = pydicom.dcmread(BytesIO(data), force=True)
    if not dataset:
        raise ImageError("it begins like a DICOM but holds no element; the file broke off")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native
        grayscale.say_once(
            logging.WARNING,
            "a DICOM without file meta information (PS3.10 7.1) is read by the encoding that its "
            "first element shows",
        )
    return dataset


def refuse_what_is_no_image(dataset: pydicom.Dataset) -> None:
    """Raises ImageError for plans, reports, waveforms, directories, masks and doses."""
    sop_class = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    kind = getattr(sop_class, "name", None) or "an object of no class"
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError(f"not a classifiable image: {kind} holds measured floats, no grey levels")
    if "PixelData" not in dataset:
        raise ImageError(f"not a classifiable image: {kind} holds no pixel data")
    if sop_class in NO_PICTURES:
        raise ImageError(f"not a classifiable image: {kind}")


def refuse_header(dataset: pydicom.Dataset) -> None:
    """Raises ImageError where the Image Pixel module (PS3.3 C.7.6.3) is incomplete, cannot be
    true, or describes what is not read: checked before any memory is taken for the pixels."""
    if missing := [name for name in NEEDED if dataset.get(name) in (None, "")]:
        raise ImageError(f"the header lacks {', '.join(missing)}")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
        raise ImageError(
            f"{frames} frames in one file; a label for one image needs one frame, save it by itself"
        )
    refuse_oversize(dataset.Columns, dataset.Rows)
    kind, samples = dataset.PhotometricInterpretation, dataset.SamplesPerPixel
    if kind not in MONOCHROME + COLOUR:
        raise ImageError(f"PhotometricInterpretation '{kind}' is not read")
    if samples != (1 if kind in MONOCHROME or kind == "PALETTE COLOR" else 3):
        raise ImageError(f"{kind} with {samples} samples a pixel contradicts itself")
    allocated, stored = dataset.BitsAllocated, dataset.BitsStored
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        raise ImageError(f"{stored} bits stored in {allocated} are not read")
    # PS3.5 8.1.1; older files may keep overlays below the pixel
    if dataset.HighBit != stored - 1:
        raise ImageError(f"HighBit {dataset.HighBit} with {stored} bits stored is not read")
    if dataset.file_meta.TransferSyntaxUID in NATIVE:
        _refuse_wrong_length(dataset)


def _refuse_wrong_length(dataset: pydicom.Dataset) -> None:
    """Uncompressed pixel data have exactly one length (PS3.5 8.1.1, and 8.2 for YBR_FULL_422)."""
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else dataset.SamplesPerPixel
    needed = dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
    found = len(dataset.PixelData or b"")
    if found < needed:
        raise ImageError(f"truncated: {found} bytes of pixel data, the header says {needed}")
    if found > needed + needed % 2:
        raise ImageError(
            f"{found} bytes of pixel data where the header says {needed}: more frames than it "
            "names, or a wrong header"
        )


def decode(dataset: pydicom.Dataset) -> NDArray[Any]:
    """Stored values [H, W] or [H, W, 3] in native order; unused high bits cleared or sign-filled
    (PS3.5 8.1.1), planes interleaved, YBR turned to RGB (PS3.3 C.7.6.3.1.2).

    Raises:
        ImageError: no decoder for the transfer syntax (PS3.5 annex A) is installed.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder: Decoder = decoder_of(syntax)
    except NotImplementedError:
        raise ImageError(f"the transfer syntax {syntax.name} ({syntax}) is not read") from None
    others = f"pydicom can use any of: {'; '.join(decoder.missing_dependencies)}"
    if not decoder.is_available:
        raise ImageError(
            f"compressed as {syntax.name} ({syntax}), for which no decoder is installed; {others}"
        )
    # pydicom types its options as one object, and takes them as keywords
    options: Any = {"correct_unused_bits": True}
    try:
        values, _ = decoder.as_array(dataset, index=0, **options)
    except RuntimeError as error:
        if not decoder.missing_dependencies:
            raise
        # pillow is always there and reads only some of what JPEG allows
        why = str(error).strip().splitlines()[-1].strip()
        raise ImageError(
            f"compressed as {syntax.name} ({syntax}), which the decoder at hand cannot read: "
            f"{why}. Where the file is sound, {others}"
        ) from error
    return values


def colour(dataset: pydicom.Dataset, values: NDArray[Any]) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of decoded colour; a palette (PS3.3 C.7.6.3.1.5) is looked up."""
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        bits = 8 * values.dtype.itemsize
    most = 2**bits - 1
    return np.asarray(np.rint(values.astype(np.float32) * (255 / most)), dtype=np.uint8)
