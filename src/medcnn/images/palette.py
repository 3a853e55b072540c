"""PALETTE COLOR -> RGB: PS3.3 C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medcnn.images.luts import descriptor, entries, holds, places
from medcnn.system.errors import ImageError

COLOURS = ("Red", "Green", "Blue")


def through_palette(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """[H, W, 3] from stored values [H, W].

    Raises:
        ImageError: a table is missing, or not as long as its descriptor says.
    """
    tables, firsts = zip(*(_table(dataset, colour) for colour in COLOURS), strict=True)
    count = min(len(t) for t in tables)
    place = places(stored, firsts[0], count)
    return np.asarray(np.stack([t[:count] for t in tables], axis=1)[place])


def _table(dataset: Dataset, colour: str) -> tuple[NDArray[np.uint8], int]:
    """The entries as 0..255, and the stored value of the first entry."""
    said = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
    if not holds(said):
        raise ImageError(f"PALETTE COLOR without a descriptor of its {colour.lower()} table")
    count, first, bits = descriptor(said, f"the {colour.lower()} palette")
    plain = dataset.get(f"{colour}PaletteColorLookupTableData")
    data = plain or dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
    if not isinstance(data, bytes) or not data or bits not in (8, 16):
        raise ImageError(f"PALETTE COLOR without a {colour.lower()} table of 8 or 16 bits")
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    words = entries(data, count if plain else len(data), bits, little)
    if not plain:
        words = np.array(_expanded(words.tolist(), count, bits == 16), dtype=np.int64)
    if len(words) < count:
        raise ImageError(
            f"the {colour.lower()} palette has {len(words)} entries, its descriptor says {count}"
        )
    most = 2**bits - 1
    shades = np.rint(np.minimum(words[:count], most) * (255 / most))
    return np.asarray(shades, dtype=np.uint8), first


def _expanded(words: list[int], count: int, wide: bool) -> list[int]:
    """The entries of a segmented table: PS3.3 C.7.9.2.

    Discrete segments (0) list entries, linear ones (1) interpolate from the previous entry to
    another, and indirect ones (2) repeat segments at a byte offset.
    """
    found: list[int] = []

    def segment(at: int, indirect: bool) -> int:
        code, length = words[at], words[at + 1]
        if code == 0:
            found.extend(words[at + 2 : at + 2 + length])
            at += 2 + length
        elif code == 1 and found:
            ramp = np.linspace(found[-1], words[at + 2], length + 1)[1:]
            found.extend(int(v) for v in np.rint(ramp))
            at += 3
        elif code == 2 and indirect:
            parts = struct.pack("<2H" if wide else "<4B", *words[at + 2 : at + (4 if wide else 6)])
            (there,) = struct.unpack("<I", parts)
            there //= 2 if wide else 1
            for _ in range(length):
                there = segment(there, indirect=False)
            at += 4 if wide else 6
        else:
            raise ImageError(f"a palette has a segment of unknown kind {code}")
        # a table of a few bytes may refer to itself many times
        if len(found) > count:
            raise ImageError(f"a segmented palette has more than its {count} entries")
        return at

    at = 0
    while at < len(words) - 1:
        at = segment(at, indirect=True)
    return found
