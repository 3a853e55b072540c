"""Steps for radiographs of the chest."""

from __future__ import annotations

import numpy as np

from medcnn.images.reading import Pixels

# Border is looked for up to this share of each side, so that no lung can be lost.
AT_MOST = 0.25


def border_crop(pixels: Pixels, *, tolerance: float = 0.03, letters: float = 0.1) -> Pixels:
    """Without the even border that shutters, film scanners and viewers leave, and the letters that
    stand within it.

    From each side inwards, a line belongs to the border while it looks like the outermost one: a
    network could otherwise tell a hospital by its frame.

    Args:
        pixels: [H, W, C].
        tolerance: how far a pixel may lie from the border's value, as a share of full scale.
        letters: share of a line that may differ, as where a marker stands in the border.
    """
    allowed = tolerance * np.iinfo(pixels.dtype).max
    height, width = pixels.shape[:2]
    top = _border(pixels[: int(height * AT_MOST)], allowed, letters)
    bottom = _border(pixels[::-1][: int(height * AT_MOST)], allowed, letters)
    # what was cut above and below must not speak for the columns
    columns = pixels[top : height - bottom].transpose(1, 0, 2)
    left = _border(columns[: int(width * AT_MOST)], allowed, letters)
    right = _border(columns[::-1][: int(width * AT_MOST)], allowed, letters)
    return pixels[top : height - bottom, left : width - right]


def _border(lines: Pixels, allowed: float, letters: float) -> int:
    """How many lines from the first on are even and alike; most images have none to look at."""
    value = 0.0
    for count, line in enumerate(lines):
        light = line.max(axis=1).astype(np.int32)
        if count == 0:
            value = float(np.median(light))
        if (np.abs(light - value) <= allowed).mean() < 1 - letters:
            return count
    return len(lines)
