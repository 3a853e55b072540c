"""Samplers: which images an epoch has, how often, and in which order.

A sampler is a function of a Pool, found by name in SAMPLERS; its keyword-only arguments are its
options. An epoch always has as many images as the training split. The order depends only on seed
and epoch, so a run can resume anywhere and processes agree without communication.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest
from medcnn.pixels.batches import epoch_order, times_before
from medcnn.statistics.intervals import group_numbers
from medcnn.system.registry import Table

By = Literal["image", "patient"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
NOT_ASSESSED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The N rows of the manifest that an epoch (from 0) of a run of `epochs` draws from."""

    manifest: Manifest
    rows: Ints
    seed: int
    epoch: int
    epochs: int

    def drawn(self, by: By, shares: Callable[[Floats], Floats]) -> Ints:
        """N rows in random order: each class by its share, and as evenly as possible within it.

        Images without an assessed label are left out, since nothing is learned from them.

        Args:
            by: `image`: all images of a class occur equally often. `patient`: all patients of a
                class do, and the images of a patient take turns.
            shares: sizes of the classes, in images or patients [C] -> their weights in the epoch.
        """
        rng = np.random.default_rng((self.seed, self.epoch))
        classes = classes_of(self.manifest.targets()[self.rows], self.manifest.labels)
        # the random order decides which images come if not all can
        images = rng.permutation(np.flatnonzero(classes != NOT_ASSESSED))
        if not len(images):
            return epoch_order(self.rows, seed=self.seed, epoch=self.epoch)
        members, _ = group_numbers([self.manifest.records[self.rows[i]].group for i in images])
        if by == "image":
            members = np.arange(len(images))
        # a unit is an image, or a patient within a class
        units, unit = np.unique(classes[images] * len(images) + members, return_inverse=True)
        _, class_of, sizes = np.unique(
            units // len(images), return_inverse=True, return_counts=True
        )
        weights = shares(sizes.astype(np.float64))
        reached = np.cumsum(weights) / weights.sum() * len(self.rows)
        quotas = np.diff(np.floor(reached + rng.random()), prepend=0).astype(np.int64)
        quotas[-1] += len(self.rows) - quotas.sum()
        drawn = np.concatenate(
            [
                np.resize(rng.permutation(np.flatnonzero(class_of == c)), quota)
                for c, quota in enumerate(quotas)
            ]
        )
        # the images of each unit, one block after the other
        blocks = images[np.argsort(unit, kind="stable")]
        many = np.bincount(unit)
        first = np.cumsum(many) - many
        chosen = blocks[first[drawn] + times_before(drawn) % many[drawn]]
        return np.asarray(self.rows[rng.permutation(chosen)])


Sampler = Callable[[Pool], Ints]


def classes_of(targets: NDArray[np.float32], labels: LabelSpace) -> Ints:
    """A class for each image [N]; NOT_ASSESSED if no label was assessed.

    For exclusive labels it is the label; for a mixed target, the one with the largest share. For
    findings it is the rarest one that the image shows, or K if it shows none.
    """
    assessed = ~np.isnan(targets)
    shown = np.nan_to_num(targets, nan=0.0)
    if labels.exclusive:
        classes, known = shown.argmax(axis=1), assessed.all(axis=1)
    else:
        found = shown > 0.5
        by_rarity = np.argsort(found.sum(axis=0), kind="stable")
        rarest = by_rarity[found[:, by_rarity].argmax(axis=1)]
        classes = np.where(found.any(axis=1), rarest, targets.shape[1])
        known = assessed.any(axis=1)
    return np.where(known, classes, NOT_ASSESSED).astype(np.int64)


def shuffle(pool: Pool, *, by: By = "image") -> Ints:
    """Every image once, in random order; with `by=patient`, every patient equally often."""
    if by == "image":
        return epoch_order(pool.rows, seed=pool.seed, epoch=pool.epoch)
    return pool.drawn(by, lambda sizes: sizes)


def balanced(pool: Pool, *, by: By = "image") -> Ints:
    """Every class equally often: images of rare classes repeat, with different augmentations."""
    return pool.drawn(by, np.ones_like)


def square_root(pool: Pool, *, by: By = "image") -> Ints:
    """Classes weighted by the square root of their size (Mahajan et al. 2018, ECCV), halfway
    between `shuffle` and `balanced`."""
    return pool.drawn(by, np.sqrt)


def progressive(pool: Pool, *, by: By = "image") -> Ints:
    """From `shuffle` in the first epoch to `balanced` in the last, step by step (Kang et al. 2020,
    ICLR, section 4.1)."""
    done = pool.epoch / max(1, pool.epochs - 1)
    return pool.drawn(by, lambda n: (1 - done) * n / n.sum() + done / len(n))


SAMPLERS = Table(
    "sampler",
    {
        "balanced": balanced,
        "progressive": progressive,
        "shuffle": shuffle,
        "square_root": square_root,
    },
    function=lambda sampler: sampler,
)
