"""Measures the search for copies on the set itself: copies are made in memory and counted.

re-compressed   JPEG of quality 70
cropped         2 % less width and height, equally on all sides
resized         to two thirds
mirrored        left to right
turned          by 90 degrees
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medcnn.audit.duplicates import copies_of
from medcnn.audit.thumbnails import thumbnails
from medcnn.images.resizing import narrowed
from medcnn.system.errors import ImageError

PLANTED = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Attributes:
    planted: kind of copy -> number of copies made.
    found: kind of copy -> number of copies whose original was found.
    false: images of other patients that were found with them.
    """

    planted: dict[str, int]
    found: dict[str, int]
    false: int

    @property
    def recall(self) -> float:
        return sum(self.found.values()) / max(1, sum(self.planted.values()))

    @property
    def precision(self) -> float:
        hits = sum(self.found.values())
        return hits / max(1, hits + self.false)


def recompressed(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return Image.open(buffer)


def cropped(image: Image.Image) -> Image.Image:
    x, y = round(image.width * 0.01), round(image.height * 0.01)
    return image.crop((x, y, image.width - x, image.height - y))


def resized(image: Image.Image) -> Image.Image:
    size = (max(1, image.width * 2 // 3), max(1, image.height * 2 // 3))
    return image.resize(size, Image.Resampling.BICUBIC)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-compressed": recompressed,
    "cropped": cropped,
    "resized": resized,
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}


def recovered(
    greys: NDArray[np.uint8],
    usable: Sequence[int],
    groups: Sequence[str],
    read: Callable[[int], NDArray[Any]],
    count: int = PLANTED,
    seed: int = 0,
) -> Recovered:
    """Make `count` copies of each kind and search the whole set for their originals.

    Args:
        groups: patient of each row; another image of the same patient is not a false alarm.
        read: row -> its pixels [H, W, C].
    """
    drawn = np.random.default_rng(seed).permutation(np.asarray(usable, dtype=np.int64))[:count]
    picked = np.sort(drawn)  # a compressed npz is read forwards
    kinds: list[str] = []
    rows: list[int] = []
    copies: list[NDArray[np.uint8]] = []
    for row in map(int, picked):
        try:
            pixels = narrowed(cast(Any, read(row)))
        except ImageError:
            continue
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        for kind, copy in COPIES.items():
            planted = np.asarray(copy(image))
            copies.append(thumbnails(planted.reshape(*planted.shape[:2], -1))[0])
            kinds.append(kind)
            rows.append(row)
    found, false = dict.fromkeys(COPIES, 0), 0
    if copies:
        hits = copies_of(np.stack(copies), np.asarray(greys), usable)
        # duplicates already in the set are found with a copy, and are not false alarms
        own = copies_of(np.asarray(greys[rows]), np.asarray(greys), usable)
        for kind, row, hit, known in zip(kinds, rows, hits, own, strict=True):
            found[kind] += row in hit
            false += sum(h not in known and groups[h] != groups[row] for h in hit - {row})
    return Recovered(planted={k: kinds.count(k) for k in COPIES}, found=found, false=false)
