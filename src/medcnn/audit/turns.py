"""Mirrored and turned copies: the eight symmetries of a square, on images and on their frequencies.

Of a cosine transform [u, v], a mirror image changes the signs of odd frequencies along its axis,
and a reflection in the diagonal swaps u and v. So one search finds the copies of all eight: in
magnitudes, the larger and the smaller of (u, v) and (v, u).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Reflected in the diagonal, then mirrored top to bottom, then left to right.
TURNS = tuple((bool(n & 4), bool(n & 2), bool(n & 1)) for n in range(8))
WORDS = (
    *("", "mirrored left to right", "mirrored top to bottom", "turned by 180°"),
    *("mirrored and turned by 90°", "turned by 90°", "turned by 90°", "mirrored and turned by 90°"),
)
"""Of each of TURNS. 90° are in one direction or the other."""


def turned(images: NDArray[Any], number: int) -> NDArray[Any]:
    """[N, S, S] after one of TURNS."""
    diagonal, down, across = TURNS[number]
    images = images.swapaxes(1, 2) if diagonal else images
    return np.ascontiguousarray(images[:, :: -1 if down else 1, :: -1 if across else 1])


def _as_square(frequencies: Floats) -> Floats:
    """[N, F * F - 1], without the mean -> [N, F, F]."""
    side = round((frequencies.shape[1] + 1) ** 0.5)
    return np.pad(frequencies, ((0, 0), (1, 0))).reshape(-1, side, side)


def magnitudes(frequencies: Floats) -> Floats:
    """[N, F * F - 1], equal for images that differ by a turn; the root shortens their long tail."""
    square = np.sqrt(np.abs(_as_square(frequencies)))
    other = square.swapaxes(1, 2)
    lower = np.tri(square.shape[1], k=-1, dtype=bool)
    both = np.where(lower, np.maximum(square, other), np.minimum(square, other))
    return np.asarray(both.reshape(len(both), -1)[:, 1:], dtype=np.float32)


def best(
    frequencies: Floats,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    described: Floats,
    describe: Callable[[Floats], Floats],
    at_least: float,
) -> NDArray[np.int64]:
    """[P] the turn of the first image of each pair that makes it most like the second; 0 if that is
    none, or if the cosine of their descriptors stays below `at_least`."""
    found = np.zeros(len(first), np.int64)
    step = 20_000
    side = round((frequencies.shape[1] + 1) ** 0.5)
    signs = np.where(np.arange(side) % 2, -1, 1).astype(np.float32)
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        square, fixed = _as_square(frequencies[first[part]]), described[second[part]]
        cosine = np.empty((len(fixed), len(TURNS)), np.float32)
        for number, (diagonal, down, across) in enumerate(TURNS):
            moved = square.swapaxes(1, 2) if diagonal else square
            moved = moved * (signs[:, None] if down else 1) * (signs if across else 1)
            moved = describe(moved.reshape(len(moved), -1)[:, 1:])
            cosine[:, number] = np.einsum("pf,pf->p", moved, fixed)
        turn = cosine.argmax(axis=1)
        found[part] = np.where(cosine.max(axis=1) > at_least, turn, 0)
    return found
