"""Augmentation of whole batches on the device, each image by its own random numbers.

The numbers are a function of (seed, epoch, image), so that results depend neither on the order of
loading nor on a restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.config import AugmentationConfig
from medcnn.data.manifest import Modality
from medcnn.system.registry import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far an image may be moved; every number is the edge of a uniform range around none.

    Attributes:
        rotation_deg: angle to either side.
        scale: 0.1 means 0.9 to 1.1 times as large.
        translate: share of the side.
        brightness: 0.1 means 0.9 to 1.1 times as bright.
        contrast: the same for the distance from the image's mean.
        mixup_alpha: of the Beta distribution that mixes two images and their targets (Zhang et
            al. 2018, ICLR); 0 mixes none.
        last: what a preset of a plug-in does besides, after all the others: images [B, C, H, W] in
            0..1 and random numbers [B, OF_LAST] in [0, 1) -> such images again. Its chance is in
            these numbers alone, so that a run can be repeated.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation_deg: float = 0.0
    scale: float = 0.0
    translate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    mixup_alpha: float = 0.0
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
    # Not mirrored: the heart lies on the left, and a mirrored chest is a disease (situs inversus)
    # or a wrong marker, both of which a reader must be able to see.
    Modality.CHEST: Augmentation(
        rotation_deg=7, scale=0.1, translate=0.05, brightness=0.1, contrast=0.15, mixup_alpha=0.1
    ),
    Modality.OTHER: Augmentation(rotation_deg=10, scale=0.1, translate=0.05, mixup_alpha=0.1),
}
PRESETS = Table(
    "augmentation", _PRESETS, group="augmentations", kind=Augmentation, also=lambda: ("auto",)
)


# A corner is one part in so many of the shorter side. The ground of fundus photographs reaches 15
# to 25 of 255, skin in the shade of a dermatoscope begins above 40.
CORNER, DARK = 14, 0.1
# Random numbers of an image: those of the settings, and those of `Augmentation.last`.
OF_SETTINGS, OF_LAST = 8, 16


def augmentation_of(config: AugmentationConfig, modality: Modality) -> Augmentation:
    """The preset that was chosen (`auto`: that of the modality) with single settings replaced."""
    preset = PRESETS.choose(modality if config.preset == "auto" else config.preset)
    given = {k: v for k, v in asdict(config).items() if k != "preset" and v is not None}
    return replace(preset, **given)


def uniforms(seed: int, epoch: int, keys: NDArray[np.uint64], count: int) -> NDArray[np.float32]:
    """Random numbers [B, count] in [0, 1) that depend on (seed, epoch, key) alone.

    Args:
        keys: [B], one per image.

    Source:
        SplitMix64 (Steele, Lea and Flood 2014, OOPSLA), used as a counter-based generator.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        start = _mix(np.uint64(seed) * _GOLDEN + np.uint64(epoch + 1) * _ODD)
        state = _mix(keys ^ start)[:, None] + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        return ((_mix(state) >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)


def again(keys: NDArray[np.uint64], times: NDArray[np.int64] | None) -> NDArray[np.uint64]:
    """The keys [B] of images that came so many times before in their epoch: others each time, so
    that an image that a sampler repeats is not augmented alike."""
    if times is None or not times.any():
        return keys
    with np.errstate(over="ignore"):
        return np.where(times > 0, _mix(keys + times.astype(np.uint64) * _ODD), keys)


_GOLDEN, _ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


def _mix(z: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    z = np.asarray(z, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def on_device(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """Out of pinned memory, from which a GPU copies without making the loop wait."""
    tensor = torch.from_numpy(numbers)
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)


def augment(
    images: Tensor, keys: NDArray[np.uint64], how: Augmentation, *, seed: int, epoch: int
) -> Tensor:
    """Images [B, C, H, W] in 0..1, moved and lit anew; each by its own random numbers."""
    count = OF_SETTINGS + (OF_LAST if how.last else 0)
    draw = on_device(uniforms(seed, epoch, keys, count), images.device)
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
    return how.last(images, draw[:, OF_SETTINGS:]) if how.last else images


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
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    # what lies beyond the image is 0 to `grid_sample`, so that the fill is made to be 0
    fill = surround(images)
    return F.grid_sample(images - fill, grid, padding_mode="zeros", align_corners=False) + fill


def surround(images: Tensor) -> Tensor:
    """[B, C, 1, 1]: what each image [B, C, H, W] in 0..1 is continued with beyond its border.

    Black where two corners or more are dark, as around the disc of a fundus camera, in the tube of
    a dermatoscope, beside a neck and in padding; else the median of the outermost pixels. A mirror
    image would draw a second disc into the corners, and black corners on light skin would be
    something that only augmented images have.
    """
    count, channels, height, width = images.shape
    edge = max(1, min(height, width) // CORNER)
    strips = torch.cat([images[:, :, :edge], images[:, :, -edge:]], dim=2)
    corners = torch.stack([strips[..., :edge], strips[..., -edge:]], dim=2)
    # [B, C, side, upper and lower, pixels]; of the colours the lightest counts
    corners = corners.reshape(count, channels, 2, 2, edge * edge)
    dark = corners.mean(dim=4).amax(dim=1) <= DARK
    lines = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    # sorted, since `median` has no deterministic form on GPUs
    border = torch.cat(lines, dim=2).sort(dim=2).values
    middle = border[:, :, border.shape[2] // 2]
    black = dark.sum(dim=(1, 2)) >= 2
    return torch.where(black[:, None], 0.0, middle)[:, :, None, None]


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
