"""Poolings: maps [B, C, H, W] -> features [B, C], by name in POOLINGS, and where a network pools.

`auto` is the network's own pooling. A pooling that learns is part of the body, but trains with the
head, since pretrained weights do not include it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import Tensor, nn

from medcnn.system.errors import UsageError
from medcnn.system.registry import Table

AUTO = "auto"
POSITIONS = (2, 3)
# In the names of all parameters of a pooling; timm has no such name.
MARK = ".pooling."


class Average(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(POSITIONS)


class Maximum(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax(POSITIONS)  # adaptive_max_pool2d is not deterministic on GPUs


class GeneralisedMean(nn.Module):
    """In logarithms: the power of a large activation would overflow."""

    # Negative activations become this, as in the authors' code.
    LEAST = 1e-6

    def __init__(self, power: float) -> None:
        super().__init__()
        self.log_power = nn.Parameter(torch.tensor(math.log(power)))

    def forward(self, maps: Tensor) -> Tensor:
        power = self.log_power.exp()
        log_sum = (maps.clamp_min(self.LEAST).log() * power).logsumexp(POSITIONS)
        return ((log_sum - math.log(maps[0, 0].numel())) / power).exp()


class LogMeanExp(nn.Module):
    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, maps: Tensor) -> Tensor:
        log_sum = (maps * self.sharpness).logsumexp(POSITIONS)
        return (log_sum - math.log(maps[0, 0].numel())) / self.sharpness


class GatedAttention(nn.Module):
    """Every position has a weight, softmax of w (tanh(V h) * sigmoid(U h)). With w = 0 at the start
    all weights are equal, so that a pretrained network starts as it was trained."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.content = nn.Linear(channels, hidden)
        self.gate = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def weights(self, maps: Tensor) -> Tensor:
        """[B, H * W], which sum to 1."""
        places = maps.flatten(2).transpose(1, 2)
        seen = torch.tanh(self.content(places)) * torch.sigmoid(self.gate(places))
        return torch.softmax(self.score(seen).squeeze(2), dim=1)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.einsum("bcp,bp->bc", maps.flatten(2), self.weights(maps))


def avg(channels: int) -> nn.Module:
    """The mean over all positions."""
    return Average()


def maximum(channels: int) -> nn.Module:
    """The largest value over all positions, for each feature separately."""
    return Maximum()


def gem(channels: int, *, power: float = 3.0) -> nn.Module:
    """Generalised mean, mean(x^p)^(1/p); p is learned, from `power` on: 1 is the mean, a large p
    is close to the maximum. Negative activations count as 0 (Radenovic et al. 2019, TPAMI)."""
    return GeneralisedMean(power)


def lse(channels: int, *, sharpness: float = 10.0) -> nn.Module:
    """Log-mean-exp, log(mean(exp(s x))) / s: a small s is close to the mean, a large one to the
    maximum (Pinheiro and Collobert 2015, CVPR; s = 10 in Wang et al. 2017, CVPR)."""
    return LogMeanExp(sharpness)


def attention(channels: int, *, hidden: int = 128) -> nn.Module:
    """A mean over positions with learned weights, from gated attention with `hidden` units (Ilse et
    al. 2018, ICML); it starts as the plain mean."""
    return GatedAttention(channels, hidden)


POOLINGS = Table(
    "pooling",
    {"attention": attention, "avg": avg, "gem": gem, "lse": lse, "max": maximum},
    group="poolings",
    kind=Callable,  # type: ignore[arg-type]
    function=lambda make: make,
    limits={"power": (0.1, 100.0), "sharpness": (1e-3, 1e3), "hidden": (1, 65_536)},
    also=lambda: (AUTO,),
)


def full_precision(of: Tensor) -> AbstractContextManager[Any]:
    """Without autocast, which tensors without content (on the meta device) do not have."""
    return nullcontext() if of.is_meta else torch.autocast(of.device.type, enabled=False)


class Pool(nn.Module):
    """Takes the place of a network's own pooling. It computes in float32, whatever comes in.

    Args:
        last: whether the channels of the maps come last, as in Swin.
        flat: whether features go out as [B, C]; else with positions, all of size 1.
    """

    def __init__(self, pooling: nn.Module, *, last: bool, flat: bool) -> None:
        super().__init__()
        self.pooling, self.last, self.flat = pooling, last, flat

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps.movedim(-1, 1) if self.last else maps
        with full_precision(maps):
            features: Tensor = self.pooling(maps.float())
        if self.flat:
            return features
        return features[:, None, None, :] if self.last else features[:, :, None, None]


def repool(
    network: nn.Module,
    backbone: str,
    pooling: str,
    make: Callable[[int], nn.Module],
    images: Tensor,
) -> None:
    """Give `network` another pooling in place of its own.

    Args:
        make: number of channels -> the pooling called `pooling`.
        images: images of the right size; their content does not matter.

    Raises:
        UsageError: it does not pool a map in exactly one place, or the map has only one position.
    """
    places = _places(network)
    if len(places) != 1:
        own = isinstance(getattr(network, "global_pool", None), str)
        raise UsageError(
            f"pooling={pooling} needs a network that pools a map of positions in one place, and "
            f"model.backbone={backbone} has {len(places) or 'no'} such places. Leave pooling=auto"
            + (", or choose one of its own: model.options.global_pool=avg." if own else ".")
        )
    place, seen = network.get_submodule(places[0]), list[tuple[torch.Size, torch.Size]]()

    def look(_: nn.Module, given: tuple[Tensor, ...], features: Tensor) -> None:
        seen.append((given[0].shape, features.shape))

    handle = place.register_forward_hook(look)
    try:
        with torch.no_grad():
            network.eval()(images)
    except Exception:  # `_num_features` says what is wrong
        return
    finally:
        handle.remove()
    maps, features = seen[0]
    channels = features.numel()
    if maps.numel() == channels:
        raise UsageError(
            f"pooling={pooling} needs more than one position, and model.backbone={backbone} has "
            f"one at data.size_px={images.shape[-1]}. Set a larger data.size_px, or leave "
            "pooling=auto."
        )
    pool = Pool(make(channels), last=maps[1] != channels, flat=len(features) == 2)
    network.set_submodule(places[0], pool)


def _places(network: nn.Module) -> list[str]:
    """Names of the modules that pool all positions into one."""
    named = dict(network.named_modules())
    own = [n for n, m in named.items() if isinstance(m, SelectAdaptivePool2d) and m.pool_type]
    return own or [
        name
        for name, module in named.items()
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
    ]


def of_pooling(name: str) -> bool:
    """Whether this is the name of something that a pooling learns."""
    return MARK in f".{name}."
