"""Where an image lies in the square of the network, without its pixels."""

from __future__ import annotations

from medcnn.images.frame import Box, Frame
from medcnn.images.preprocessing import Preprocessing
from medcnn.images.reading import Pixels
from medcnn.images.resizing import fitted, grey, widened
from medcnn.images.steps import left_by, take
from medcnn.system.errors import UsageError


def frame_of(how: Preprocessing, pixels: Pixels) -> Frame:
    """Which part of an image [H, W, C] `how.apply` keeps, and where in the square it puts it.

    Raises:
        UsageError: a step of a plug-in changes the size and does not say how.
    """
    seen = Box.whole(pixels)
    pixels = grey(pixels) if how.channels == 1 else pixels
    pixels = widened(pixels) if how.bits == 16 else pixels
    for step in how.steps_of(at_full_size=True):
        box = left_by(step, pixels)
        pixels = take(step, pixels)
        if pixels.shape[:2] != (box.height, box.width):
            raise UsageError(
                f"step {step['name']} changes the size of images, but its Step has no `box` to say "
                "which part it keeps, so nothing can be mapped back to the image."
            )
        seen = box.within(seen)
    last = fitted(pixels, how.fit, how.size_px)
    return Frame(part=last.part.within(seen), place=last.place)
