"""Decode once: the preprocessed pixels of a manifest, in memory or in a cache on disk, as
`opening.open_store` finds them.

The cache has a folder for each pair of root and preprocessing. In it, an image is found by its path
and used as long as size and times of its file are unchanged, or at least the hash of its content.
So a changed file costs decoding one image, and a copied or touched one costs reading it.

Every record of the index is checked when the cache is opened. The pixels of an image are compared
with their checksum when a process first reads them, so that opening a hundred thousand images does
not read them all. Damaged pixels are then decoded again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.pixels.segments import NOWHERE, Memory, Pixels
from medcnn.system.progress import log


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelStore:
    """Preprocessed pixels of a manifest's records, in its order.

    Attributes:
        shape: [C, H, W] of an image, or [F] if these are features (`models.features`).
        dtype: uint8 or uint16, full range; float32 for features.
        segments: what contains the pixels.
        places: [N, 2] segment and slot of each record; -1 if it is unreadable.
        crcs: [N] CRC-32 of the pixels.
        checked: [N] whether they were compared in this process; the only thing here that changes.
        unreadable: row -> why it must not be used; it may have no pixels.
        again: decodes rows again.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    segments: Sequence[Pixels | Memory]
    places: NDArray[np.int64]
    crcs: NDArray[np.uint32]
    checked: NDArray[np.bool_]
    unreadable: dict[int, str]
    again: Callable[[list[int]], dict[int, bytes]]

    def __len__(self) -> int:
        return len(self.places)

    def decoded(self, row: int) -> bool:
        """Whether it has pixels, even if they must not be used."""
        return bool(self.places[row, 0] != NOWHERE)

    def readable(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The `rows` that may be used, in the same order."""
        return np.asarray(rows[~np.isin(rows, list(self.unreadable))], dtype=np.int64)

    def fingerprint(self) -> str:
        """Equal if the same pixels are readable."""
        usable = self.readable(np.arange(len(self)))
        return f"{zlib.crc32(self.crcs[usable].tobytes()):08x}"

    def take(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """[B, C, H, W] or [B, F]: the images of `rows`, each of them readable.

        Args:
            out: array of that shape to fill; None: a new one.

        Raises:
            DataError: pixels in the cache are damaged, and their file has changed or is unreadable.
        """
        images = np.empty((len(rows), *self.shape), self.dtype) if out is None else out
        damaged = []
        places, checked = self.places[rows].tolist(), self.checked[rows].tolist()
        for position, (segment, slot) in enumerate(places):
            assert segment != NOWHERE
            image = images[position]
            whole = self.segments[segment].read(slot, image)
            if not whole or not (
                checked[position] or zlib.crc32(image.data) == self.crcs[rows[position]]
            ):
                damaged.append(position)
        self.checked[rows] = True
        if damaged:
            self._mend(rows[damaged], images, damaged)
        return images

    def _mend(self, rows: NDArray[np.int64], images: NDArray[Any], positions: list[int]) -> None:
        log.warning(f"pixel cache: decoding {len(rows)} damaged images again")
        pixels_of = self.again(sorted(set(rows.tolist())))
        for position, row in zip(positions, rows.tolist(), strict=True):
            pixels = pixels_of[row]
            images[position] = np.frombuffer(pixels, self.dtype).reshape(self.shape)
            segment, slot = self.places[row].tolist()
            holder = self.segments[segment]
            # a cache that cannot be mended is compared again at the next reading
            self.checked[row] = False
            if isinstance(holder, Pixels) and zlib.crc32(pixels) == self.crcs[row]:
                with suppress(OSError):
                    holder.mend(slot, pixels)
