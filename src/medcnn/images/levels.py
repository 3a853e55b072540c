"""Whether a lower resolution level of JPEG 2000 looks the same as full decoding.

The values of a level are nearly means; then a curve maps stored values to grey. If the curve is
straight, it does not matter whether the mean is taken before or after. If it bends (a clipping
window, a sigmoid, a LUT), the difference depends on how values spread around their mean, which a
level has lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# In grey levels of 255: allowed deviation of a curve from a line, and allowed estimated mean error.
STRAIGHT, ALLOWED = 0.5, 0.5
# Fewer pixels are decoded in a fraction of a second, so there is no need for an estimate.
FEWEST_PIXELS = 1 << 20
BLOCK = 16


def shows_the_same(level: NDArray[Any], curve: Floats, halvings: int) -> bool:
    """Whether the mean difference from full decoding is below about half a grey level of 255.

    Args:
        level: [H, W] stored values at the lower level.
        curve: the grey, 0 to 255, of each possible stored value.
        halvings: 1, 2 or 3.
    """
    straight = np.linspace(curve[0], curve[-1], len(curve))
    if np.abs(curve - straight).max() <= STRAIGHT:
        return True
    if level.size << 2 * halvings < FEWEST_PIXELS:
        return False
    return estimated_error(level, curve, halvings) <= ALLOWED


def estimated_error(level: NDArray[Any], curve: Floats, halvings: int) -> float:
    """Mean error over the image, in grey levels. It tends to be too high for noise and edges, and
    too low for a regular pattern as fine as a pixel, which no level shows.

    The detail of each block, measured by second differences (zero on a slope), is compared between
    this level and the next lower one, and extrapolated to full size: white noise doubles with every
    level, edges do not. Values are assumed to spread evenly over a width given by that detail.
    """
    height, width = (side // BLOCK * BLOCK for side in level.shape)
    blocks = level[:height, :width].astype(np.float32)
    detail = _means(_detail(blocks), BLOCK)
    lower = _means(_detail(_means(blocks, 2)), BLOCK // 2)
    growth = np.clip(detail / np.maximum(lower, 1e-9), 1, 4)
    spread = np.sqrt(detail * growth**halvings)
    octave = np.ceil(np.log2(np.maximum(spread, 0.5)))
    index = np.minimum(level[:height, :width], len(curve) - 1)
    index = index.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).swapaxes(1, 2)
    total = 0.0
    for power in np.unique(octave):
        # half-width of a uniform distribution with this standard deviation
        reach = int(np.rint(2**power * np.sqrt(3)))
        sums = np.cumsum(np.pad(curve, (reach + 1, reach), mode="edge"))
        mean = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
        total += float(np.take(np.abs(mean - curve), index[octave == power]).sum())
    return total / blocks.size


def _detail(values: Floats) -> Floats:
    """[H, W]: the variance of independent values with these second differences."""
    # written out: `np.diff` copies both of its inputs
    down = values[:-2, 1:-1] - 2 * values[1:-1, 1:-1] + values[2:, 1:-1]
    across = values[1:-1, :-2] - 2 * values[1:-1, 1:-1] + values[1:-1, 2:]
    return np.pad((across**2 + down**2) / 12, 1, mode="edge")


def _means(values: Floats, side: int) -> Floats:
    """Of squares: columns lie side by side in memory, so rows are added first."""
    height, width = values.shape
    rows = values.reshape(height // side, side, width).sum(axis=1)
    return np.asarray(np.add.reduceat(rows, range(0, width, side), axis=1)) / side**2
