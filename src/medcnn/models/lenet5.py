"""LeNet-5 as described in its paper (LeCun, Bottou, Bengio and Haffner 1998, Proc. IEEE 86(11),
section II.B), for 32x32 pixels; larger images are averaged over positions before F6."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Table I of the paper: which of the six maps of S2 each of the sixteen maps of C3 looks at.
CONNECTIONS = (
    *("012", "123", "234", "345", "045", "015"),
    *("0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245", "0235"),
    "012345",
)


class ScaledTanh(nn.Module):
    """A = 1.7159, S = 2/3, so that f(1) = 1 (appendix A of the paper)."""

    def forward(self, signal: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(signal * (2 / 3))


class Subsampling(nn.Module):
    """2x2 mean, times a coefficient, plus a bias; both are trained, a pair per map (S2 and S4)."""

    def __init__(self, num_maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.ones(num_maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(num_maps, 1, 1))
        self.mean = nn.AvgPool2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.as_tensor(self.mean(maps) * self.coefficient + self.bias)


class PartialConv(nn.Conv2d):
    """C3: a 5x5 convolution in which each map sees only some of the maps below."""

    connected: Tensor

    def __init__(self) -> None:
        super().__init__(6, 16, 5)
        mask = torch.zeros(16, 6, 1, 1)
        for row, seen in enumerate(CONNECTIONS):
            mask[row, [int(s) for s in seen]] = 1
        self.register_buffer("connected", mask, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        connected = self.weight * self.connected
        return torch.as_tensor(self._conv_forward(maps, connected, self.bias))


def lenet5(in_channels: int) -> nn.Sequential:
    """The layers up to F6, which has 84 units: images [B, C, H, W] -> features [B, 84]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5),  # C1
        ScaledTanh(),
        Subsampling(6),  # S2
        ScaledTanh(),
        PartialConv(),  # C3
        ScaledTanh(),
        Subsampling(16),  # S4
        ScaledTanh(),
        nn.Conv2d(16, 120, 5),  # C5
        ScaledTanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(120, 84),  # F6
        ScaledTanh(),
    )
