"""A map over its image: grey below, colour where the map is positive, and the scale in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medcnn.images.reading import Pixels
from medcnn.images.resizing import grey, narrowed

Floats = NDArray[np.floating[Any]]

# The colour map viridis at 17 even steps: equal steps of the value look equally large, also to
# people who cannot tell red from green (Smith and van der Walt 2015, released as CC0).
_HEX = (
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 "
    "84d44b addc30 d8e219 fde725"
)
VIRIDIS = np.frombuffer(bytes.fromhex(_HEX), np.uint8).reshape(-1, 3)
# How much colour covers the image at the highest value.
OPAQUE = 0.75
# How dark the image is where the network was not shown it.
DARK = 0.35
# Smaller images are enlarged by a whole number.
LEAST_PX = 256
STRIP_PX, BAR_PX, LINE_PX = 46, 12, 16


def overlaid(pixels: Pixels, values: Floats) -> NDArray[np.uint8]:
    """[H, W, 3].

    Args:
        pixels: [H, W, C].
        values: [H, W]; colours go from 0 to the highest. Negative values stay grey, and where there
            is none (nan), the image is darker.
    """
    ground = np.repeat(grey(narrowed(pixels)), 3, axis=2).astype(np.float32)
    ground[np.isnan(values)] *= DARK
    top = highest(values)
    return _blended(ground, np.nan_to_num(values).clip(0) / top if top else np.zeros(values.shape))


def highest(values: Floats) -> float:
    """The largest positive value; 0 if there is none."""
    return max(0.0, float(np.nanmax(values))) if np.isfinite(values).any() else 0.0


def _blended(ground: Floats, shares: Floats) -> NDArray[np.uint8]:
    """Colours of `shares` in 0..1 over `ground` [H, W, 3]; the higher, the more opaque."""
    steps = np.linspace(0, 1, len(VIRIDIS))
    colours = np.stack([np.interp(shares, steps, channel) for channel in VIRIDIS.T], axis=-1)
    opaque = OPAQUE * np.sqrt(shares)[..., None]
    return np.rint(ground * (1 - opaque) + colours * opaque).astype(np.uint8)


def with_scale(pixels: Pixels, values: Floats, words: str, unit: str) -> Image.Image:
    """The overlay, and below it a bar with the colours, their range and `words`."""
    over = overlaid(pixels, values)
    times = -(-LEAST_PX // max(over.shape[:2]))
    over = over.repeat(times, axis=0).repeat(times, axis=1)
    height, width = over.shape[0], max(over.shape[1], LEAST_PX)
    picture = Image.new("RGB", (width, height + STRIP_PX))
    picture.paste(Image.fromarray(over))
    bar = np.broadcast_to(np.linspace(0, 1, width), (BAR_PX, width))
    ground = np.full((BAR_PX, width, 3), 128, np.float32)
    picture.paste(Image.fromarray(_blended(ground, bar)), (0, height))
    pen, line, top = ImageDraw.Draw(picture), height + BAR_PX + 2, highest(values)
    end = f"{top:.3g} {unit}" if top else "nothing speaks for it"
    pen.text((2, line), "0", fill="white", font_size=12)
    pen.text((width - 2, line), end, fill="white", font_size=12, anchor="ra")
    pen.text((2, line + LINE_PX), words, fill="white", font_size=12)
    return picture
