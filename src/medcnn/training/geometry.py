"""Moving pixels, and filling the area beyond the border of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A corner measures 1/CORNER of the shorter side. The background of fundus photographs reaches 15 to
# 25 of 255; skin in the shade of a dermatoscope begins above 40.
CORNER, DARK = 14, 0.1


def warped(images: Tensor, matrix: Tensor) -> Tensor:
    """Images [B, C, H, W] in 0..1, moved by `matrix` [B, 2, 3] as `affine_grid` defines it."""
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    # `grid_sample` fills with 0, so subtract the fill first
    fill = surround(images)
    return F.grid_sample(images - fill, grid, padding_mode="zeros", align_corners=False) + fill


def surround(images: Tensor) -> Tensor:
    """The fill [B, C, 1, 1] beyond the border of each image [B, C, H, W] in 0..1.

    Black if two or more corners are dark, as around the disc of a fundus camera, in the tube of a
    dermatoscope, next to a neck and in padding; else the median of the outermost pixels. Mirroring
    would draw a second disc into the corners, and black corners on light skin would mark augmented
    images.
    """
    count, channels, height, width = images.shape
    edge = max(1, min(height, width) // CORNER)
    strips = torch.cat([images[:, :, :edge], images[:, :, -edge:]], dim=2)
    corners = torch.stack([strips[..., :edge], strips[..., -edge:]], dim=2)
    # [B, C, side, upper and lower, pixels]; the lightest colour counts
    corners = corners.reshape(count, channels, 2, 2, edge * edge)
    dark = corners.mean(dim=4).amax(dim=1) <= DARK
    lines = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    # sorted, since `median` has no deterministic form on GPUs
    border = torch.cat(lines, dim=2).sort(dim=2).values
    middle = border[:, :, border.shape[2] // 2]
    black = dark.sum(dim=(1, 2)) >= 2
    return torch.where(black[:, None], 0.0, middle)[:, :, None, None]
