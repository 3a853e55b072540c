"""How often each label occurs in the training split, and the weights that follow."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Weighting = Literal["none", "balanced", "effective_number"]
BETA = 0.9999  # the largest that Cui et al. 2019 tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of the training split; labels that were not assessed do not count.

    Attributes:
        exclusive: whether exactly one of the K labels is right.
        found: images with each label [K]; soft targets count with their share.
        assessed: images on which each label was assessed [K].
        weighting, beta: how labels are weighted, as in `weights_of`.
    """

    exclusive: bool
    found: tuple[float, ...]
    assessed: tuple[float, ...]
    weighting: Weighting = "none"
    beta: float = BETA

    def class_weights(self, device: torch.device) -> Tensor:
        """[K], for exclusive labels."""
        return constants(weights_of(self.found, self.weighting, self.beta), device)

    def label_weights(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """For independent labels: weights of images without and with the label, [K] each."""
        sizes = [(a - n, n) for n, a in zip(self.found, self.assessed, strict=True)]
        pairs = [weights_of(pair, self.weighting, self.beta) for pair in sizes]
        absent, present = zip(*pairs, strict=True)
        return constants(absent, device), constants(present, device)


def counts_of(targets: NDArray[np.floating[Any]], *, exclusive: bool) -> Counts:
    """
    Args:
        targets: of the training split [N, K], in 0..1, nan for "not assessed".
    """
    assessed = ~np.isnan(targets)
    if exclusive:
        assessed[:] = assessed.all(axis=1, keepdims=True)
    found = np.where(assessed, targets, 0.0).sum(axis=0, dtype=np.float64)
    return Counts(
        exclusive=exclusive,
        found=tuple(found.tolist()),
        assessed=tuple(assessed.sum(axis=0, dtype=np.float64).tolist()),
    )


@functools.lru_cache(maxsize=256)
def constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, float32; cached, since a copy waits for the device."""
    return torch.tensor(values, dtype=torch.float32, device=device)


@functools.lru_cache(maxsize=256)
def weights_of(sizes: tuple[float, ...], weighting: Weighting, beta: float) -> tuple[float, ...]:
    """A weight for each class. Their mean over all images is 1, so the learning rate keeps its
    meaning.

    Args:
        sizes: images of each class; 0 is treated as 1, which has no effect in training.
        weighting: `none`; `balanced`: all classes have the same total weight; `effective_number`:
            n images count (1 - beta^n) / (1 - beta), so each further one adds less (Cui et al.
            2019, CVPR).
        beta: of `effective_number`, in [0, 1); 0 is no weighting, and near 1 it is `balanced`.
    """
    filled = [max(n, 1.0) for n in sizes]
    if weighting == "none":
        raw = [1.0 for _ in filled]
    elif weighting == "balanced":
        raw = [1 / n for n in filled]
    else:
        raw = [(1 - beta) / (1 - beta**n) for n in filled]
    total = sum(sizes)
    if not total:
        return (1.0,) * len(sizes)
    scale = total / sum(n * w for n, w in zip(sizes, raw, strict=True))
    return tuple(w * scale for w in raw)
