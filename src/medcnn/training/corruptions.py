"""Images as a worse camera, file or hand would have made them, in grades that only get worse.

Each function takes images [B, C, H, W] in 0..1, the amount of each grade and random numbers, and
yields the images of each grade. All grades of an image have the same random numbers. The kinds are
those of MedMNIST-C (`corruption_grades`), in turn of Hendrycks and Dietterich 2019, ICLR.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.training.corruption_grades import PUBLISHED_PX, TITLES
from medcnn.training.draws import mixed_keys, on_device, uniforms
from medcnn.training.geometry import warped
from medcnn.training.quality import blurred, compressed

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
FINER = 4
"""Characters of 3 px are drawn this many times larger."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Random numbers of one kind for each image: a function of (seed, kind, image).

    Attributes:
        keys: [B] of the images.
        number: of the kind.
    """

    seed: int
    number: int
    keys: NDArray[np.uint64]

    def uniform(self, count: int) -> NDArray[np.float32]:
        """[B, count] in [0, 1)."""
        return uniforms(self.seed, self.number, self.keys, count)

    def streams(self) -> list[np.random.Generator]:
        """One for each image, at its beginning."""
        keys = mixed_keys(self.seed, self.number, self.keys)
        return [np.random.default_rng(int(key)) for key in keys]

    def each(self, of: Callable[[np.random.Generator, int], Any], device: torch.device) -> Tensor:
        """[B, ...] float32: what `of` draws for each image, by its position."""
        drawn = [of(stream, at) for at, stream in enumerate(self.streams())]
        return on_device(np.stack(drawn).astype(np.float32, copy=False), device)


Corruption = Callable[[Tensor, Sequence[Any], Draws], Iterator[Tensor]]


def corrupted(
    kind: str, images: Tensor, amounts: Sequence[Any], keys: NDArray[np.uint64], seed: int
) -> Iterator[Tensor]:
    """The images [B, C, H, W] of each grade, in 0..1.

    Args:
        kind: key of CORRUPTIONS.
        keys: [B] of the images, from `batches.image_keys`.
    """
    draws = Draws(seed, list(TITLES).index(kind), keys)
    for worse in CORRUPTIONS[kind](images, amounts, draws):
        yield worse.clamp(0, 1)


def _scale(images: Tensor) -> float:
    """Pixels here for one pixel of the published size."""
    return min(images.shape[2:]) / PUBLISHED_PX


def pixelate(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    size = images.shape[2:]
    for share in amounts:
        small = [max(1, int(side * share)) for side in size]
        yield F.interpolate(F.interpolate(images, small, mode="area"), size, mode="nearest-exact")


def jpeg_compression(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    for quality in amounts:
        yield compressed(images, images.new_full((len(images),), quality))


def _normal(images: Tensor, draws: Draws) -> Tensor:
    shape = images.shape[1:]
    return draws.each(lambda s, _: s.standard_normal(shape, dtype=np.float32), images.device)


def gaussian_noise(images: Tensor, amounts: Sequence[float], draws: Draws) -> Iterator[Tensor]:
    noise = _normal(images, draws)
    for spread in amounts:
        yield images + spread * noise


def speckle_noise(images: Tensor, amounts: Sequence[float], draws: Draws) -> Iterator[Tensor]:
    noise = _normal(images, draws)
    for spread in amounts:
        yield images * (1 + spread * noise)


def impulse_noise(images: Tensor, amounts: Sequence[float], draws: Draws) -> Iterator[Tensor]:
    shape = (2, *images.shape[1:])
    drawn = draws.each(lambda s, _: s.random(shape, dtype=np.float32), images.device)
    salt = (drawn[:, 1] < 0.5).to(images.dtype)
    for share in amounts:
        yield torch.where(drawn[:, 0] < share, salt, images)


def shot_noise(images: Tensor, amounts: Sequence[float], draws: Draws) -> Iterator[Tensor]:
    light = images.cpu().numpy().astype(np.float64)
    for photons in amounts:
        yield draws.each(partial(_counted, light * photons), images.device) / photons


def _counted(expected: NDArray[np.float64], stream: np.random.Generator, at: int) -> Any:
    return stream.poisson(expected[at])


def gaussian_blur(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    for sigma in amounts:
        wide = sigma * _scale(images)
        yield blurred(images, images.new_full((len(images),), wide), wide)


def defocus_blur(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    """A disc of light for each point, with an edge one pixel wide."""
    for radius in amounts:
        reach = math.ceil(radius * _scale(images))
        at = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        far = (at[:, None] ** 2 + at**2).sqrt()
        disc = (radius * _scale(images) + 0.5 - far).clamp(0, 1)
        yield _convolved(images, disc[None])


def motion_blur(
    images: Tensor, amounts: Sequence[tuple[float, float]], draws: Draws
) -> Iterator[Tensor]:
    """A trail that fades as half a Gaussian, at an angle of up to 45 degrees to either side, as in
    ImageMagick's `-motion-blur`."""
    angle = torch.from_numpy((draws.uniform(1)[:, 0] - 0.5) * math.pi / 2)
    for radius, sigma in amounts:
        reach = math.ceil(2 * radius * _scale(images))
        step = torch.arange(reach + 1, dtype=torch.float32)
        weight = torch.exp(-0.5 * (step / max(0.3, sigma * _scale(images))) ** 2)
        trail = torch.zeros(len(images), 2 * reach + 1, 2 * reach + 1)
        across, down = angle.cos()[:, None] * step + reach, angle.sin()[:, None] * step + reach
        which = torch.arange(len(images))[:, None].expand(-1, reach + 1)
        for right in (0, 1):
            for below in (0, 1):  # each point of the trail shared among its four pixels
                x, y = across.floor() + right, down.floor() + below
                share = (1 - (across - x).abs()) * (1 - (down - y).abs()) * weight
                x, y = x.clamp(max=2 * reach).long(), y.clamp(max=2 * reach).long()
                trail.index_put_((which, y, x), share, accumulate=True)
        yield _convolved(images, trail.to(images.device))


def zoom_blur(images: Tensor, amounts: Sequence[tuple[float, float]], _: Draws) -> Iterator[Tensor]:
    for most, step in amounts:
        zooms = 1 + step * torch.arange(round((most - 1) / step) + 1, dtype=torch.float32)
        total = images.clone()
        for zoom in zooms.tolist():
            matrix = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]], device=images.device)
            total += warped(images, matrix.expand(len(images), -1, -1))
        yield total / (len(zooms) + 1)


def brightness(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    for factor in amounts:
        yield images * factor


def contrast(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    """The distance from the mean grey of the image."""
    weight = images.new_tensor(LUMA if images.shape[1] == 3 else (1.0,))
    mean = (images.mean(dim=(2, 3)) @ weight).view(-1, 1, 1, 1)
    for factor in amounts:
        yield mean + (images - mean) * factor


def gamma(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    for exponent in amounts:
        yield images**exponent


def black_corner(images: Tensor, amounts: Sequence[float], _: Draws) -> Iterator[Tensor]:
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device) - height // 2
    x = torch.arange(width, device=images.device) - width // 2
    far = (y[:, None] ** 2 + x**2).sqrt()
    for times in amounts:
        yield images * (far <= times * min(height, width) / 2)


def characters(
    images: Tensor, amounts: Sequence[tuple[int, int, float]], draws: Draws
) -> Iterator[Tensor]:
    """A few words in letters 3 px high at the published size, anywhere and in any colour."""
    for words, letters, scale in amounts:
        inks, masks = zip(
            *(_written(stream, words, letters, scale) for stream in draws.streams()), strict=True
        )
        written = images
        for layer in range(words):
            ink = on_device(np.stack([i[layer] for i in inks]), images.device)[:, :, None, None]
            ink = ink if images.shape[1] == 3 else ink.mean(1, keepdim=True)
            mask = on_device(np.stack([m[layer] for m in masks]), images.device)[:, None]
            mask = F.interpolate(mask, images.shape[2:], mode="bilinear", antialias=True)
            written = written + mask * (ink - written)
        yield written


def _written(
    stream: np.random.Generator, words: int, letters: int, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The colour [words, 3] of each word, and where it is [words, side, side]; absent ones are
    blank."""
    from PIL import Image, ImageDraw, ImageFont

    side = FINER * PUBLISHED_PX
    inks = stream.random((words, 3), dtype=np.float32)
    masks = np.zeros((words, side, side), dtype=np.float32)
    for at in range(int(stream.integers(1, words + 1))):
        length = int(stream.integers(3, letters + 1))
        word = "".join(stream.choice(list(string.ascii_lowercase), length))
        # capitals of the published font have 21 px at scale 1, those of this one 0.7 of its size
        font = ImageFont.load_default(size=FINER * 21 / 0.7 * stream.uniform(0.14, scale + 1e-9))
        x = FINER * stream.integers(10, PUBLISHED_PX - 8 * length + 1)
        y = FINER * stream.integers(10, PUBLISHED_PX - 10 + 1)
        page = Image.new("L", (side, side))
        ImageDraw.Draw(page).text((int(x), int(y)), word, fill=255, font=font, anchor="ls")
        masks[at] = np.asarray(page, dtype=np.float32) / 255
    return inks, masks


def translation(images: Tensor, amounts: Sequence[float], draws: Draws) -> Iterator[Tensor]:
    """To one of four sides, by whole pixels and at least one, so that nothing is interpolated."""
    way = torch.from_numpy((4 * draws.uniform(1)[:, 0]).astype(np.int64))
    for percent in amounts:
        matrix = torch.eye(2, 3).repeat(len(images), 1, 1)
        for row, side in enumerate(images.shape[:1:-1]):
            step = 2 * max(1, round(percent / 100 * side)) / side
            matrix[:, row, 2] = step * (2 * (way % 2) - 1) * (way // 2 == row)
        yield warped(images, matrix.to(images.device))


def rotation(images: Tensor, amounts: Sequence[float], draws: Draws) -> Iterator[Tensor]:
    """To either side."""
    side = torch.from_numpy(np.where(draws.uniform(1)[:, 0] < 0.5, -1.0, 1.0).astype(np.float32))
    aspect = images.shape[2] / images.shape[3]
    for degrees in amounts:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)) * side
        matrix = torch.zeros(len(images), 2, 3)
        matrix[:, 0, 0] = matrix[:, 1, 1] = cosine
        matrix[:, 0, 1], matrix[:, 1, 0] = -sine * aspect, sine / aspect
        yield warped(images, matrix.to(images.device))


def _convolved(images: Tensor, kernels: Tensor) -> Tensor:
    """Each image with its kernel [B or 1, k, k], k odd, whose weights are made to sum to 1; the
    border is repeated. By FFT, since a trail may be 80 px long."""
    kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True)
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    size = padded.shape[2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels, s=size)[:, None]
    found: Tensor = torch.fft.irfft2(spectrum, s=size)
    return found[:, :, 2 * reach :, 2 * reach :]


CORRUPTIONS: dict[str, Corruption] = {
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "gaussian_noise": gaussian_noise,
    "speckle_noise": speckle_noise,
    "impulse_noise": impulse_noise,
    "shot_noise": shot_noise,
    "defocus_blur": defocus_blur,
    "gaussian_blur": gaussian_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "brightness_up": brightness,
    "brightness_down": brightness,
    "contrast_up": contrast,
    "contrast_down": contrast,
    "gamma_corr_up": gamma,
    "gamma_corr_down": gamma,
    "black_corner": black_corner,
    "characters": characters,
    "translation": translation,
    "rotation": rotation,
}
