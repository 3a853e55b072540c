"""Mixup and CutMix: two images of a batch become one, with the targets of both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medcnn.pixels.batches import Partners
from medcnn.training.augmentations import Augmentation
from medcnn.training.draws import on_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How the images of a step are mixed; the same in all processes.

    Attributes:
        alpha: of the Beta distribution of the first image's share.
        cut: CutMix, a rectangle comes from the second image; else mixup, both are averaged.
    """

    alpha: float
    cut: bool
    seed: int
    epoch: int
    step: int

    def pairs(self, size: int) -> tuple[float, NDArray[np.int64]]:
        """The share of the first image of each pair, and the position of each image's partner
        [size]."""
        rng = np.random.default_rng((self.seed, self.epoch, self.step, 1))
        share = float(rng.beta(self.alpha, self.alpha))
        return share, rng.permutation(size)

    def box(self, share: float, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of a rectangle with 1 - `share` of the area, or less if the border cuts
        it off (Yun et al. 2019, ICCV)."""
        rng = np.random.default_rng((self.seed, self.epoch, self.step, 1, 1))
        cut = []
        for size, centre in zip((height, width), rng.random(2), strict=True):
            half = size * math.sqrt(1 - share) / 2
            begin, end = round(centre * size - half), round(centre * size + half)
            cut.append(slice(max(begin, 0), min(end, size)))
        return cut[0], cut[1]


def mix_of(how: Augmentation, *, seed: int, epoch: int, step: int) -> Mix | None:
    """None if nothing is mixed. If both ways are on, each gets half of the steps."""
    if not (how.mixup_alpha or how.cutmix_alpha):
        return None
    cut = not how.mixup_alpha
    if how.mixup_alpha and how.cutmix_alpha:
        cut = np.random.default_rng((seed, epoch, step, 1, 2)).random() < 0.5
    alpha = how.cutmix_alpha if cut else how.mixup_alpha
    return Mix(alpha=alpha, cut=bool(cut), seed=seed, epoch=epoch, step=step)


def partners_of(how: Augmentation, seed: int, epoch: int) -> Partners | None:
    """The partner of each image in the steps of an epoch; None if images are not mixed."""

    def partners(step: int, size: int) -> NDArray[np.int64]:
        mix = mix_of(how, seed=seed, epoch=epoch, step=step)
        assert mix is not None, "as in every step"
        return mix.pairs(size)[1]

    return partners if how.mixup_alpha or how.cutmix_alpha else None


def mixed(
    images: Tensor, targets: Tensor, mix: Mix | None, own: int | None = None
) -> tuple[Tensor, Tensor]:
    """Mix each image with another of its batch. nan targets stay nan, so a label counts only if
    both images were assessed. Pairs and shares belong to the batch, not to a process.

    Args:
        own: if several processes share a batch, the number of images to mix; the partner of each
            follows `own` places later (`Batch.own`). None: the whole batch is here.
    """
    if mix is None or len(images) < 2:
        return images, targets
    share, other = mix.pairs(len(images))
    if own is None:
        with_images, with_targets = (t[on_device(other, t.device)] for t in (images, targets))
    else:
        images, with_images = images[:own], images[own:]
        targets, with_targets = targets[:own], targets[own:]
    if mix.cut:
        height, width = images.shape[2:]
        rows, columns = mix.box(share, height, width)
        images = images.clone()
        images[:, :, rows, columns] = with_images[:, :, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1 - area / (height * width)
    else:
        images = share * images + (1 - share) * with_images
    return images, share * targets + (1 - share) * with_targets
