"""Look-up tables of DICOM: modality, VOI, presentation, and palettes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medcnn.images.said import say_once
from medcnn.system.errors import ImageError

PARTS = ("LUTDescriptor", "LUTData")


def modality_luts(dataset: Dataset) -> list[Dataset]:
    """PS3.3 C.11.1; the first one counts."""
    return _items(dataset, "ModalityLUTSequence", "modality LUT")


def voi_luts(dataset: Dataset) -> list[Dataset]:
    """PS3.3 C.11.2; `data.window` counts those that hold a table."""
    return _items(dataset, "VOILUTSequence", "VOI LUT")


def presentation_luts(dataset: Dataset) -> list[Dataset]:
    """PS3.3 C.11.4 and C.11.6; the first one counts."""
    return _items(dataset, "PresentationLUTSequence", "presentation LUT")


def _items(dataset: Dataset, sequence: str, what: str) -> list[Dataset]:
    """The items that contain a table. Some writers leave an empty item if there is none, although
    PS3.3 requires both parts; it is skipped with a warning."""
    found = dataset.get(sequence)
    every = list(found) if isinstance(found, Iterable) else []
    filled = [
        item
        for item in every
        if isinstance(item, Dataset) and all(holds(item.get(part)) for part in PARTS)
    ]
    if len(filled) < len(every):
        say_once(
            logging.WARNING,
            f"an item of {sequence} in a DICOM is ignored: it has no "
            f"{' or no '.join(PARTS)}, so it is not a {what}",
        )
    return filled


def holds(value: Any) -> bool:
    """Whether an element is present and has a value."""
    return value is not None and np.size(value) > 0 and value not in (b"", "")


def look_up(dataset: Dataset, item: Dataset, values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """`values` through a LUT, and the bits of its entries: PS3.3 C.11.1.1 and C.11.2.1.1.

    Values outside the mapped range get the first or last entry.

    Raises:
        ImageError: the table is not as long as its descriptor says.
    """
    count, first, bits = descriptor(item.LUTDescriptor, "a LUT")
    data = item.LUTData
    if isinstance(data, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    else:  # US, which pydicom has converted to numbers
        data, little = np.asarray(data, dtype="<u2").tobytes(), True
    found = entries(data, count, bits, little)
    if len(found) < count or not 1 <= bits <= 16:
        raise ImageError(
            f"a LUT of {len(found)} entries, but its descriptor says {count} of {bits} bits"
        )
    mapped = found[:count].astype(np.int64)[places(values, first, count)]
    return np.minimum(mapped, 2**bits - 1), bits


def descriptor(value: Any, what: str) -> tuple[int, int, int]:
    """Number of entries, first value mapped and bits of an entry: PS3.3 C.11.1.1.

    Raises:
        ImageError: it is not three numbers.
    """
    numbers = [] if value is None else np.atleast_1d(np.asarray(value, dtype=object)).tolist()
    if len(numbers) != 3 or any(n is None or n == "" for n in numbers):
        raise ImageError(f"the descriptor of {what} is not three numbers")
    count, first, bits = (int(n) for n in numbers)
    return (count & 0xFFFF) or 2**16, first, bits


def entries(data: bytes, count: int, bits: int, little: bool) -> NDArray[Any]:
    """Entries of a LUT or palette; 8-bit entries may take 16 bits each, or be two to a word."""
    if bits <= 8 and len(data) < 2 * count:
        return np.frombuffer(data, "u1")
    return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")


def places(values: NDArray[Any], first: int, count: int) -> NDArray[np.int64]:
    """The index of each value's entry, of `count`; entry 0 is for the value `first`.

    US or SS (PS3.5 6.2): a negative `first` may have been written as unsigned. It would then be
    above every value, and the image would be flat.
    """
    if first >= 2**15 and first > values.max():
        first -= 2**16
    return np.clip(values.astype(np.int64) - first, 0, count - 1)
