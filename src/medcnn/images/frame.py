"""Which part of an image the network sees, and the way back from its square to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of whole pixels. It may reach beyond its image."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def whole(cls, pixels: NDArray[Any]) -> Box:
        return cls(top=0, left=0, height=pixels.shape[0], width=pixels.shape[1])

    def of(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The part of `pixels` [H, W, ...] within an image."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def within(self, outer: Box) -> Box:
        """The same rectangle, in the coordinates of `outer`'s image."""
        top, left = self.top + outer.top, self.left + outer.left
        return Box(top=top, left=left, height=self.height, width=self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where an image lies in the square of the network.

    Attributes:
        part: of the image that is shown to the network.
        place: of that part in the square; around it the square is black.
    """

    part: Box
    place: Box

    def back(self, values: Floats, height: int, width: int) -> Floats:
        """Values [S, S] of the square as [height, width] of the image, nan where it was not shown.

        Between pixels, values are interpolated linearly, as the image was.
        """
        part, size = self.part, (self.part.width, self.part.height)
        shown = Image.fromarray(np.ascontiguousarray(self.place.of(values), np.float32))
        large = np.asarray(shown.resize(size, Image.Resampling.BILINEAR))
        found = np.full((height, width), np.nan, np.float32)
        top, left = max(part.top, 0), max(part.left, 0)
        bottom, right = min(part.top + part.height, height), min(part.left + part.width, width)
        found[top:bottom, left:right] = large[
            top - part.top : bottom - part.top, left - part.left : right - part.left
        ]
        return found
