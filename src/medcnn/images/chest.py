"""Steps for radiographs of the chest."""

from __future__ import annotations

import numpy as np

from medcnn.images.frame import Box
from medcnn.images.reading import Pixels

# The border may reach this share of each side at most, so that no lung can be lost.
AT_MOST = 0.25


def border_crop(pixels: Pixels, *, tolerance: float = 0.03, letters: float = 0.1) -> Pixels:
    """Remove the even border that shutters, film scanners and viewers leave, and letters in it: a
    network could recognise a hospital by it.

    From each side inwards, a line belongs to the border as long as it looks like the outermost one.

    Args:
        pixels: [H, W, C].
        tolerance: how far a pixel may differ from the border's value, as a share of full scale.
        letters: share of a line that may differ, for markers in the border.
    """
    return border_box(pixels, tolerance=tolerance, letters=letters).of(pixels)


def border_box(pixels: Pixels, *, tolerance: float, letters: float) -> Box:
    """What `border_crop` leaves."""
    allowed = tolerance * np.iinfo(pixels.dtype).max
    height, width = pixels.shape[:2]
    top = _border(pixels[: int(height * AT_MOST)], allowed, letters)
    bottom = _border(pixels[::-1][: int(height * AT_MOST)], allowed, letters)
    # rows that were cut must not influence the columns
    columns = pixels[top : height - bottom].transpose(1, 0, 2)
    left = _border(columns[: int(width * AT_MOST)], allowed, letters)
    right = _border(columns[::-1][: int(width * AT_MOST)], allowed, letters)
    return Box(top=top, left=left, height=height - top - bottom, width=width - left - right)


def _border(lines: Pixels, allowed: float, letters: float) -> int:
    """How many lines, starting with the first, are even and alike."""
    value = 0.0
    for count, line in enumerate(lines):
        light = line.max(axis=1).astype(np.int32)
        if count == 0:
            value = float(np.median(light))
        if (np.abs(light - value) <= allowed).mean() < 1 - letters:
            return count
    return len(lines)
