"""Low-rank adaptation: the body stays as it is, and each of its weights W becomes W + s B A, where
only A and B learn (Hu et al. 2022, ICLR; for convolutions over the flattened kernel, as in LoHa's
paper, Hyeon-Woo et al. 2022, ICLR). Once merged, the network has its old shapes and names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from medcnn.models.auxiliary import PREFIX
from medcnn.models.pooling import of_pooling

PLAIN, STORED = ".weight", ".parametrizations.weight."


class LowRank(nn.Module):
    """W [out, ...] -> W + scale * (B A), with B = 0 at first, so that the start changes nothing."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        out, into = weight.shape[0], weight[0].numel()
        rank = min(rank, out, into)
        self.scale = alpha / rank
        self.down = nn.Parameter(weight.new_empty(rank, into))
        self.up = nn.Parameter(weight.new_zeros(out, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def adapt(body: nn.Module, *, rank: int, alpha: float) -> None:
    """Give every convolution and linear layer of `body` its A and B. Depthwise and other grouped
    convolutions are left out: their rows are too short for a rank to save anything. So is a
    pooling, which learns in full."""
    for name, module in list(body.named_modules()):
        if of_pooling(name):
            continue
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            low_rank = LowRank(module.weight, rank, alpha)
            parametrize.register_parametrization(module, "weight", low_rank)


def factors(module: nn.Module) -> list[str]:
    """Names of all A and B below `module`."""
    return [
        f"{name}.{part}"
        for name, own in module.named_modules()
        if isinstance(own, LowRank)
        for part in ("down", "up")
    ]


def merged(module: nn.Module) -> dict[str, Tensor]:
    """The state of `module` under the names it has without A and B."""
    if not factors(module):
        return module.state_dict()
    modules, state = dict(module.named_modules()), {}
    for name, value in module.state_dict().items():
        owner, found, rest = name.partition(STORED)
        if not found:
            state[name] = value
        elif rest == "original":
            with torch.no_grad():
                state[owner + PLAIN] = modules[owner].weight.detach()
    return state


def unmerged(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under the names that `module` has with A and B. These, and auxiliary heads, are then
    as at the start."""
    own = module.state_dict()
    for name in own:
        owner, found, rest = name.partition(STORED)
        if not found:
            own[name] = own[name] if name.startswith(PREFIX) else state[name]
        elif rest == "original":
            own[name] = state[owner + PLAIN]
        elif rest.endswith("up"):
            own[name] = torch.zeros_like(own[name])
    return own
