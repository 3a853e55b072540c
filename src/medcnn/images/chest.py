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
    light = pixels.max(axis=2).astype(np.int32)
    height, width = light.shape
    top = _border(light[: int(height * AT_MOST)], allowed, letters)
    bottom = _border(light[::-1][: int(height * AT_MOST)], allowed, letters)
    # what was cut above and below must not speak for the columns
    light = light[top : height - bottom].T
    left = _border(light[: int(width * AT_MOST)], allowed, letters)
    right = _border(light[::-1][: int(width * AT_MOST)], allowed, letters)
    return pixels[top : height - bottom, left : width - right]


def _border(lines: np.ndarray, allowed: float, letters: float) -> int:
    """How many lines from the first on are even and alike."""
    if not len(lines):
        return 0
    value = np.median(lines[0])
    alike = (np.abs(lines - value) <= allowed).mean(axis=1) >= 1 - letters
    return len(lines) if alike.all() else int(alike.argmin())
