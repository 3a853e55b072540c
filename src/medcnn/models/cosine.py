"""A head that uses only directions: the lengths of features and of weight rows do not matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CosineLinear(nn.Linear):
    """Scaled cosines of features and the rows of the weights, plus a bias."""

    # Shorter vectors are left as they are: the direction of 0 has no gradient.
    SHORTEST = 1e-3

    def __init__(self, num_features: int, num_outputs: int, scale: float) -> None:
        super().__init__(num_features, num_outputs)
        nn.init.zeros_(self.bias)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        directions = (F.normalize(v, eps=self.SHORTEST) for v in (features, self.weight))
        return self.scale * F.linear(*directions) + self.bias


def cosine(
    num_features: int, num_outputs: int, *, scale: float = 16.0, dropout: float = 0.0
) -> nn.Sequential:
    """Cosines between features and one direction per class, times a learned factor that starts at
    `scale`: no class is preferred for longer weights (Gidaris and Komodakis 2018, CVPR)."""
    return nn.Sequential(nn.Dropout(dropout), CosineLinear(num_features, num_outputs, scale))
