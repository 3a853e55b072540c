"""Samples of any depth, as decoders give them -> the full range of uint8 or uint16, without alpha.

Grey keeps all that it has. Colour of more than 8 bits, which no photograph of a lesion or an eye
needs, keeps its upper 8, whichever file it comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.system.errors import ImageError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
# What becomes of grey samples of 16 bits, which may hold fewer: see `deep`.
Deep = Callable[[NDArray[Any]], NDArray[np.uint16]]


def full_range(values: NDArray[Any], bits: int) -> Pixels:
    """0..2^bits-1 as uint8 in 0..255, or as uint16 in 0..65535 for more than 8 bits.

    Args:
        values: unsigned, of 1 to 16 bits.
    """
    kind: type[np.uint8] | type[np.uint16] = np.uint8 if bits <= 8 else np.uint16
    most, full = 2**bits - 1, int(np.iinfo(kind).max)
    if most == full:
        return cast(Pixels, np.asarray(values, kind))
    wide = np.minimum(values, most).astype(np.uint32)
    return cast(Pixels, ((wide * full + most // 2) // most).astype(kind))


def deep(full_scale: int = 16, tops: list[int] | None = None) -> Deep:
    """A function that makes 0..65535 of samples of which `full_scale` bits are used: 12-bit
    radiographs are saved in files of 16 bits, where they would span a sixteenth of the range.

    Args:
        full_scale: 8 to 16; 0 is taken as 16.
        tops: takes the highest value that was stored.

    Raises:
        ImageError: by that function, where a value lies above: clipped, it would be lost.
    """
    bits = full_scale or 16

    def spread(values: NDArray[Any]) -> NDArray[np.uint16]:
        top = int(values.max())
        if tops is not None:
            tops.append(top)
        if top >= 1 << bits:
            raise ImageError(
                f"values up to {top} do not fit into {bits} bits (data.full_scale={bits}, which a "
                "checkpoint keeps); this image was made in another way"
            )
        most = (1 << bits) - 1
        if bits == 16:
            return np.asarray(values, dtype=np.uint16)
        return ((values.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)

    return spread


def from_floats(values: NDArray[Any]) -> NDArray[np.uint16]:
    """0..1 as 0..65535.

    Raises:
        ImageError: any other range, whose full scale is not known.
    """
    low, high = float(values.min()), float(values.max())
    # written so that nan fails too
    if not (low >= 0 and high <= 1):
        raise ImageError(
            f"floats from {low:g} to {high:g} have no known full scale; scale them to 0..1, or "
            "save 16-bit integers"
        )
    return np.asarray(np.rint(np.asarray(values, np.float64) * 65535), dtype=np.uint16)


def without_alpha(pixels: Pixels, *, premultiplied: bool = False) -> Pixels:
    """[H, W, C] of [H, W, C + 1] laid over black, the colour of what no camera saw.

    Args:
        premultiplied: the colours are laid over black already.
    """
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    if premultiplied:
        return cast(Pixels, np.ascontiguousarray(colours))
    full = int(np.iinfo(pixels.dtype).max)
    wide = colours.astype(np.uint32) * alpha + full // 2
    return cast(Pixels, (wide // full).astype(pixels.dtype))


def grey_or_rgb(pixels: Pixels, *, premultiplied: bool = False) -> Pixels:
    """[H, W, 1 or 3] of 1 (grey), 2 (and alpha), 3 (RGB) or 4 channels (and alpha)."""
    if pixels.shape[2] >= 3 and pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] in (2, 4):
        pixels = without_alpha(pixels, premultiplied=premultiplied)
    return pixels
