"""Pixels of any size and depth -> input of a model; stored with the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from medcnn.images.reading import Frames, Pixels, read_pixels
from medcnn.images.resizing import FITS, Fit, grey, narrowed, on_black, widened
from medcnn.images.steps import STEPS, Chosen, chosen_steps, take
from medcnn.system.errors import UsageError
from medcnn.system.registry import nearest

# Value of `full_scale`: derive the depth from all images of the set.
UNKNOWN = 0
# Depths of detectors and cameras, which their files do not mention.
SCALES = (8, 10, 12, 14, 16)


def scale_of(tops: Sequence[int]) -> int:
    """The fewest bits that hold the highest stored values of a set; 16 if there are none."""
    return next(bits for bits in SCALES if max(tops, default=65535) < 1 << bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Everything that happens to pixels between the file and the model's own normalisation.

    Attributes:
        size_px: height and width of the result.
        channels: 1 (grey) or 3 (RGB; grey is repeated).
        fit: how a rectangle becomes a square.
        bits: 8 or 16 per sample; 16 keeps all levels of a radiograph.
        window: which window or VOI LUT of a DICOM that has several, counted from 0.
        frames: which frame of a DICOM that has several.
        full_scale: number of bits used in 16-bit samples, if the file does not say;
            `UNKNOWN` until the set has been examined.
        steps: what this kind of image needs in addition, in any form that `chosen_steps` accepts.
    """

    size_px: int
    channels: int = 3
    fit: Fit = Fit.PAD
    bits: int = 8
    window: int = 0
    frames: Frames = Frames.ERROR
    full_scale: int = 16
    steps: Chosen = ()

    def __post_init__(self) -> None:
        faults = []
        if self.size_px < 1:
            faults.append(f"size_px must be 1 or more, found {self.size_px}")
        if self.channels not in (1, 3):
            faults.append(f"channels must be 1 or 3, found {self.channels}")
        if self.fit not in set(Fit):
            near = nearest(str(self.fit), Fit).rstrip(".")
            faults.append(f"fit must be one of {', '.join(Fit)}, found '{self.fit}'{near}")
        if self.bits not in (8, 16):
            faults.append(f"bits must be 8 or 16, found {self.bits}")
        if self.full_scale != UNKNOWN and not 8 <= self.full_scale <= 16:
            faults.append(f"full_scale must be 8 to 16 bits, found {self.full_scale}")
        try:
            object.__setattr__(self, "steps", chosen_steps(self.steps))
        except UsageError as error:
            raise UsageError(" ".join(["preprocessing:", *faults, str(error)])) from None
        faults += [
            f"step {step['name']} changes colours, but channels is 1"
            for step in self.steps
            if STEPS[step["name"]].colour and self.channels == 1
        ]
        if faults:
            raise UsageError("preprocessing: " + "; ".join(faults) + ".")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the resulting pixels."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    def read(self, root: Path, path: str) -> Pixels:
        """`apply` of the image at `path` below `root`; raises ImageError as `read_pixels` does."""
        return self.apply(self.read_whole(root, path, at_least_px=self.needs_px))

    def read_whole(self, root: Path, path: str, *, at_least_px: int | None = None) -> Pixels:
        """The image [H, W, C] before any step, as `read_pixels` reads it."""
        return read_pixels(
            root,
            path,
            window=self.window,
            frames=self.frames,
            at_least_px=at_least_px,
            full_scale=self.full_scale,
        )

    @property
    def needs_px(self) -> int | None:
        """Smallest allowed side of a decoder's reduced image; None: full size.

        On photographs with detail in every pixel, the result then differed by 0.8 grey levels of
        255 on average, and by 1.0 at 1.25 times the result (tested to stay under 1). Steps at full
        size look for hairs and borders, which a reduced image no longer shows.
        """
        return None if any(self.steps_of(at_full_size=True)) else self.size_px * 3 // 2

    def apply(self, pixels: Pixels) -> Pixels:
        """[C, size_px, size_px] in the full range of `bits`.

        Args:
            pixels: [H, W, 1 or 3] uint8 in 0..255 or uint16 in 0..65535.
        """
        for _, done in self.stages(pixels):
            pixels = done
        return cast(Pixels, np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def stages(self, pixels: Pixels) -> Iterator[tuple[str, Pixels]]:
        """Name and image [H, W, C] after each step of the processing.

        The order is fixed, whatever the order of the settings: crops need full size, contrast and
        colour cost less when reduced, and padding comes last, so that no step mistakes it for part
        of the picture. Steps see the image without padding, with 16 bits if these are kept.
        """
        if self.channels == 1:
            pixels = grey(pixels)
        if self.bits == 16:
            pixels = widened(pixels)  # before resizing, which then has finer levels
        for step in self.steps_of(at_full_size=True):
            pixels = take(step, pixels)
            yield step["name"], pixels
        pixels = FITS[self.fit](pixels, self.size_px)
        yield "resized", pixels
        for step in self.steps_of(at_full_size=False):
            pixels = take(step, pixels)
            yield step["name"], pixels
        pixels = on_black(pixels, self.size_px)
        if self.bits == 8:
            pixels = narrowed(pixels)
        if pixels.shape[2] < self.channels:
            pixels = pixels.repeat(self.channels, axis=2)
        yield "final", pixels

    def steps_of(self, *, at_full_size: bool) -> Chosen:
        """The steps of one of the two kinds, in the order of the settings."""
        return tuple(s for s in self.steps if STEPS[s["name"]].at_full_size is at_full_size)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        plain = {"fit": str(self.fit), "frames": str(self.frames)}
        return {**asdict(self), **plain, "steps": [dict(s) for s in self.steps]}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Preprocessing:
        """Restore what `to_json` returned."""
        frames = Frames(stored.get("frames", Frames.ERROR))
        return cls(**{**stored, "fit": Fit(stored["fit"]), "frames": frames})
