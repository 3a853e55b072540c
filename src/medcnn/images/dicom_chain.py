"""One DICOM file step by step, and what in its header decided each step, for people to look at. It
uses the same functions as reading, and no tag that may name someone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medcnn.images import grayscale
from medcnn.images.dicom import MONOCHROME, checked, colour, decode
from medcnn.images.luts import modality_luts, presentation_luts, voi_luts
from medcnn.images.reading import Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An image between two steps.

    Attributes:
        pixels: [H, W, C] uint8; the range of values is stretched to 0..255.
        low, high: that range.
    """

    name: str
    pixels: NDArray[np.uint8]
    low: float
    high: float


def explained(data: bytes, *, window: int, frames: Frames) -> tuple[dict[str, str], list[Stage]]:
    """The deciding facts, and every stage up to what `read_dicom` returns.

    Raises:
        ImageError, and whatever else pydicom raises for damaged files.
    """
    dataset, index = checked(data, frames)
    cells = decode(dataset, index, None, window)
    facts = dict(_facts(dataset, window, index))
    if dataset.PhotometricInterpretation not in MONOCHROME:
        return facts, [Stage(name="RGB", pixels=colour(dataset, cells), low=0, high=255)]
    where, tables = grayscale.chain(dataset, cells, window)
    stages = []
    for name, table in tables:
        values = table[where].astype(np.float32)
        low, high = float(values.min()), float(values.max())
        # the last two have a fixed scale, which must not be stretched
        dark, light = {"VOI": (0.0, 1.0), "polarity": (0.0, 65535.0)}.get(name, (low, high))
        shown = (values - dark) * (255 / (light - dark or 1))
        pixels = np.rint(shown).astype(np.uint8)[:, :, None]
        stages.append(Stage(name=name, pixels=pixels, low=low, high=high))
    padding = grayscale.padding_mask(dataset, grayscale.stored_values(dataset, cells))
    if padding.any():
        facts["padding"] = f"{padding.mean():.1%} of the pixels, black"
    return facts, stages


def _facts(dataset: Dataset, window: int, index: int) -> Iterator[tuple[str, str]]:
    syntax = dataset.file_meta.TransferSyntaxUID
    photometric = str(dataset.PhotometricInterpretation)
    sign = "signed" if dataset.PixelRepresentation == 1 else "unsigned"
    yield "transfer syntax", syntax.name
    yield "stored", f"{dataset.BitsStored} of {dataset.BitsAllocated} bits, {sign}"
    if (count := int(dataset.get("NumberOfFrames") or 1)) > 1:
        yield "frame", f"{index + 1} of {count}"
    yield "photometric", photometric
    if photometric not in MONOCHROME:
        return
    yield "modality", _modality(dataset)
    yield "VOI", _voi(dataset, window)
    yield "polarity", _polarity(dataset, photometric)


def _polarity(dataset: Dataset, photometric: str) -> str:
    if presentation_luts(dataset):
        return "a presentation LUT"
    turned = "turned" if grayscale.turned(dataset) else "kept"
    if said := grayscale.contradiction(dataset):
        return f"{turned} ({said}: {grayscale.SHAPE_WINS})"
    inverse = dataset.get("PresentationLUTShape") == "INVERSE"
    why = photometric + (" and PresentationLUTShape INVERSE" if inverse else "")
    return f"{turned} ({why}{'' if turned == 'turned' else ': low values are dark'})"


def _modality(dataset: Dataset) -> str:
    if modality_luts(dataset):
        return "a modality LUT"
    if all(dataset.get(name) is None for name in ("RescaleSlope", "RescaleIntercept")):
        return "no rescale in the header"
    slope, intercept = grayscale.rescale(dataset)
    return f"rescale: slope {slope:g}, intercept {intercept:g}"


def _voi(dataset: Dataset, window: int) -> str:
    """In the order in which `grayscale.voi` asks."""
    if luts := voi_luts(dataset):
        return f"VOI LUT {window} of {len(luts)}, counted from 0"
    centers, widths, function = grayscale.windows(dataset)
    pairs = list(zip(centers, widths, strict=False))
    if pairs:
        center, width = pairs[window]
        said = f"window {window} of {len(pairs)}" if len(pairs) > 1 else "window"
        said = f"{said}: center {center:g}, width {width:g}, {function}"
        if grayscale.usable(center, width, function):
            return said
        return f"{said} is not usable; {grayscale.SHOWN}"
    if centers or widths:
        return f"half a window is not usable; {grayscale.SHOWN}"
    rescaled = grayscale.modality(dataset, np.zeros(1, dtype=np.int64))[1]
    if rescaled is not None and rescaled <= 8:
        return "no window in the header; 8 bits or fewer are shown in full"
    return f"no window in the header; {grayscale.SHOWN}"
