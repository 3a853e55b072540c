"""Local contrast, for any kind of image."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from medcnn.images.reading import Pixels
from medcnn.images.resizing import LUMA

# Number of levels that are distinguished: all for 8 bits, enough for 16.
BINS = {np.dtype(np.uint8): 256, np.dtype(np.uint16): 4096}


def clahe(pixels: Pixels, *, clip_limit: float = 2.0, tiles: int = 8) -> Pixels:
    """Contrast-limited adaptive histogram equalisation; black stays black, colours keep their hue.

    Each tile has a map from grey to grey that evens out its histogram. A pixel uses the maps of the
    four tiles around it, weighted by distance. In a colour image, the luma is mapped and all three
    colours change by the same amount.

    Args:
        pixels: [H, W, C].
        clip_limit: largest slope of a map, relative to the identity: 1 changes almost nothing, 40
            is practically no limit.
        tiles: number along each side.

    Source:
        Zuiderveld 1994, Graphics Gems IV, 474-485. The lowest grey is mapped to itself, so that
        the background around a disc stays dark.
    """
    most = np.iinfo(pixels.dtype).max
    bins = BINS[pixels.dtype]
    luma = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels.astype(np.float32) @ LUMA
    levels = (luma.astype(np.float32) * ((bins - 1) / most) + np.float32(0.5)).astype(np.int32)
    maps = tile_maps(levels, bins=bins, clip_limit=clip_limit, tiles=tiles)
    row_low, row_high, down = _between(levels.shape[0], tiles)
    column_low, column_high, right = _between(levels.shape[1], tiles)
    down, right = down[:, None], right[None, :]

    def mapped(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(maps[rows[:, None], columns[None, :], levels])

    upper = mapped(row_low, column_low) * (1 - right) + mapped(row_low, column_high) * right
    lower = mapped(row_high, column_low) * (1 - right) + mapped(row_high, column_high) * right
    evened = (upper * (1 - down) + lower * down) * most
    # levels are coarser than values; the remainder stays in the image
    change = (evened - levels * np.float32(most / (bins - 1)))[:, :, None]
    return cast(Pixels, np.clip(np.rint(pixels + change), 0, most).astype(pixels.dtype))


def tile_maps(
    levels: NDArray[np.int32], *, bins: int, clip_limit: float, tiles: int
) -> NDArray[np.float32]:
    """[tiles, tiles, bins] in 0..1: increasing, with steps of at most `clip_limit` / `bins` plus an
    equal share of what was clipped.

    Args:
        levels: [H, W] in 0..bins-1.
    """
    height, width = levels.shape
    tile_of = (np.arange(height) * tiles // height)[:, None] * tiles
    tile_of = tile_of + (np.arange(width) * tiles // width)[None, :]
    flat = (tile_of * bins + levels).ravel()
    counts = np.bincount(flat, minlength=tiles * tiles * bins).reshape(-1, bins).astype(np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    limit = max(clip_limit, 1.0) / bins
    clipped = np.minimum(shares, limit)
    clipped += (1 - clipped.sum(axis=1, keepdims=True)) / bins
    rising = clipped.cumsum(axis=1)
    lowest = rising[:, :1]
    maps = (rising - lowest) / (rising[:, -1:] - lowest)
    return np.asarray(maps.reshape(tiles, tiles, bins), dtype=np.float32)


def _between(
    length: int, tiles: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The tiles whose centres are before and after each pixel, and the weight of the latter."""
    place = (np.arange(length) + 0.5) * tiles / length - 0.5
    low = np.clip(np.floor(place), 0, tiles - 1).astype(np.int64)
    high = np.minimum(low + 1, tiles - 1)
    return low, high, np.clip(place - low, 0, 1).astype(np.float32)
