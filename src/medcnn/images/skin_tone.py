"""The colour of the skin around a lesion, for subgroups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.images.reading import Pixels

DARK = 0.15
"""Share of full scale below which the brightest colour of a pixel shows no skin."""


def typology_angle(pixels: Pixels) -> float:
    """Individual typology angle of the skin in degrees, from the border of a dermoscopic image;
    nan if too little of it shows skin.

    The larger, the lighter; the median over the outer tenth of each side, without the black of
    padding, of the rim of the lens and of hairs. It depends on lamp, camera and gel, and on lesions
    that reach the border: it groups photographs, and is not a person's skin type.

    Args:
        pixels: [H, W, 3], sRGB over the full range of their dtype.

    Sources:
        Chardon, Cretois and Hourseau 1991, Int J Cosmet Sci 13(4); taken from the border of
        dermoscopic images as in Kinyanjui et al. 2020, MICCAI, "Fairness of classifiers across skin
        tones in dermatology". Conversion: IEC 61966-2-1, CIE 1976 L*a*b* under D65.
    """
    values = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    lit = values.max(axis=2) > DARK
    if not lit.any():
        return float("nan")
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    values, lit = values[box], lit[box]
    height, width = lit.shape
    inner = (
        slice(height // 10 + 1, -(height // 10) - 1),
        slice(width // 10 + 1, -(width // 10) - 1),
    )
    ring = np.ones_like(lit)
    ring[inner] = False
    if (ring & lit).sum() < ring.sum() / 5:
        return float("nan")
    lightness, yellow = _lightness_and_yellow(values[ring & lit])
    angle = np.arctan2(np.median(lightness) - 50, np.median(yellow))
    return float(np.degrees(angle))


def _lightness_and_yellow(values: NDArray[np.float64]) -> tuple[Any, Any]:
    """L* and b* of sRGB colours [N, 3] in [0, 1]."""
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    y = light @ [0.2126729, 0.7151522, 0.0721750]
    z = light @ [0.0193339, 0.1191920, 0.9503041] / 1.08883

    def root(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)

    return 116 * root(y) - 16, 200 * (root(y) - root(z))
