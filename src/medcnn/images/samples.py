"""Samples of any depth from a decoder -> the full range of uint8 or uint16, without alpha.

Grey keeps all its bits. Colour of more than 8 bits, which no photograph of a lesion or an eye
needs, keeps its upper 8, whatever the file format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.system.errors import ImageError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


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


@dataclass(frozen=True, slots=True)
class Deep:
    """Scales 16-bit samples that may use fewer bits: 12-bit radiographs are saved in 16-bit files,
    where they would span a sixteenth of the range.

    Attributes:
        bits: number of bits used, 8 to 16.
        tops: receives the highest stored value.
    """

    bits: int = 16
    tops: list[int] | None = None

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Stored values as 0..65535.

        Raises:
            ImageError: a value exceeds the bits in use; clipping would lose it.
        """
        self.note(int(values.max()))
        most = (1 << self.bits) - 1
        if self.bits == 16:
            return np.asarray(values, dtype=np.uint16)
        return ((values.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)

    def colours(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """The same for [H, W, C], except for alpha (2 or 4 channels), whose full scale is known."""
        if values.shape[2] not in (2, 4):
            return self(values)
        return np.concatenate([self(values[:, :, :-1]), values[:, :, -1:]], axis=2)

    def note(self, top: int) -> None:
        if self.tops is not None:
            self.tops.append(top)
        if top >= 1 << self.bits:
            raise ImageError(
                f"values up to {top} do not fit into {self.bits} bits "
                f"(data.full_scale={self.bits}, stored in the checkpoint); this image was made "
                "differently"
            )


def from_floats(values: NDArray[Any]) -> NDArray[np.uint16]:
    """0..1 as 0..65535.

    Raises:
        ImageError: any other range, whose full scale is not known.
    """
    low, high = float(values.min()), float(values.max())
    # written so that nan fails too
    if not (low >= 0 and high <= 1):
        raise ImageError(
            f"the full scale of floats from {low:g} to {high:g} is not known; scale them to 0..1 "
            "or save 16-bit integers"
        )
    return np.asarray(np.rint(np.asarray(values, np.float64) * 65535), dtype=np.uint16)


def without_alpha(pixels: Pixels, *, premultiplied: bool = False) -> Pixels:
    """[H, W, C] from [H, W, C + 1] laid over black, the colour of areas without light.

    Args:
        premultiplied: the colours are already multiplied by alpha.
    """
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    if premultiplied:
        return cast(Pixels, np.ascontiguousarray(colours))
    full = int(np.iinfo(pixels.dtype).max)
    wide = colours.astype(np.uint32) * alpha + full // 2
    return cast(Pixels, (wide // full).astype(pixels.dtype))


def grey_or_rgb(pixels: Pixels, *, premultiplied: bool = False) -> Pixels:
    """[H, W, 1 or 3] from 1 (grey), 2 (with alpha), 3 (RGB) or 4 channels (with alpha)."""
    if pixels.shape[2] >= 3 and pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] in (2, 4):
        pixels = without_alpha(pixels, premultiplied=premultiplied)
    return pixels
