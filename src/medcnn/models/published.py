"""The fully connected layers that VGG and AlexNet were published with (fc6 and fc7).

Without `head=original` they are the end of the body. With it they are the beginning of the head
and train at its rate, with dropout. With another pooling they are left out.
"""

from __future__ import annotations

import copy
from typing import Any

from timm.models.vgg import VGG
from torch import Tensor, nn
from torch.nn import functional as F

from medcnn.models.pooling import AUTO
from medcnn.system.errors import UsageError

# Positions that fc6 sees, along each side.
VGG_POSITIONS = 7


class WholeMap(nn.Conv2d):
    """A convolution, computed as one matrix product where its kernel covers the whole map.

    timm writes fc6 of VGG as a 7x7 convolution, and enlarges a smaller map to that size. oneDNN
    takes much longer for it than for the product (`benchmarks/whole_maps.py`).
    """

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-2:]) != self.kernel_size:
            return super().forward(x)
        # in the order of channels_last, where nothing has to be copied
        rows, weight = (t.permute(0, 2, 3, 1).flatten(1) for t in (x, self.weight))
        return F.linear(rows, weight, self.bias)[..., None, None]


def multiply_whole_maps(network: nn.Module) -> None:
    """Turn fc6 of VGG into a `WholeMap` with the same tensors; other networks are left alone."""
    if isinstance(network, VGG):
        fc6: Any = network.pre_logits.fc1
        faster = WholeMap(fc6.in_channels, fc6.out_channels, fc6.kernel_size, device="meta")
        faster.weight, faster.bias = fc6.weight, fc6.bias
        network.pre_logits.fc1 = faster


def original(num_features: int, num_outputs: int, *, dropout: float = 0.5) -> nn.Sequential:
    """The fully connected layers that VGG and AlexNet were published with, the last one for these
    classes.

    The other two get their weights from the network (`hand_over`), and have none before that.
    """
    return nn.Sequential(
        nn.Linear(num_features, 4096, device="meta"),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096, device="meta"),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(4096, num_outputs),
    )


def layers_of(network: Any) -> list[Any]:
    """fc6 and fc7 of VGG or AlexNet; empty for other networks."""
    if isinstance(network, VGG):
        return [network.pre_logits.fc1, network.pre_logits.fc2]
    if type(network).__module__ == "torchvision.models.alexnet":
        return [network.classifier[1], network.classifier[4]]
    return []


def leave_out(network: Any) -> None:
    """Take fc6 and fc7 out of VGG or AlexNet, which then end in a pooling."""
    if isinstance(network, VGG):
        network.pre_logits = nn.Identity()  # type: ignore[assignment]
    elif layers_of(network):
        network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()


def positions_only(network: nn.Module, backbone: str, pooling: str) -> tuple[nn.Module, int]:
    """`network` without fc6 and what follows, and the number of features it then returns. Both
    share their tensors: what is loaded into one is in the other.

    Raises:
        UsageError: it is neither VGG nor AlexNet, or has another pooling.
    """
    if pooling != AUTO:
        raise UsageError(
            f"pooling={pooling} has no effect with head=original, whose layers use all positions. "
            "Leave pooling=auto, or choose another head."
        )
    if not layers_of(network):
        raise UsageError(
            f"head=original: only VGG and AlexNet were published with hidden fully connected "
            f"layers, and model.backbone={backbone} was not. Use head=linear or head=mlp."
        )
    tensors = [*network.parameters(), *network.buffers()]
    short: Any = copy.deepcopy(network, {id(t): t for t in tensors})
    if isinstance(network, VGG):
        short.pre_logits = nn.Identity()
        short.head.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(VGG_POSITIONS), nn.Flatten())
    else:
        short.classifier = nn.Identity()
    return short, layers_of(network)[0].weight[0].numel()


def hand_over(network: nn.Module, head: nn.Sequential) -> None:
    """Make fc6 and fc7 of `network` the first two layers of `head`, with the same tensors."""
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    for layer, own in zip(layers_of(network), linears, strict=False):
        # of a convolution over all positions, in timm's VGG
        own.weight = nn.Parameter(layer.weight.data.flatten(1))
        own.bias = layer.bias
