"""A step between the file and the network. Nothing here imports torch, so that the processes that
decode images start at once."""

from __future__ import annotations

from typing import cast

import numpy as np

from medcnn.images.reading import Pixels
from medcnn.images.steps import Step


def gamma(pixels: Pixels, *, exponent: float = 0.8) -> Pixels:
    """Brighter or darker middle tones; black and white stay.

    Args:
        pixels: [H, W, C] uint8 in 0..255 or uint16 in 0..65535.
        exponent: below 1 brightens, above 1 darkens; more than 0.
    """
    most = np.iinfo(pixels.dtype).max
    levels = np.rint((np.arange(most + 1) / most) ** exponent * most).astype(pixels.dtype)
    return cast(Pixels, levels[pixels])


GAMMA = Step(function=gamma)
