"""Two images of a batch become one, with both their targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medcnn.training.draws import on_device


def mixup(
    images: Tensor,
    targets: Tensor,
    alpha: float,
    *,
    seed: int,
    epoch: int,
    step: int,
    own: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Each image mixed with another of its batch; nan targets stay nan, so a label counts only
    where both images were assessed. Pairs and share are those of the batch, not of a process.

    Args:
        own: how many of the images are to be mixed, of a batch that several processes share: each
            with the image that stands so many places after it (`Batch.own`). None: the whole batch
            is here.
    """
    if alpha == 0 or len(images) < 2:
        return images, targets
    share, other = pairs(len(images), alpha, seed=seed, epoch=epoch, step=step)
    if own is None:
        with_images, with_targets = (t[on_device(other, t.device)] for t in (images, targets))
    else:
        images, with_images = images[:own], images[own:]
        targets, with_targets = targets[:own], targets[own:]
    return (
        share * images + (1 - share) * with_images,
        share * targets + (1 - share) * with_targets,
    )


def pairs(
    size: int, alpha: float, *, seed: int, epoch: int, step: int
) -> tuple[float, NDArray[np.int64]]:
    """The share of the first image of each pair in a batch of `size` images, and the position of
    the partner of each [size]."""
    rng = np.random.default_rng((seed, epoch, step, 1))
    share = float(rng.beta(alpha, alpha))
    return share, rng.permutation(size)
