"""Whether a lower resolution level of JPEG 2000 shows the picture that full decoding shows.

A level holds means, nearly; a curve from stored values to grey follows. The mean of a curve is the
curve of the mean where the curve is straight. Where it bends (a window that clips, a sigmoid, a
LUT) the difference depends on how far values spread around their mean, which a level has lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# Grey levels of 255: how far a curve may stray from a line, and the mean error that is estimated.
STRAIGHT, ALLOWED = 0.5, 0.5
# Fewer are decoded in a fraction of a second, so that nothing is estimated.
FEWEST_PIXELS = 1 << 20
BLOCK = 16


def shows_the_same(level: NDArray[Any], curve: Floats, halvings: int) -> bool:
    """Within about half a grey level of 255, in the mean, of what full decoding would give.

    Args:
        level: [H, W] stored values at the lower level.
        curve: the grey, 0 to 255, of each value that can be stored.
        halvings: 1, 2 or 3.
    """
    straight = np.linspace(curve[0], curve[-1], len(curve))
    if np.abs(curve - straight).max() <= STRAIGHT:
        return True
    if level.size << 2 * halvings < FEWEST_PIXELS:
        return False
    return estimated_error(level, curve, halvings) <= ALLOWED


def estimated_error(level: NDArray[Any], curve: Floats, halvings: int) -> float:
    """In the mean over the image, in grey levels; too high rather than too low for noise and
    edges, and too low for a regular pattern of the width of a pixel, which no level shows.

    The detail of each block, by second differences (a slope has none), is followed from this level
    to the next lower one, and so to full size: white noise doubles with every level, edges do not.
    Values are taken to spread evenly, as widely as that detail.
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
        # an even spread of this standard deviation
        reach = int(np.rint(2**power * np.sqrt(3)))
        sums = np.cumsum(np.pad(curve, (reach + 1, reach), mode="edge"))
        mean = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
        total += float(np.take(np.abs(mean - curve), index[octave == power]).sum())
    return total / blocks.size


def _detail(values: Floats) -> Floats:
    """[H, W]: the variance that second differences of independent values would tell of."""
    # once more by hand: `np.diff` copies both of its inputs
    down = values[:-2, 1:-1] - 2 * values[1:-1, 1:-1] + values[2:, 1:-1]
    across = values[1:-1, :-2] - 2 * values[1:-1, 1:-1] + values[1:-1, 2:]
    return np.pad((across**2 + down**2) / 12, 1, mode="edge")


def _means(values: Floats, side: int) -> Floats:
    """Of squares: columns lie side by side in memory, so rows are added first."""
    height, width = values.shape
    rows = values.reshape(height // side, side, width).sum(axis=1)
    return np.asarray(np.add.reduceat(rows, range(0, width, side), axis=1)) / side**2
