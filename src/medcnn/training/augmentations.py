"""Augmentation of whole batches on the device, with separate random numbers for each image.

The numbers are a function of (seed, epoch, image), so results depend neither on the order of
loading nor on a restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.config import AugmentationConfig, Choice
from medcnn.data.manifest import Modality
from medcnn.system.registry import Table
from medcnn.training.draws import mixed_keys, on_device, uniforms
from medcnn.training.geometry import warped
from medcnn.training.policies import OF_POLICY, POLICIES
from medcnn.training.quality import blurred, compressed, erased, noisy


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much an image may change. Each number is half the width of a uniform range around no
    change, unless stated otherwise.

    Attributes:
        rotation_deg: angle to either side.
        scale: 0.1 means 0.9 to 1.1 times as large.
        translate: share of the side.
        brightness: 0.1 means 0.9 to 1.1 times as bright.
        contrast: the same for the distance from the image's mean.
        mixup_alpha: of the Beta distribution that mixes two images and their targets (Zhang et
            al. 2018, ICLR); 0 mixes none.
        cutmix_alpha: the same for a rectangle of another image (Yun et al. 2019, ICCV).
        policy: of POLICIES, with its options.
        blur_px: largest standard deviation of a Gaussian blur, in pixels of the network's input.
        noise: largest standard deviation of Gaussian noise, of a range of 0..1.
        jpeg_quality: lowest quality of JPEG compression, 1 to 100; 0: none.
        erase: share of the images that lose a rectangle.
        photograph: whether a policy may change colours and the steps between grey levels.
        last: what a preset of a plug-in does after all the others: images [B, C, H, W] in 0..1 and
            random numbers [B, OF_LAST] in [0, 1) -> such images again. It takes chance only from
            these numbers, so a run can be repeated.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation_deg: float = 0.0
    scale: float = 0.0
    translate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    policy: Choice | None = None
    blur_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 0
    erase: float = 0.0
    photograph: bool = False
    last: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def flips(self) -> str:
        """Mirror images that are as likely as the original: "", "h", "v" or "hv"."""
        return "h" * self.horizontal_flip + "v" * self.vertical_flip


_PRESETS: dict[str, Augmentation] = {
    "none": Augmentation(),
    # A dermoscope has no upright position: every mirror image and angle is a possible photograph.
    Modality.DERMOSCOPY: Augmentation(
        horizontal_flip=True,
        vertical_flip=True,
        rotation_deg=180,
        scale=0.15,
        translate=0.05,
        brightness=0.15,
        contrast=0.15,
        mixup_alpha=0.2,
    ),
    # A mirrored left eye looks like a right eye; cameras are also held at angles.
    Modality.FUNDUS: Augmentation(
        horizontal_flip=True,
        vertical_flip=True,
        rotation_deg=180,
        scale=0.1,
        translate=0.05,
        mixup_alpha=0.2,
    ),
    # Not mirrored: the heart is on the left, and a mirrored chest means a disease (situs inversus)
    # or a wrong marker. A model must be able to see both.
    Modality.CHEST: Augmentation(
        rotation_deg=7, scale=0.1, translate=0.05, brightness=0.1, contrast=0.15, mixup_alpha=0.1
    ),
    Modality.OTHER: Augmentation(rotation_deg=10, scale=0.1, translate=0.05, mixup_alpha=0.1),
}
# Modalities in which colours differ between cameras without any meaning.
PHOTOGRAPHS = frozenset({Modality.DERMOSCOPY, Modality.FUNDUS})
PRESETS = Table(
    "augmentation", _PRESETS, group="augmentations", kind=Augmentation, also=lambda: ("auto",)
)


# How many random numbers an image has, in this order: for geometry and brightness, for
# `Augmentation.last`, for its quality; those of a policy follow.
OF_SETTINGS, OF_LAST, OF_QUALITY = 8, 16, 8


def augmentation_of(config: AugmentationConfig, modality: Modality) -> Augmentation:
    """The chosen preset (`auto`: that of the modality), with single settings replaced.

    Raises:
        UsageError: an unknown preset or policy.
    """
    preset = PRESETS.choose(modality if config.preset == "auto" else config.preset)
    names = [f.name for f in fields(config) if f.name != "preset"]
    given = {n: v for n in names if (v := getattr(config, n)) is not None}
    chosen = replace(preset, photograph=modality in PHOTOGRAPHS, **given)
    if chosen.policy:
        POLICIES.bind(chosen.policy.name, chosen.policy.options)
    return chosen


def augment(
    images: Tensor, keys: NDArray[np.uint64], how: Augmentation, *, seed: int, epoch: int
) -> Tensor:
    """Images [B, C, H, W] in 0..1, each changed by its own random numbers."""
    begin = OF_SETTINGS + OF_LAST
    numbers = uniforms(seed, epoch, keys, begin + OF_QUALITY + OF_POLICY)
    draw = on_device(numbers, images.device)
    images = _moved(images, draw, how)
    side = 2 * draw - 1
    shape = (-1, 1, 1, 1)
    if how.brightness:
        images = images * (1 + how.brightness * side[:, 6]).view(shape)
    if how.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + how.contrast * side[:, 7]).view(shape)
    if how.brightness or how.contrast:
        images = images.clamp(0, 1)
    if how.policy:
        policy = POLICIES.bind(how.policy.name, how.policy.options)
        images = policy(images, numbers[:, begin + OF_QUALITY :], how.photograph)
    images = _worse(images, draw[:, begin : begin + OF_QUALITY], how, keys, seed=seed, epoch=epoch)
    return how.last(images, draw[:, OF_SETTINGS:begin]) if how.last else images


def _worse(
    images: Tensor,
    draw: Tensor,
    how: Augmentation,
    keys: NDArray[np.uint64],
    *,
    seed: int,
    epoch: int,
) -> Tensor:
    """Loss of quality in its natural order: the lens, the sensor, the file; then covered areas."""
    if how.blur_px:
        images = blurred(images, how.blur_px * draw[:, 0], how.blur_px)
    if how.noise:
        images = noisy(images, how.noise * draw[:, 1], mixed_keys(seed, epoch, keys))
    if how.jpeg_quality:
        images = compressed(images, 100 - (100 - how.jpeg_quality) * draw[:, 2])
    if how.erase:
        images = erased(images, draw[:, 3:], how.erase)
    return images


def _moved(images: Tensor, draw: Tensor, how: Augmentation) -> Tensor:
    horizontal = torch.where(draw[:, 0] < 0.5, -1.0, 1.0) if how.horizontal_flip else None
    vertical = torch.where(draw[:, 1] < 0.5, -1.0, 1.0) if how.vertical_flip else None
    if not (how.rotation_deg or how.scale or how.translate):
        # plain mirrors need no interpolation
        for sign, dim in ((horizontal, 3), (vertical, 2)):
            if sign is not None:
                mirrored = (sign < 0).view(-1, 1, 1, 1)
                images = torch.where(mirrored, images.flip(dim), images)
        return images
    side = 2 * draw - 1
    angle = side[:, 2] * math.radians(how.rotation_deg)
    zoom = 1 / (1 + how.scale * side[:, 3])
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    one = torch.ones_like(cosine)
    h = one if horizontal is None else horizontal
    v = one if vertical is None else vertical
    aspect = images.shape[2] / images.shape[3]
    matrix = torch.stack(
        [
            torch.stack([cosine * h, -sine * v * aspect, 2 * how.translate * side[:, 4]], dim=1),
            torch.stack([sine * h / aspect, cosine * v, 2 * how.translate * side[:, 5]], dim=1),
        ],
        dim=1,
    )
    return warped(images, matrix)
