"""Reconciles bits and sign of decoded samples with the header.

PS3.5 8.1.1 allows any content in the unused bits of a native cell, so they are masked. A codestream
has no cells, but samples of its own precision (PS3.5 8.2). If that exceeds BitsStored, lossy coding
may overshoot, and a mask would turn white into black; so samples are clipped.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medcnn.images.codestreams import Codestream
from medcnn.images.said import say_once

BAND_PIXELS = 1 << 20


def as_cells(
    samples: NDArray[Any], found: Codestream, dataset: Dataset, *, lossless: bool
) -> NDArray[Any]:
    """Grey samples [H, W] as the unsigned cells of PS3.5 8.1.1, within BitsStored.

    Args:
        samples: the lowest `found.bits` bits of each are from the codestream, whatever sign the
            decoder gave them.
        lossless: as the codestream says, or else the transfer syntax.
    """
    stored, signed = int(dataset.BitsStored), dataset.PixelRepresentation == 1
    samples = samples.view(f"u{samples.itemsize}")
    if not signed and not found.signed and found.bits <= stored:
        return samples
    mask = np.array(2**found.bits - 1, dtype=samples.dtype)
    seen = np.zeros(2**found.bits, dtype=np.bool_)
    bands = _bands(samples)
    for band in bands:
        seen[samples[band] & mask] = True
    numbers = _numbers(found, dataset, int(np.flatnonzero(seen)[-1]), lossless)
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    if ((numbers < low) | (numbers > high))[seen].any():
        say_once(
            logging.WARNING, "compressed samples of a DICOM exceed its BitsStored; they are clipped"
        )
    size = 1 if stored <= 8 else 2 if stored <= 16 else 4
    table = np.clip(numbers, low, high).astype(f"i{size}" if signed else f"u{size}")
    cells = np.empty(samples.shape, f"u{size}")
    for band in bands:
        cells[band] = table.view(f"u{size}")[samples[band] & mask]
    return cells


def _numbers(found: Codestream, dataset: Dataset, most: int, lossless: bool) -> NDArray[np.int64]:
    """The number that each pattern of `found.bits` bits means; `most` is the highest pattern."""
    bits, stored, signed = found.bits, int(dataset.BitsStored), dataset.PixelRepresentation == 1
    patterns = np.arange(2**bits)
    if bits > stored and _overlaid(dataset):
        patterns, bits = patterns & (2**stored - 1), stored
    if signed:
        # JPEG and JPEG-LS have no sign (PS3.5 8.2.1 and 8.2.3): two's complement in all bits of
        # the codestream, or only in the stored ones, if no value has a higher bit
        narrow = bits > stored and not found.signed and most < 2**stored
        # values slightly above the highest number are noise, those far above are negative
        if narrow and (lossless or most >= 3 << max(stored - 2, 0)):
            bits = stored
        return _signed(patterns, bits)
    # signed samples under an unsigned header: if there are bits to spare, they are the numbers
    return _signed(patterns, bits) if found.signed and bits > stored else patterns


def _signed(patterns: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    sign = 1 << (bits - 1)
    return ((patterns & (2 * sign - 1)) ^ sign) - sign


def _overlaid(dataset: Dataset) -> bool:
    """Whether the header says that unused bits contain overlays (PS3.5 8.1.2, retired)."""
    groups = range(0x6000, 0x6020, 2)
    return any((g, 0x0102) in dataset and (g, 0x3000) not in dataset for g in groups)


def as_colours(values: NDArray[Any], found: Codestream, dataset: Dataset) -> NDArray[Any]:
    """Colours [H, W, 3] of a codestream, scaled to the range of BitsStored."""
    stored = int(dataset.BitsStored)
    if found.bits == stored:
        return values
    if found.bits > stored:
        return np.asarray(np.minimum(values, np.array(2**stored - 1, dtype=values.dtype)))
    wide = values.astype(np.uint32) * (2**stored - 1) // (2**found.bits - 1)
    return np.asarray(wide, dtype=np.uint8 if stored <= 8 else np.uint16)


def _bands(samples: NDArray[Any]) -> list[slice]:
    rows = max(1, BAND_PIXELS // samples.shape[1])
    return [slice(top, top + rows) for top in range(0, len(samples), rows)]
