"""Policies: operations chosen at random for each image, RandAugment and TrivialAugment.

A policy is found by name in POLICIES; its keyword-only arguments are its options. Hue, solarise and
invert are left out, since colours and grey levels have a meaning: jaundice, blood, calcification.
Milder changes of colour, and of the steps between grey levels, apply only to photographs, not to
radiographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.system.registry import Table
from medcnn.training.draws import on_device
from medcnn.training.geometry import warped
from medcnn.training.quality import blurred

# Images [B, C, H, W] in 0..1 and amounts [B] in [-1, 1] -> images.
Operation = Callable[[Tensor, Tensor], Tensor]
# The effect of an amount of 1, as in Cubuk et al. 2020 (CVPR workshops), except for translation:
# their 0.45 could move a lesion out of the image.
ROTATION_DEG, SHEAR, TRANSLATION, TONE = 30.0, 0.3, 0.15, 0.9
BITS = 4  # the most that `posterised` removes


def _affine(amount: Tensor, *entries: tuple[int, int, Tensor]) -> Tensor:
    matrix = torch.eye(2, 3, device=amount.device).repeat(len(amount), 1, 1)
    for row, column, value in entries:
        matrix[:, row, column] = value
    return matrix


def same(images: Tensor, amount: Tensor) -> Tensor:
    return images


def rotated(images: Tensor, amount: Tensor) -> Tensor:
    angle = amount * math.radians(ROTATION_DEG)
    sine, cosine = angle.sin(), angle.cos()
    aspect = images.shape[2] / images.shape[3]
    entries = ((0, 0, cosine), (0, 1, -sine * aspect), (1, 0, sine / aspect), (1, 1, cosine))
    return warped(images, _affine(amount, *entries))


def sheared_across(images: Tensor, amount: Tensor) -> Tensor:
    return warped(images, _affine(amount, (0, 1, SHEAR * amount)))


def sheared_down(images: Tensor, amount: Tensor) -> Tensor:
    return warped(images, _affine(amount, (1, 0, SHEAR * amount)))


def moved_across(images: Tensor, amount: Tensor) -> Tensor:
    return warped(images, _affine(amount, (0, 2, 2 * TRANSLATION * amount)))


def moved_down(images: Tensor, amount: Tensor) -> Tensor:
    return warped(images, _affine(amount, (1, 2, 2 * TRANSLATION * amount)))


def _from(origin: Tensor, images: Tensor, amount: Tensor) -> Tensor:
    """Move images towards `origin` if the amount is negative, away from it if positive."""
    return (origin + (images - origin) * (1 + TONE * amount).view(-1, 1, 1, 1)).clamp(0, 1)


def lit(images: Tensor, amount: Tensor) -> Tensor:
    return _from(torch.zeros_like(images), images, amount)


def contrasted(images: Tensor, amount: Tensor) -> Tensor:
    return _from(images.mean(dim=(1, 2, 3), keepdim=True), images, amount)


def sharpened(images: Tensor, amount: Tensor) -> Tensor:
    return _from(blurred(images, torch.ones_like(amount), 1.0), images, amount)


def coloured(images: Tensor, amount: Tensor) -> Tensor:
    return _from(images.mean(dim=1, keepdim=True), images, amount)


def stretched(images: Tensor, amount: Tensor) -> Tensor:
    """Stretch values to the full range 0..1, all channels together: stretching single channels
    would change colours."""
    low = images.amin(dim=(1, 2, 3), keepdim=True)
    high = images.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def posterised(images: Tensor, amount: Tensor) -> Tensor:
    levels = (2 ** (8 - BITS * amount.abs()).round()).view(-1, 1, 1, 1)
    return ((images * levels).floor().clamp(max=levels - 1) / (levels - 1)).clamp(0, 1)


ANY: tuple[Operation, ...] = (
    *(same, rotated, sheared_across, sheared_down, moved_across, moved_down),
    *(lit, contrasted, sharpened),
)
PHOTOGRAPH: tuple[Operation, ...] = (*ANY, coloured, stretched, posterised)

# The largest number of operations; each uses two random numbers.
MOST = 6
OF_POLICY = 2 * MOST
Uniforms = NDArray[np.float32]


def _applied(images: Tensor, which: Uniforms, amount: Uniforms, photograph: bool) -> Tensor:
    """One operation for each image. The numbers stay on the CPU: reading them from a GPU would make
    the loop wait."""
    operations = PHOTOGRAPH if photograph and images.shape[1] == 3 else ANY
    chosen = (which * len(operations)).astype(np.int64)
    images = images.clone()
    for number, operation in enumerate(operations):
        if len(at := np.flatnonzero(chosen == number)):
            rows = on_device(at, images.device)
            images[rows] = operation(images[rows], on_device(amount[at], images.device))
    return images


def randaugment(
    images: Tensor, numbers: Uniforms, photograph: bool, *, ops: int = 2, strength: float = 0.3
) -> Tensor:
    """Several operations in a row, all with the same strength (Cubuk et al. 2020, CVPR workshops).

    Args:
        ops: their number, 1 to 6.
        strength: in [0, 1]; the sign is random.
    """
    for k in range(ops):
        which, side = numbers[:, 2 * k], numbers[:, 2 * k + 1]
        amount = np.where(side < 0.5, -strength, strength).astype(np.float32)
        images = _applied(images, which, amount, photograph)
    return images


def trivialaugment(
    images: Tensor, numbers: Uniforms, photograph: bool, *, strength: float = 1.0
) -> Tensor:
    """One operation with a random strength (Müller and Hutter 2021, ICCV).

    Args:
        strength: the largest, in [0, 1].
    """
    amount = (strength * (2 * numbers[:, 1] - 1)).astype(np.float32)
    return _applied(images, numbers[:, 0], amount, photograph)


POLICIES = Table(
    "policy",
    {"randaugment": randaugment, "trivialaugment": trivialaugment},
    function=lambda policy: policy,
    limits={"ops": (1, MOST), "strength": (0.0, 1.0)},
)
