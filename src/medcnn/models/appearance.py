"""What the training images looked like, in a few numbers, so that a model can say when others look
unlike them: a radiograph given to a skin model, a negative, an empty frame.

This is a simple check of brightness, colour and layout. An image that passes may still be of
another kind, and one that fails may be perfectly good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.models.classifier import unit_range
from medcnn.pixels.pixel_store import PixelStore
from medcnn.system.errors import listed, private

Floats = NDArray[np.float64]

FACTS = (
    *("red", "green", "blue", "colour", "contrast", "darkest", "brightest"),
    *("border", "corners", "centre", "detail", "warmth", "vignette"),
)
# How many training images to look at: more would add nothing to a range.
MOST_IMAGES = 2_000
# An image looks unlike the training images if a fact lies outside their range by more than a share
# of that range, a tenth plus 8 divided by their number, and by more than LEAST. Measured in
# docs/decisions/0016a-a-simple-check-of-appearance.md.
MARGIN, MARGIN_OF_FEW = 0.1, 8.0
LEAST = 0.02
_GRID = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """Fact -> its lowest and highest value among the training images, in 0..1.

    Attributes:
        images: how many were looked at.
    """

    images: int
    ranges: Mapping[str, tuple[float, ...]]


def appearance_of(store: PixelStore, rows: NDArray[np.int64]) -> Appearance:
    """Of the readable images among `rows`, or of MOST_IMAGES of them, evenly spread."""
    good = store.readable(rows)
    spread = np.linspace(0, len(good) - 1, min(len(good), MOST_IMAGES)).astype(int)
    facts = facts_of(store, good[spread])
    ranges = zip(FACTS, facts.min(axis=0), facts.max(axis=0), strict=True)
    return Appearance(
        images=len(facts),
        ranges={name: (round(float(low), 4), round(float(high), 4)) for name, low, high in ranges},
    )


def facts_of(store: PixelStore, rows: NDArray[np.int64]) -> Floats:
    """[N, FACTS] of readable images, a batch at a time."""
    parts = np.array_split(rows, -(-len(rows) // 64)) if len(rows) else []
    found = [facts(unit_range(torch.from_numpy(store.take(part)))) for part in parts]
    return np.concatenate(found) if found else np.zeros((0, len(FACTS)))


def facts(images: Tensor) -> Floats:
    """[B, FACTS] of images [B, C, H, W] in 0..1."""
    small = F.adaptive_avg_pool2d(images, _GRID).expand(-1, 3, -1, -1)
    red, green, blue = small.unbind(1)
    grey = small.mean(1)
    flat = grey.flatten(1)
    quantiles = torch.quantile(flat, torch.tensor([0.05, 0.95]), dim=1)
    ring = torch.ones(_GRID, _GRID, dtype=torch.bool)
    ring[2:-2, 2:-2] = False
    corner = torch.zeros(_GRID, _GRID, dtype=torch.bool)
    for rows in (slice(0, 3), slice(-3, None)):
        for columns in (slice(0, 3), slice(-3, None)):
            corner[rows, columns] = True
    middle = slice(_GRID // 2 - 5, _GRID // 2 + 5)
    steps = [(grey.diff(dim=dim)).abs().flatten(1).mean(1) for dim in (1, 2)]
    means = [channel.flatten(1).mean(1) for channel in (red, green, blue)]
    corners, centre = grey[:, corner].mean(1), grey[:, middle, middle].flatten(1).mean(1)
    found = [
        *means,
        ((red - green).abs() + (green - blue).abs()).flatten(1).mean(1),
        flat.std(1),
        *quantiles,
        grey[:, ring].mean(1),
        corners,
        centre,
        steps[0] + steps[1],
        means[0] - means[2],
        centre - corners,
    ]
    return torch.stack(found, dim=1).double().numpy()


def outside(appearance: Appearance, facts: Floats) -> Floats:
    """[N, FACTS]: how far each fact lies beyond its limits; 0 or less if within them."""
    # a fact that the checkpoint does not have has no limits
    everything = (-np.inf, np.inf)
    low, high = np.array([appearance.ranges.get(name, everything) for name in FACTS]).T
    share = MARGIN + MARGIN_OF_FEW / max(appearance.images, 1)
    margin = np.maximum(share * (high - low), LEAST)
    return np.asarray(np.maximum(low - margin - facts, facts - high - margin))


class Watcher:
    """Looks at images as they come and says at the end, in one line, which ones look unlike."""

    def __init__(self, appearance: Appearance | None) -> None:
        self.appearance = appearance
        self.seen = 0
        self.unlike: list[str] = []
        self.most: dict[str, int] = {}

    def look(self, store: PixelStore, names: Sequence[str], rows: NDArray[np.int64]) -> None:
        """Look at the readable images among `rows`.

        Args:
            names: of all images of the store.
        """
        good = store.readable(rows)
        if self.appearance is None or not len(good):
            return
        self.seen += len(good)
        beyond = outside(self.appearance, facts_of(store, good))
        for i in np.flatnonzero((beyond > 0).any(axis=1)):
            self.unlike.append(names[good[i]])
            fact = FACTS[int(beyond[i].argmax())]
            self.most[fact] = self.most.get(fact, 0) + 1

    def line(self) -> str:
        """Empty if no image looks unlike."""
        if not self.unlike:
            return ""
        facts = sorted(self.most, key=lambda fact: -self.most[fact])
        look = "looks" if len(self.unlike) == 1 else "look"
        return (
            f"{len(self.unlike):,} of {self.seen:,} images {look} unlike those that the model was "
            f"trained on ({listed([private(name) for name in self.unlike], 3)}; mostly in "
            f"{listed(facts, 3)}): a simple check of brightness, colour and layout. If they are of "
            "another kind, what the model says about them is meaningless."
        )
