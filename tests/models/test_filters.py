"""A filter is matched with the known kernel that it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medcnn.models.filters import first_conv, kernels, matches


@pytest.mark.parametrize("side", [3, 7, 11])
def test_a_known_kernel_is_found_with_its_sign_and_whatever_its_scale(side: int) -> None:
    known = dict(kernels(side))
    conv = nn.Conv2d(3, len(known), side)
    with torch.no_grad():
        for row, kernel in enumerate(known.values()):
            conv.weight[row] = -0.3 * kernel + 0.2
    for match, (name, kernel) in zip(matches(conv), known.items(), strict=True):
        assert match.correlation == pytest.approx(1, abs=1e-4)
        fits = torch.corrcoef(torch.stack([match.known.flatten(), kernel.flatten()]))[0, 1]
        assert float(fits) == pytest.approx(-1, abs=1e-3), name


def test_sobel_and_laplacian_of_3x3_are_the_written_ones() -> None:
    known = dict(kernels(3))
    assert known["Sobel 0°"].tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert known["Laplacian"].tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def test_a_constant_filter_is_like_none() -> None:
    conv = nn.Conv2d(1, 1, 3)
    nn.init.constant_(conv.weight, 0.5)
    assert matches(conv)[0].correlation < 1e-6


def test_the_first_window_is_found_behind_a_1x1() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 5))
    assert first_conv(network) is network[1]
    assert first_conv(nn.Linear(2, 2)) is None
