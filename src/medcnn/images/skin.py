"""Steps for dermoscopic and other photographs of the skin: hair, and the colour of the lamp."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcnn.images.frame import Box
from medcnn.images.reading import Pixels
from medcnn.images.resizing import resized

# Shorter side of the copy in which hair is sought; DullRazor was made for 480.
SEARCH_PX = 480

# Largest share that crossing hairs may cover of the box around them: 5 to 12 % in the first images
# of HAM10000. The network of a naevus is denser. So are very many hairs, which are kept.
CROSSING = 0.12


def hair_removal(pixels: Pixels, *, width: float = 0.025, contrast: float = 0.06) -> Pixels:
    """Replace dark hairs with the skin beside them; all other pixels stay unchanged.

    A hair is long and thin, and darker in every colour than the result of a morphological closing
    with a short line in one of four directions. Dots and the network of a naevus are not long and
    thin, and vessels are not dark in red. Hairs as dense as a network are kept. If a pixel is
    as wide as a hair (below about 100 px), nothing is found.

    Args:
        pixels: [H, W, C].
        width: of the widest hair, as a share of the shorter side.
        contrast: how much darker than the skin a hair must be, as a share of full scale.

    Source:
        Lee et al. 1997, Computers in Biology and Medicine 27(6) (DullRazor), with a Gaussian
        average of nearby skin instead of interpolation along a line.
    """
    from scipy import ndimage  # not needed by most runs

    height, across = pixels.shape[:2]
    scale = min(1.0, SEARCH_PX / min(height, across))
    small = pixels
    if scale < 1:
        small = resized(pixels, round(height * scale), round(across * scale))
    found = hair_mask(small, width=width, contrast=contrast)
    if not found.any():
        return pixels
    # wide enough to bridge the widest hair
    sigma = max(1.0, width * min(small.shape[:2]))
    sigmas: Any = (sigma, sigma, 0)
    skin = (~found).astype(np.float32)[:, :, None]
    weight = ndimage.gaussian_filter(skin, sigmas)
    filled = ndimage.gaussian_filter(small * skin, sigmas) / np.maximum(weight, 1e-3)
    filled = np.rint(filled).astype(pixels.dtype)
    if scale < 1:
        filled = resized(filled, height, across)
        grown = Image.fromarray(found).resize((across, height), Image.Resampling.NEAREST)
        found = np.asarray(grown)
    return cast(Pixels, np.where(found[:, :, None], filled, pixels))


def hair_mask(pixels: Pixels, *, width: float, contrast: float) -> NDArray[np.bool_]:
    """[H, W], where `hair_removal` finds hairs."""
    from scipy import ndimage

    shorter = min(pixels.shape[:2])
    length = 2 * round(width * shorter / 2) + 1
    if length < 3:
        return np.zeros(pixels.shape[:2], dtype=np.bool_)
    dark = pixels.max(axis=2)  # a hair is dark in every colour, a vessel is not in red
    slanted = np.eye(length, dtype=bool)
    closed = np.maximum.reduce(
        [
            ndimage.grey_closing(dark, size=(1, length)),
            ndimage.grey_closing(dark, size=(length, 1)),
            ndimage.grey_closing(dark, footprint=slanted),
            ndimage.grey_closing(dark, footprint=slanted[::-1]),
        ]
    )
    threshold = contrast * np.iinfo(pixels.dtype).max
    found = closed.astype(np.int32) - dark > threshold
    pieces, count = ndimage.label(found, structure=np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    long = np.zeros(count + 1, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        sides = [s.stop - s.start for s in box]
        extent = float(np.hypot(*sides))
        # 1/8 of the side: longer than the streaks of a lesion
        single = extent > shorter / 8 and areas[number] < extent * length
        # crossing hairs form one piece, which is no longer a line
        crossing = extent > shorter / 2 and areas[number] < CROSSING * np.prod(sides)
        long[number] = single or crossing
    # one pixel wider, since the edge of a hair is half skin
    return np.asarray(ndimage.binary_dilation(long[pieces], np.ones((3, 3))))


def shades_of_grey(pixels: Pixels, *, p: float = 6.0) -> Pixels:
    """Colours as under a grey lamp: the p-norm averages of red, green and blue are made equal.

    Args:
        pixels: [H, W, 3]; grey images stay as they are.
        p: 1 is the grey world, infinity the brightest pixel.

    Source:
        Finlayson and Trezzi 2004, Color Imaging Conference 12, 37-41, who found 6 to be best.
    """
    if pixels.shape[2] != 3:
        return pixels
    most = np.iinfo(pixels.dtype).max
    values = pixels.astype(np.float32) / most
    lamp = np.mean(values**p, axis=(0, 1), dtype=np.float64) ** (1 / p)
    if not lamp.min() > 0:
        return pixels  # if a colour is absent, its share in the light is unknown
    gains = (lamp.mean() / lamp).astype(np.float32)
    return cast(Pixels, np.clip(np.rint(values * gains * most), 0, most).astype(pixels.dtype))


def centre_crop(pixels: Pixels, *, share: float = 0.8) -> Pixels:
    """The middle of the image, in the same proportions, without rulers and vignettes at its edge.

    Args:
        pixels: [H, W, C].
        share: of each side that is kept, above 0 and up to 1.
    """
    return centre_box(pixels, share=share).of(pixels)


def centre_box(pixels: Pixels, *, share: float) -> Box:
    """What `centre_crop` leaves."""
    height, width = pixels.shape[:2]
    new_height, new_width = max(1, round(height * share)), max(1, round(width * share))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return Box(top=top, left=left, height=new_height, width=new_width)
