"""The grayscale pipeline of DICOM PS3.4 N.2, one function per step.

    stored values --modality--> measured values --VOI--> 0..1 --polarity--> dark air --> uint16

The last step includes the presentation LUT, if a file has one.

Padding is masked before the modality step, since it is defined in stored values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medcnn.images.luts import descriptor, look_up, modality_luts, presentation_luts, voi_luts
from medcnn.images.said import say_once
from medcnn.system.errors import ImageError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The range shown of an image with over 8 bits and no window: all but one pixel in a thousand at
# either end, so that one hot pixel does not make the rest black.
FALLBACK_PERCENTILES = (0.1, 99.9)
# numpy makes an index 64 bits wide, so rows are looked up in bands.
BAND_PIXELS = 1 << 20
SHOWN = "percentiles {} to {} of its values are shown".format(*FALLBACK_PERCENTILES)


def rendered(dataset: Dataset, cells: NDArray[Any], window: int) -> NDArray[np.uint16]:
    """[H, W, 1] in 0..65535 of cells [H, W]; padding is black.

    Args:
        cells: pixel cells of PS3.5 8.1.1, as unsigned integers.
    """
    index, tables = chain(dataset, cells, window)
    for _, table in tables:
        last = table
    found = np.empty(index.shape, last.dtype)
    for band in _bands(index):
        found[band] = last[index[band]]
    return np.asarray(found)[:, :, None]


def chain(
    dataset: Dataset, cells: NDArray[Any], window: int
) -> tuple[NDArray[Any], Iterator[tuple[str, NDArray[Any]]]]:
    """An index [H, W] and, for each step, its name and the table to look the index up in.

    Every step depends on single pixels only, so it is computed once for each possible value of a
    cell, in floats. The last table is uint16.
    """
    if cells.itemsize <= 2:
        values, index = np.arange(int(cells.max()) + 1, dtype=cells.dtype), cells
    else:
        values, index = np.unique(cells, return_inverse=True)
    stored = stored_values(dataset, values)
    return index, _tables(dataset, stored, lambda: _counts(index, len(values)), window)


def _counts(index: NDArray[Any], length: int) -> NDArray[np.int64]:
    """How often each of 0 to `length` - 1 occurs."""
    counts = np.zeros(length, dtype=np.int64)
    for band in _bands(index):
        counts += np.bincount(index[band].ravel(), minlength=length)
    return counts


def _bands(index: NDArray[Any]) -> Iterator[slice]:
    """The rows of an image [H, W], in bands."""
    rows = max(1, BAND_PIXELS // index.shape[1])
    return (slice(top, top + rows) for top in range(0, len(index), rows))


def stored_values(dataset: Dataset, cells: NDArray[Any]) -> NDArray[Any]:
    """The value of the BitsStored bits up to HighBit, signed or not (PS3.5 8.1.1).

    The other bits are not part of the image: they contain an overlay (retired), or nothing.
    """
    bits, high = int(dataset.BitsStored), int(dataset.HighBit)
    width = 8 * cells.itemsize
    # shift up, so that the sign is the first bit, and down again
    above = max(width - 1 - high, 0)
    lifted = cells << np.array(above, dtype=cells.dtype)
    kind = "i" if dataset.PixelRepresentation == 1 else "u"
    return np.asarray(lifted.view(f"{kind}{cells.itemsize}") >> max(width - bits, 0))


def _tables(
    dataset: Dataset, stored: NDArray[Any], counts: Callable[[], NDArray[np.int64]], window: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The table of each step for the values `stored`, which occur `counts()` times."""
    yield "stored values", stored
    padding = padding_mask(dataset, stored)
    measured, bits = modality(dataset, stored)
    yield "modality", measured

    def spread() -> tuple[float, float]:
        return _spread(measured, np.where(padding, 0, counts()))

    light = voi(dataset, measured, spread, bits, window)
    yield "VOI", light
    light = np.where(padding, 0, presentation(dataset, light))
    yield "polarity", np.rint(light * 65535).astype(np.uint16)


def padding_mask(dataset: Dataset, stored: NDArray[Any]) -> Mask:
    """Pixels with PixelPaddingValue, or in the range up to PixelPaddingRangeLimit: PS3.3
    C.7.5.1.1.2, in stored values and before any other step.

    Raises:
        ImageError: either has several values.
    """
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = dataset.get("PixelPaddingRangeLimit")
    if not all(isinstance(v, int | None) for v in (value, limit)):
        raise ImageError("PixelPaddingValue or PixelPaddingRangeLimit is not one whole number")
    ends = [_as_stored(dataset, v) for v in (value, value if limit is None else limit)]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def modality(dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
    """Measured values and how many bits they have: PS3.3 C.11.1, a LUT or a slope and intercept.

    Bits are None after a rescale, since no attribute gives its range.

    Raises:
        ImageError: the slope is 0, so that all pixels would be equal, or not a number.
    """
    if luts := modality_luts(dataset):
        return look_up(dataset, luts[0], stored)
    slope, intercept = rescale(dataset)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise ImageError(f"RescaleSlope {slope:g}, intercept {intercept:g} cannot give a picture")
    if (slope, intercept) == (1.0, 0.0):
        return stored, int(dataset.BitsStored)
    return stored * slope + intercept, None


def rescale(dataset: Dataset) -> tuple[float, float]:
    """Slope and intercept; 1 and 0 if an element is absent or has no value."""
    slope, intercept = (_numbers(dataset, name) for name in ("RescaleSlope", "RescaleIntercept"))
    return (slope or [1.0])[0], (intercept or [0.0])[0]


def voi(
    dataset: Dataset,
    measured: NDArray[Any],
    spread: Callable[[], tuple[float, float]],
    bits: int | None,
    window: int,
) -> Floats:
    """Values of interest as 0..1 (PS3.3 C.11.2.1): by a LUT, or a window, or else a fallback.

    Raises:
        ImageError: there are windows, but none with the index `window`.
    """
    if luts := voi_luts(dataset):
        _refuse_index(window, len(luts), "VOI LUTs")
        values, depth = look_up(dataset, luts[window], np.rint(measured).astype(np.int64))
        return np.asarray(values / (2**depth - 1))
    centers, widths, function = windows(dataset)
    pairs = list(zip(centers, widths, strict=False))
    if pairs:
        _refuse_index(window, len(pairs), "windows")
        center, width = pairs[window]
        if usable(center, width, function):
            if len(pairs) > 1:
                say_once(logging.INFO, f"a DICOM has several windows; number {window} is shown")
            return windowed(measured, center, width, function)
        say_once(logging.WARNING, f"a window of width {width:g} in a DICOM is not usable; {SHOWN}")
    elif centers or widths:
        say_once(logging.WARNING, f"half a window in a DICOM is not usable; {SHOWN}")
    elif bits is not None and bits <= 8:
        # no VOI module: identity (PS3.3 C.11.2.1), and 8 bits are what a screen shows.
        # The output of a modality LUT is never signed (PS3.3 C.11.1.1).
        signed = dataset.PixelRepresentation == 1 and not modality_luts(dataset)
        low = -(2 ** (bits - 1)) if signed else 0
        return _stretched(measured, low, low + 2**bits - 1)
    return _stretched(measured, *spread())


def windows(dataset: Dataset) -> tuple[list[float], list[float], str]:
    """Centers, widths and the function of all of them."""
    centers, widths = (_numbers(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    return centers, widths, str(dataset.get("VOILUTFunction") or "").strip().upper() or "LINEAR"


def usable(center: float, width: float, function: str) -> bool:
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3: LINEAR needs a width >= 1, the others a width > 0."""
    wide = width >= 1 or (width > 0 and function != "LINEAR")
    return wide and bool(np.isfinite([center, width]).all())


def windowed(values: NDArray[Any], center: float, width: float, function: str) -> Floats:
    """0..1 of `values` in a window.

    Source:
        PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).

    Raises:
        ImageError: another function.
    """
    x = values.astype(np.float64)  # float32 cannot represent all 32-bit values
    if function == "SIGMOID":
        # the same curve as a logistic function, but without overflow
        return np.asarray(0.5 + 0.5 * np.tanh(2 * (x - center) / width))
    if function == "LINEAR_EXACT":
        return np.asarray(np.clip((x - center) / width + 0.5, 0, 1))
    if function != "LINEAR":
        raise ImageError(f"VOILUTFunction '{function}' is not LINEAR, LINEAR_EXACT or SIGMOID")
    if width == 1:
        return (x > center - 0.5).astype(np.float64)
    return np.asarray(np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1))


def presentation(dataset: Dataset, shown: Floats) -> Floats:
    """Apply the presentation LUT (PS3.3 C.11.4, C.11.6), which includes the polarity; without one,
    make low values dark.

    Its entries are for equal steps of the VOI step's output.
    """
    if luts := presentation_luts(dataset):
        count, first, _ = descriptor(luts[0].LUTDescriptor, "a presentation LUT")
        steps = first + np.rint(shown * (count - 1)).astype(np.int64)
        values, bits = look_up(dataset, luts[0], steps)
        return np.asarray(values / (2**bits - 1))
    return 1 - shown if turned(dataset) else shown


def turned(dataset: Dataset) -> bool:
    """Whether low values are white.

    PS3.3 C.7.6.3.1.2: MONOCHROME1 shows them white. PresentationLUTShape (PS3.3 C.11.6.1.2) should
    agree: INVERSE with MONOCHROME1, IDENTITY with MONOCHROME2 (required for radiographs, PS3.3
    C.8.11.3). If the two contradict each other, the shape decides, as in DCMTK and dcm4che.
    """
    if said := contradiction(dataset):
        say_once(logging.WARNING, f"a DICOM has {said}, which contradict each other: {SHAPE_WINS}")
    shape = _shape(dataset)
    return shape == "INVERSE" if shape else dataset.PhotometricInterpretation == "MONOCHROME1"


SHAPE_WINS = "the shape decides whether low values are white"


def contradiction(dataset: Dataset) -> str:
    """The two values of a header that contradict each other about polarity, or ""; a presentation
    LUT settles the matter."""
    if presentation_luts(dataset):
        return ""
    kind, shape = dataset.get("PhotometricInterpretation"), _shape(dataset)
    if (kind, shape) in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        return f"{kind} with PresentationLUTShape {shape}"
    return ""


def _shape(dataset: Dataset) -> str:
    """IDENTITY, INVERSE, or "": LIN OD is for film printers."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return shape if shape in ("IDENTITY", "INVERSE") else ""


def _stretched(values: NDArray[Any], low: float, high: float) -> Floats:
    if high <= low:
        return np.zeros(values.shape)
    return np.asarray(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1))


def _spread(values: NDArray[Any], counts: NDArray[np.int64]) -> tuple[float, float]:
    """The fallback percentiles of an image in which each of `values` occurs `counts` times."""
    order = np.argsort(values, kind="stable")
    values, up_to = values[order], np.cumsum(counts[order])
    if not up_to[-1]:
        raise ImageError("every pixel is padding")
    at = np.array([*FALLBACK_PERCENTILES, 0, 100]) / 100 * (up_to[-1] - 1)
    below, above = (
        values[np.searchsorted(up_to, rank(at), side="right")].astype(np.float64)
        for rank in (np.floor, np.ceil)
    )
    low, high, least, most = (float(v) for v in below + (above - below) * (at % 1))
    # the picture is flat except for a few pixels
    return (low, high) if high > low else (least, most)


def _refuse_index(window: int, count: int, what: str) -> None:
    if window >= count:
        raise ImageError(
            f"there is no window {window}: the file has {count} {what}; set data.window to "
            f"{'0' if count == 1 else f'0 to {count - 1}'}"
        )


def _numbers(dataset: Dataset, name: str) -> list[float]:
    """The values of a DS or IS; nan for one that is empty or not a number."""
    try:
        value = dataset.get(name)
    except (ValueError, TypeError, OverflowError):  # pydicom converts on access
        return [np.nan]
    if value is None or value == "":
        return []
    return [_number(v) for v in ([value] if isinstance(value, str | int | float) else value)]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError):
        return np.nan


def _as_stored(dataset: Dataset, value: int) -> int:
    """US or SS (PS3.5 6.2): a padding value may have been written as signed for unsigned pixels, or
    the other way round."""
    range_of = 2**dataset.BitsAllocated
    value = int(value) % range_of
    signed = dataset.PixelRepresentation == 1 and value >= range_of // 2
    return value - range_of if signed else value
