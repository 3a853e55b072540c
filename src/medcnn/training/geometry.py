"""Where pixels go, and what an image is continued with beyond its border."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A corner is one part in so many of the shorter side. The ground of fundus photographs reaches 15
# to 25 of 255, skin in the shade of a dermatoscope begins above 40.
CORNER, DARK = 14, 0.1


def warped(images: Tensor, matrix: Tensor) -> Tensor:
    """Images [B, C, H, W] in 0..1, each pixel taken from where `matrix` [B, 2, 3] says, as
    `affine_grid` reads it."""
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
