"""Palettes with hand-computed colours: PS3.3 C.7.6.3.1.5 and C.7.9."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medcnn.images.palette import COLOURS, through_palette
from medcnn.system.errors import ImageError

STORED = np.array([[0, 9, 10, 11, 12, 13, 200]], dtype=np.uint8)


def palette(count: int, first: int, bits: int, data: bytes, kind: str = "") -> Dataset:
    """The same table for the three colours."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for colour in COLOURS:
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [count, first, bits])
        setattr(dataset, f"{kind}{colour}PaletteColorLookupTableData", data)
    return dataset


def red(dataset: Dataset) -> list[int]:
    return through_palette(dataset, STORED)[0, :, 0].tolist()  # type: ignore[no-any-return]


def words(*values: int) -> bytes:
    return np.array(values, dtype="<u2").tobytes()


@pytest.mark.fault
def test_values_beyond_the_table_take_its_ends() -> None:
    """Row 55."""
    wanted = [10, 10, 10, 20, 30, 40, 40]
    assert red(palette(4, 10, 8, bytes([10, 20, 30, 40]))) == wanted
    assert red(palette(4, 10, 8, words(10, 20, 30, 40))) == wanted
    assert red(palette(4, 10, 16, words(*(257 * v for v in (10, 20, 30, 40))))) == wanted


@pytest.mark.fault
def test_a_segmented_table_is_expanded() -> None:
    """Row 55; two entries, a ramp of two, and the first two once more."""
    discrete, ramp, again = (0, 2, 0, 2570), (1, 2, 7710), (2, 1, 0, 0)
    table = palette(6, 9, 16, words(*discrete, *ramp, *again), "Segmented")
    assert red(table) == [0, 0, 10, 20, 30, 0, 10]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (words(0, 2, 1, 2, *(2, 1, 0, 0) * 100), "more than its 6 entries"),
        (words(1, 2, 7), "segment of unknown kind 1"),
        (words(2, 1, 0, 0), "segment of unknown kind 2"),
        (words(0, 2, 1, 2), "the red palette has 2 entries, its descriptor says 6"),
    ],
)
def test_a_segmented_table_that_cannot_be_is_refused(data: bytes, said: str) -> None:
    """Rows 55 and 64; a few bytes may ask for billions of entries."""
    with pytest.raises(ImageError, match=said):
        red(palette(6, 9, 16, data, "Segmented"))


@pytest.mark.parametrize("tags", [{"RedPaletteColorLookupTableDescriptor": None}, {}])
def test_a_missing_table_is_named(tags: dict[str, Any]) -> None:
    dataset = palette(4, 0, 8, b"")
    for name, value in tags.items():
        setattr(dataset, name, value)
    with pytest.raises(ImageError, match="PALETTE COLOR without a"):
        red(dataset)
