"""Reducing images without moving any part of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def divisor(height: int, width: int, at_least_px: int | None, choices: tuple[int, ...]) -> int:
    """The first of `choices` that keeps both sides at least `at_least_px` and moves nothing, or 1.

    Both sides must be multiples of it: otherwise the last column would cover only a fraction of its
    width and shift the others. The difference of the sides must be a multiple of its double:
    otherwise a centred crop would begin between two pixels.
    """
    least = at_least_px or max(height, width)
    for n in choices:
        whole = height % n == width % n == 0 and (height - width) % (2 * n) == 0
        if whole and min(height, width) // n >= least:
            return n
    return 1


def reduced(pixels: NDArray[np.uint16], at_least_px: int | None) -> NDArray[np.uint16]:
    """Means over squares of 2, 4 or 8 pixels of [H, W, 1], as `divisor` allows."""
    height, width = pixels.shape[:2]
    n = divisor(height, width, at_least_px, (8, 4, 2))
    if n == 1:
        return pixels
    plane = pixels[:, :, 0]
    # row by row, and then column by column: many times faster than a sum over two axes
    rows = plane[::n].astype(np.uint32)
    for i in range(1, n):
        rows += plane[i::n]
    total = rows[:, ::n] + n * n // 2
    for i in range(1, n):
        total += rows[:, i::n]
    return (total // (n * n)).astype(np.uint16)[:, :, None]
