"""Auxiliary classifiers of GoogLeNet and Inception-v3: heads on maps from the middle of the body.
Their losses are added to that of the main head, and they are not in the checkpoint.

Source: Szegedy et al. 2015, CVPR, section 5 (weight 0.3), with one convolution and BatchNorm as in
torchvision; Szegedy et al. 2016, CVPR, section 4, with weight 0.4 as in torchvision's training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from medcnn.system.errors import UsageError

# How the names of their weights in a classifier begin.
PREFIX = "auxiliary."


class Fifths(nn.Module):
    """As published if the map is large enough (299 px), else the mean over 5x5 parts of it."""

    def forward(self, maps: Tensor) -> Tensor:
        if min(maps.shape[2:]) >= 17:
            return F.avg_pool2d(maps, 5, stride=3)
        return F.adaptive_avg_pool2d(maps, 5)


def _of_googlenet(channels: int, num_outputs: int) -> nn.Module:
    from torchvision.models.googlenet import InceptionAux

    made: nn.Module = InceptionAux(channels, num_outputs)
    return made


def _of_inception_v3(channels: int, num_outputs: int) -> nn.Module:
    from timm.models.inception_v3 import InceptionAux

    made: Any = InceptionAux(channels, num_outputs)
    last = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), made.fc)
    return nn.Sequential(Fifths(), made.conv0, made.conv1, *last)


@dataclass(frozen=True, slots=True)
class Branch:
    """Where a head branches off the body, what it sees, and how much its loss counts."""

    module: str
    channels: int
    weight: float
    make: Callable[[int, int], nn.Module]


BRANCHES = {
    "googlenet": (
        Branch("inception4a", 512, 0.3, _of_googlenet),
        Branch("inception4d", 528, 0.3, _of_googlenet),
    ),
    "inception_v3": (Branch("Mixed_6e", 768, 0.4, _of_inception_v3),),
}


class Auxiliary(nn.Module):
    """The heads of one body; `forward` uses the maps of its last forward pass."""

    def __init__(self, body: nn.Module, backbone: str, num_outputs: int) -> None:
        """Raises UsageError if `backbone` was not published with auxiliary classifiers."""
        super().__init__()
        branches = BRANCHES.get(backbone.partition(".")[0], ())
        if not branches:
            raise UsageError(
                f"model.auxiliary=true: model.backbone={backbone} was published without auxiliary "
                f"classifiers. Leave model.auxiliary=false, or choose {' or '.join(BRANCHES)}."
            )
        self.weights = [branch.weight for branch in branches]
        self.heads = nn.ModuleList(b.make(b.channels, num_outputs) for b in branches)
        self.maps: dict[str, Tensor] = {}
        for branch in branches:
            keep = partial(self._keep, branch.module)
            body.get_submodule(branch.module).register_forward_hook(keep)

    def _keep(self, name: str, _module: nn.Module, _given: Any, maps: Tensor) -> None:
        if self.training:
            self.maps[name] = maps

    def forward(self) -> list[tuple[float, Tensor]]:
        """The weight of each loss, and the logits [B, K] that it is computed from."""
        maps, self.maps = list(self.maps.values()), {}
        heads = zip(self.weights, self.heads, maps, strict=True)
        return [(weight, head(seen)) for weight, head, seen in heads]
