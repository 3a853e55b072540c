"""The filters of a network's first layer, beside well-known kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ORIENTATIONS = 8


@dataclass(frozen=True, slots=True)
class Match:
    """Attributes:
    kernel: [C, H, W] of the network.
    known: [H, W], the most similar known kernel, with the sign that fits.
    name: of the known kernel.
    correlation: between the two, from 0 to 1.
    """

    kernel: Tensor
    known: Tensor
    name: str
    correlation: float


def first_conv(network: nn.Module) -> nn.Conv2d | None:
    """The first convolution with a window of at least 3x3."""
    convs = (m for m in network.modules() if isinstance(m, nn.Conv2d))
    return next((m for m in convs if min(m.kernel_size) >= 3), None)


def matches(conv: nn.Conv2d) -> list[Match]:
    """For each filter, the known kernel of its size with the largest absolute correlation.

    Colours are averaged first: known kernels have none.
    """
    known = dict(kernels(conv.kernel_size[0]))
    names, bank = [*known], torch.stack([_standard(k) for k in known.values()])
    found = []
    for kernel in conv.weight.detach().float().cpu():
        own = _standard(kernel.mean(0))
        fits = bank.flatten(1) @ own.flatten()
        best = int(fits.abs().argmax())
        sign = math.copysign(1, float(fits[best]))
        match = Match(kernel, sign * bank[best], names[best], abs(float(fits[best])))
        found.append(match)
    return found


def kernels(side: int) -> Iterator[tuple[str, Tensor]]:
    """Sobel, Laplacian, blur and Gabor kernels [side, side] by name. At sizes other than 3x3, Sobel
    is the first derivative of a Gaussian and the Laplacian the sum of its second derivatives; the
    3x3 kernels are their smallest approximations.

    Source:
        Sobel and Feldman 1968; Marr and Hildreth 1980, Proc. R. Soc. Lond. B 207; Daugman 1985,
        J. Opt. Soc. Am. A 2(7).
    """
    at = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    down, right = torch.meshgrid(at, at, indexing="ij")
    sigma = side / 5
    bell = torch.exp(-(down**2 + right**2) / (2 * sigma**2))
    yield "blur", bell
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    yield "Sobel 0°", smooth[:, None] * slope if side == 3 else right * bell
    yield "Sobel 90°", slope[:, None] * smooth if side == 3 else down * bell
    hat = (down**2 + right**2 - 2 * sigma**2) * bell
    cross = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
    yield "Laplacian", cross if side == 3 else hat
    for n in range(ORIENTATIONS):
        turned = math.pi * n / ORIENTATIONS
        along = right * math.cos(turned) + down * math.sin(turned)
        for wave in (side / 2, side):
            for phase, name in ((0.0, "even"), (math.pi / 2, "odd")):
                gabor = bell * torch.cos(2 * math.pi * along / wave + phase)
                yield f"Gabor {180 * n / ORIENTATIONS:g}°, {name}, wave {wave:.3g} px", gabor


def _standard(kernel: Tensor) -> Tensor:
    """The kernel without its mean, scaled to length 1; a constant one becomes 0."""
    centred = kernel - kernel.mean()
    return centred / max(float(centred.norm()), 1e-12)
