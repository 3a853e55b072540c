"""Loss of quality: blur, noise, JPEG compression and erased rectangles.

Each function takes images [B, C, H, W] in 0..1 and numbers for each image, and returns images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.training.draws import on_device
from medcnn.training.geometry import surround

# Share of an image that is erased, and the ratio of height to width (Zhong et al. 2020, AAAI,
# erase up to 0.4: more than many lesions leave).
ERASED, RATIO = (0.02, 0.2), 3.0


def blurred(images: Tensor, sigma_px: Tensor, most_px: float) -> Tensor:
    """Gaussian blur by `sigma_px` [B], all at most `most_px`."""
    radius = math.ceil(3 * most_px)
    at = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    # close enough to 0 that the weight of a neighbour vanishes
    weight = torch.exp(-0.5 * (at / sigma_px.clamp(min=0.01)[:, None]) ** 2)
    weight = (weight / weight.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], dim=0)
    flat = images.reshape(1, -1, *images.shape[2:])
    channels = flat.shape[1]
    for kernel, pad in (
        (weight[:, None, None], (radius, radius, 0, 0)),
        (weight[:, None, :, None], (0, 0, radius, radius)),
    ):
        flat = F.conv2d(F.pad(flat, pad, mode="replicate"), kernel, groups=channels)
    return flat.reshape(images.shape)


def noisy(images: Tensor, spread: Tensor, keys: NDArray[np.uint64]) -> Tensor:
    """Gaussian noise with standard deviation `spread` [B] and seeds `keys` [B]."""
    drawn = np.stack(
        [
            np.random.default_rng(int(key)).standard_normal(images.shape[1:], dtype=np.float32)
            for key in keys
        ]
    )
    noise = on_device(drawn, images.device)
    return (images + spread.view(-1, 1, 1, 1) * noise).clamp(0, 1)


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """JPEG compression at `quality` [B], 1 to 100, without chroma subsampling.

    Source:
        ITU-T T.81, annexes A and K; scaling of the tables by quality and the colour space as in
        libjpeg (tested against Pillow).
    """
    count, channels, height, width = images.shape
    planes = images * 255
    if channels == 3:
        planes = torch.einsum("ij,bjhw->bihw", planes.new_tensor(YCC), planes).round()
        planes[:, :1] -= 128
    else:
        planes = planes - 128
    planes = F.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None, None]
    tables = planes.new_tensor([LIGHT, COLOUR, COLOUR][:channels]).view(1, channels, 8, 8)
    tables = ((tables * scale + 50) / 100).floor().clamp(1, 255)[:, :, None, None]
    cosine = planes.new_tensor(COSINE)
    blocks = planes.unfold(2, 8, 8).unfold(3, 8, 8)
    blocks = (cosine @ blocks @ cosine.T / tables).round() * tables
    blocks = (cosine.T @ blocks @ cosine).transpose(3, 4)
    planes = blocks.reshape(count, channels, *planes.shape[2:])[:, :, :height, :width]
    if channels == 3:
        planes = torch.cat([planes[:, :1] + 128, planes[:, 1:]], dim=1).round()
        planes = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(planes.new_tensor(YCC)), planes)
    else:
        planes = planes + 128
    return (planes / 255).clamp(0, 1)


def erased(images: Tensor, numbers: Tensor, chance: float) -> Tensor:
    """Replace a rectangle in some images by the fill beyond their border (`surround`).

    Args:
        numbers: [B, 5], uniform in [0, 1).
        chance: share of the images.
    """
    height, width = images.shape[2:]
    lowest, highest = ERASED
    area = (lowest + (highest - lowest) * numbers[:, 1]) * height * width
    ratio = RATIO ** (2 * numbers[:, 2] - 1)
    tall = (area * ratio).sqrt().clamp(max=height)
    wide = (area / ratio).sqrt().clamp(max=width)
    inside = []
    for size, side, number in ((height, tall, 3), (width, wide, 4)):
        at = torch.arange(size, device=images.device) + 0.5
        begin = (numbers[:, number] * (size - side))[:, None]
        inside.append((at >= begin) & (at < begin + side[:, None]))
    box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(box & (numbers[:, 0] < chance).view(-1, 1, 1, 1), surround(images), images)


YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
COSINE = [
    [math.sqrt((1 if k else 0.5) / 4) * math.cos((2 * n + 1) * k * math.pi / 16) for n in range(8)]
    for k in range(8)
]
LIGHT = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
COLOUR = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
