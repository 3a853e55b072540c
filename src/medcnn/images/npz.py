"""Rows of an array in an npz: `retinamnist.npz#train_images/17`."""

from __future__ import annotations

import threading
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError

# One thread unpacks an array; the others wait for it, and do not unpack it again.
_unpacking = threading.Lock()


def read_npz_row(file: Path, place: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Row `array/row` of an npz as [H, W, C].

    Arrays stay in memory once read, so that thousands of rows cost one decompression.

    Raises:
        ImageError: no such file, array or row, or an array that holds no images; and whatever else
            numpy raises on damage.
    """
    name, _, row = place.rpartition("/")
    try:
        found = file.stat()
    except FileNotFoundError:
        raise ImageError(f"the file {file.name} is missing") from None
    with _unpacking:
        array = _array(file, name, found.st_mtime_ns, found.st_size)
    if not row.isascii() or not row.isdigit() or int(row) >= len(array):
        raise ImageError(f"{file.name} has no row '{row}' in '{name}' ({len(array)} rows)")
    image = array[int(row)]
    return np.array(image[:, :, None] if image.ndim == 2 else image)


@lru_cache(maxsize=6)
def _array(
    file: Path, name: str, modified_ns: int, size_bytes: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The array `name`; time and size are in the key so that a new file is read anew."""
    if not zipfile.is_zipfile(file):
        raise ImageError(f"{file.name} is no npz, or it broke off")
    # allow_pickle stays off: a pickle can run code
    with np.load(file, allow_pickle=False) as arrays:
        if name not in arrays:
            raise ImageError(
                f"{file.name} has no array '{name}', found {', '.join(sorted(arrays))}"
            )
        array: NDArray[np.uint8] | NDArray[np.uint16] = arrays[name]
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"'{name}' holds {array.dtype}; images are uint8 or uint16")
    if not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))):
        raise ImageError(
            f"'{name}' has the shape {list(array.shape)}; images are [N, H, W] or [N, H, W, 1 or 3]"
        )
    return array
