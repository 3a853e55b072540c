"""Sizes and depths: how a rectangle becomes a square, and 8 bits become 16 and back."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcnn.images.frame import Box, Frame
from medcnn.images.reading import Pixels

# ITU-R BT.601-7, 2.5.1
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Fit(StrEnum):
    """How a rectangle becomes a square.

    `pad` is the default: it keeps every pixel and the true proportions. `crop` cuts off everything
    beyond the central square, perhaps part of a lung or lesion; `squash` makes a heart look wide.
    """

    PAD = "pad"
    CROP = "crop"
    SQUASH = "squash"


def grey(pixels: Pixels) -> Pixels:
    """[H, W, 1]: the luma of RGB (Rec. 601); grey stays as it is."""
    if pixels.shape[2] == 1:
        return pixels
    luma = np.rint(pixels.astype(np.float32) @ LUMA).astype(pixels.dtype)
    return cast(Pixels, luma[:, :, None])


def widened(pixels: Pixels) -> NDArray[np.uint16]:
    """0..255 as 0..65535; exact at both ends, since 65535 is 255 times 257."""
    return (
        pixels.astype(np.uint16) * np.uint16(257)
        if pixels.dtype == np.uint8
        else pixels.astype(np.uint16)
    )


def narrowed(pixels: Pixels) -> NDArray[np.uint8]:
    """0..65535 as 0..255, rounded."""
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels.astype(np.uint8)


def squashed(pixels: Pixels, size_px: int) -> Pixels:
    return resized(pixels, size_px, size_px)


def contained(pixels: Pixels, size_px: int) -> Pixels:
    """The whole image, its longer side `size_px`; `on_black` makes it a square."""
    return resized(pixels, *_within(pixels, size_px))


def _within(pixels: Pixels, size_px: int) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    longest = max(height, width)
    # a line must not vanish, however thin
    return max(1, round(height * size_px / longest)), max(1, round(width * size_px / longest))


def on_black(pixels: Pixels, size_px: int) -> Pixels:
    """Centred in a black square; a square of that size is returned unchanged."""
    height, width = pixels.shape[:2]
    if (height, width) == (size_px, size_px):
        return pixels
    square = np.zeros((size_px, size_px, pixels.shape[2]), dtype=pixels.dtype)
    _centred(height, width, size_px).of(square)[:] = pixels
    return square


def _centred(height: int, width: int, size_px: int) -> Box:
    top, left = (size_px - height) // 2, (size_px - width) // 2
    return Box(top=top, left=left, height=height, width=width)


def cropped(pixels: Pixels, size_px: int) -> Pixels:
    return resized(_central(pixels).of(pixels), size_px, size_px)


def _central(pixels: Pixels) -> Box:
    """The central square."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    return Box(top=(height - side) // 2, left=(width - side) // 2, height=side, width=side)


def fitted(pixels: Pixels, fit: Fit, size_px: int) -> Frame:
    """Which part of `pixels` a fit keeps, and where in the square it lies."""
    if fit is Fit.PAD:
        return Frame(part=Box.whole(pixels), place=_centred(*_within(pixels, size_px), size_px))
    part = _central(pixels) if fit is Fit.CROP else Box.whole(pixels)
    return Frame(part=part, place=Box(top=0, left=0, height=size_px, width=size_px))


FITS = {Fit.PAD: contained, Fit.CROP: cropped, Fit.SQUASH: squashed}


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """[height, width, C], antialiased (a triangle filter as wide as the reduction); 8 bits stay 8.

    An image of this size is returned unchanged. 16 bits go through float32, which is exact for
    them: pillow's 16-bit integer modes wrapped and clipped.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return _resized_plane(pixels, height, width)
    planes = [pixels[:, :, c] for c in range(pixels.shape[2])]
    if pixels.dtype == np.uint8:
        done = [_resized_plane(np.ascontiguousarray(p), height, width) for p in planes]
    else:
        floats = (_resized_plane(p.astype(np.float32), height, width) for p in planes)
        done = [np.clip(np.rint(p), 0, 65535).astype(np.uint16) for p in floats]
    return np.stack(done, axis=2)


def _resized_plane(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    image = Image.fromarray(plane)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
