"""How alike two thumbnails are, once one is shifted, stretched or turned onto the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcnn.audit import turns

Floats = NDArray[np.float32]

STEPS = 6
MOST_MOVED = 0.08
MARGIN_PX = 4
WINDOW_PX = 5


def alike(
    left: NDArray[np.uint8],
    first: NDArray[np.int64],
    right: NDArray[np.uint8],
    second: NDArray[np.int64],
) -> Floats:
    """[P] correlation of left[first] with right[second] after alignment."""
    parts = [
        _aligned_correlation(left[first[s : s + 500]], right[second[s : s + 500]])
        for s in range(0, len(first), 500)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def alike_turned(
    left: NDArray[np.uint8],
    first: NDArray[np.int64],
    right: NDArray[np.uint8],
    second: NDArray[np.int64],
    turn: NDArray[np.int64],
) -> Floats:
    """[P] as `alike`, with each left image turned; -1 if it is not to be."""
    found = np.full(len(first), -1, np.float32)
    for number in range(1, len(turns.TURNS)):
        at = np.flatnonzero(turn == number)
        for part in np.array_split(at, -(-len(at) // 500) or 1):
            turned = turns.turned(left[first[part]], number)
            found[part] = alike(turned, np.arange(len(part)), right, second[part])
    return found


def _aligned_correlation(moving: NDArray[np.uint8], fixed: NDArray[np.uint8]) -> Floats:
    """Undo a crop of a few percent, then correlate the local contrast of the centre."""
    a, b = _normal(moving.astype(np.float32)), _normal(fixed.astype(np.float32))
    moved = _moved(a, _found_move(_halved(a), _halved(b)))
    middle = slice(MARGIN_PX, -MARGIN_PX)
    one, other = (_normal(_local_contrast(i)[:, middle, middle]) for i in (moved, b))
    return np.asarray((one * other).mean(axis=(1, 2)), dtype=np.float32)


def _found_move(a: Floats, b: Floats) -> Floats:
    """[P, 4] shift and stretch along x and y, in shares of the side, by Gauss-Newton steps.

    Source: Lucas and Kanade 1981, IJCAI.
    """
    side = a.shape[1]
    centred = _centred(side)
    along_y, along_x = (np.gradient(b, axis=axis) * side for axis in (1, 2))
    slopes = [along_x, along_x * centred, along_y, along_y * centred[:, None]]
    jacobian = np.stack(slopes, axis=1).reshape(len(b), 4, -1).astype(np.float32)
    hessian = jacobian @ jacobian.transpose(0, 2, 1) + np.eye(4, dtype=np.float32)
    by = np.zeros((len(a), 4), dtype=np.float32)
    for _ in range(STEPS):
        residual = (b - _normal(_moved(a, by))).reshape(len(b), -1, 1)
        step = np.linalg.solve(hessian, jacobian @ residual)[:, :, 0]
        by = np.clip(by + step, -MOST_MOVED, MOST_MOVED)
    return by


def _moved(images: Floats, by: Floats) -> Floats:
    side = images.shape[1]
    axis, centred = np.arange(side, dtype=np.float32), _centred(side)
    across = _interpolated(images, axis + side * (by[:, :1] + by[:, 1:2] * centred))
    down = axis + side * (by[:, 2:3] + by[:, 3:4] * centred)
    return _interpolated(across.transpose(0, 2, 1), down).transpose(0, 2, 1)


def _centred(side: int) -> Floats:
    return ((np.arange(side) - (side - 1) / 2) / side).astype(np.float32)


def _halved(images: Floats) -> Floats:
    return np.asarray(
        (images[:, ::2, ::2] + images[:, 1::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, 1::2])
        / 4
    )


def _interpolated(images: Floats, places: Floats) -> Floats:
    """[P, H, W] read along the last axis at `places` [P, W]."""
    places = np.clip(places, 0, images.shape[2] - 1.001)
    left = places.astype(np.int64)
    share = (places - left)[:, None, :]
    low = np.take_along_axis(images, left[:, None, :], 2)
    high = np.take_along_axis(images, left[:, None, :] + 1, 2)
    return np.asarray(low + share * (high - low), dtype=np.float32)


def _normal(images: Floats) -> Floats:
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=(1, 2), keepdims=True), 1e-3))


def _local_contrast(images: Floats) -> Floats:
    """Each pixel relative to its surroundings, in units of their spread: the edge of a disc or dark
    spot, which unrelated images share, gets no more weight than their texture."""
    detail = _normal(images)
    detail = detail - _box_mean(detail, WINDOW_PX - 1)
    spread = np.sqrt(np.maximum(_box_mean(detail * detail, WINDOW_PX), 0))
    return np.asarray(detail / (spread + 0.1), dtype=np.float32)


def _box_mean(images: Floats, radius: int) -> Floats:
    pad = ((0, 0), (radius + 1, radius), (radius + 1, radius))
    total = np.pad(images, pad, mode="edge").cumsum(axis=1).cumsum(axis=2)
    side = 2 * radius + 1
    window = (
        total[:, side:, side:]
        - total[:, :-side, side:]
        - total[:, side:, :-side]
        + total[:, :-side, :-side]
    )
    return np.asarray(window / side**2, dtype=np.float32)
