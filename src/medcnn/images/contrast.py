"""Local contrast, for any kind of image."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from medcnn.images.reading import Pixels
from medcnn.images.resizing import LUMA

# Levels that are told apart: all of 8 bits, enough of 16.
BINS = {np.dtype(np.uint8): 256, np.dtype(np.uint16): 4096}


def clahe(pixels: Pixels, *, clip_limit: float = 2.0, tiles: int = 8) -> Pixels:
    """Contrast-limited adaptive histogram equalisation; black stays black, colours keep their hue.

    Each tile has a map from grey to grey that evens out its histogram; a pixel takes the maps of
    the four tiles around it, by distance. Of a colour image the luma is mapped, and the three
    colours move along with it.

    Args:
        pixels: [H, W, C].
        clip_limit: of a map's slope, in units of a map that changes nothing: 1 changes almost
            nothing, 40 is no limit.
        tiles: along each side.

    Source:
        Zuiderveld 1994, Graphics Gems IV, 474-485. The lowest grey is mapped to itself, so that
        the ground around a disc does not brighten.
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
    # what the levels are coarser than the values stays in the image
    change = (evened - levels * np.float32(most / (bins - 1)))[:, :, None]
    return cast(Pixels, np.clip(np.rint(pixels + change), 0, most).astype(pixels.dtype))


def tile_maps(
    levels: NDArray[np.int32], *, bins: int, clip_limit: float, tiles: int
) -> NDArray[np.float32]:
    """[tiles, tiles, bins] in 0..1: rising, with no step above `clip_limit` / `bins` and the share
    of what was clipped.

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
    """The tile before and after each pixel, by their middles, and how near the later one is."""
    place = (np.arange(length) + 0.5) * tiles / length - 0.5
    low = np.clip(np.floor(place), 0, tiles - 1).astype(np.int64)
    high = np.minimum(low + 1, tiles - 1)
    return low, high, np.clip(place - low, 0, 1).astype(np.float32)
