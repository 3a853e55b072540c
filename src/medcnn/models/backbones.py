"""Bodies by name: any timm network, and the classics that timm lacks. One contract for all:
images [B, C, H, W], normalised -> features [B, F]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import timm
import timm.models
import torch
from timm.layers.blur_pool import BlurPool2d
from timm.layers.drop import DropPath
from torch import Tensor, nn

from medcnn.models.backbone_names import backbone_names
from medcnn.models.lenet5 import lenet5
from medcnn.models.pooling import AUTO, POOLINGS, repool
from medcnn.models.published import leave_out, multiply_whole_maps
from medcnn.system.errors import UsageError
from medcnn.system.registry import Table

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# `model.options.aa_layer`: what is applied before a stride (Zhang 2019, ICML)
ANTI_ALIASING = {"blur": BlurPool2d, "avg": nn.AvgPool2d}


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per channel, of images in 0..1; one entry if images have one channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> Normalisation:
        if channels == 1 and len(mean) > 1:
            return cls((sum(mean) / len(mean),), (sum(std) / len(std),))
        if channels > 1 and len(mean) == 1:
            return cls(tuple(mean) * channels, tuple(std) * channels)
        return cls(tuple(mean), tuple(std))


@dataclass(frozen=True, slots=True)
class Body:
    """A network without its classifier.

    Attributes:
        num_features: F, found by a forward pass at `data.size_px`.
        download: where pretrained weights come from (URL or `hf-hub:` id), or None.
        size_px: height and width of the images that it was built for.
        trained_px: side of the images that its pretrained weights were trained on; 0 if unknown.
        options: those that it was built with.
    """

    network: nn.Module
    num_features: int
    normalisation: Normalisation
    download: str | None
    size_px: int = 0
    trained_px: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


def _alexnet(in_channels: int) -> nn.Module:
    from torchvision.models import alexnet

    network: Any = alexnet(weights=None)
    network.classifier[-1] = nn.Identity()
    network.features[0] = _first_conv(network.features[0], in_channels)
    return cast(nn.Module, network)


def _googlenet(in_channels: int) -> nn.Module:
    from torchvision.models import googlenet

    network: Any = googlenet(weights=None, aux_logits=False, init_weights=True)
    network.fc = nn.Identity()
    network.conv1.conv = _first_conv(network.conv1.conv, in_channels)
    return cast(nn.Module, network)


def _first_conv(conv: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    if conv.in_channels == in_channels:
        return conv
    return nn.Conv2d(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )


@dataclass(frozen=True, slots=True)
class Backbone:
    """A row of BACKBONES.

    Attributes:
        build: number of channels -> a network that returns features [B, F]; its options are those
            of `model.options`.
        mean: per channel, subtracted from images in 0..1.
        std: per channel, by which the difference is divided.
        download: URL of pretrained weights, or None.
    """

    build: Callable[..., nn.Module]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    download: str | None = None


MOST_PX = 1024
_HALF = (0.5, 0.5, 0.5)
# Arguments of timm.create_model that name a file or an address.
_SOURCES = {
    *("checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"),
    *("scriptable", "exportable", "no_jit"),
}
BACKBONES = Table(
    "backbone",
    {
        "alexnet": Backbone(
            _alexnet,
            IMAGENET_MEAN,
            IMAGENET_STD,
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        ),
        # torchvision's weights came from TensorFlow and expect inputs in -1..1
        "googlenet": Backbone(
            _googlenet, _HALF, _HALF, "https://download.pytorch.org/models/googlenet-1378be20.pth"
        ),
        "lenet5": Backbone(lenet5, _HALF, _HALF),
    },
    group="backbones",
    kind=Backbone,
    function=lambda row: row.build,
    also=backbone_names,
)


def build_body(
    name: str,
    *,
    channels: int,
    size_px: int,
    options: Mapping[str, Any] | None = None,
    pooling: str = AUTO,
    pooling_options: Mapping[str, Any] | None = None,
) -> Body:
    """The body `name` with fresh weights.

    Args:
        options: keyword arguments for the timm network (`drop_path_rate`, ...).
        pooling: a name in POOLINGS, or `auto`: the network's own.

    Raises:
        UsageError: unknown name or option, or images that are too small for the network.
    """
    given, options = dict(options or {}), dict(options or {})
    depth = options.get("drop_path_rate")
    network: Any
    trained_px = 0
    if name in BACKBONES:
        row = BACKBONES[name]
        if depth is not None and "drop_path_rate" not in BACKBONES.options(name):
            raise _no_stochastic_depth(name)
        network = BACKBONES.bind(name, options)(channels)
        mean, std, download = row.mean, row.std, row.download
    else:
        network = _of_timm(name, channels, size_px, options)
        multiply_whole_maps(network)
        source = network.pretrained_cfg
        height, width = tuple(source.get("input_size") or (3, 0, 1))[1:]
        trained_px = height if height == width else 0
        mean, std = source.get("mean", IMAGENET_MEAN), source.get("std", IMAGENET_STD)
        download = source_of(name)
    if depth and not any(isinstance(m, DropPath) and m.drop_prob for m in network.modules()):
        raise _no_stochastic_depth(name)
    if pooling != AUTO:
        make = POOLINGS.bind(pooling, pooling_options or {})
        leave_out(network)
        repool(network, name, pooling, make, torch.zeros(1, channels, size_px, size_px))
    return Body(
        network,
        _num_features(network, name, channels, size_px, trained_px),
        Normalisation.of(tuple(mean), tuple(std), channels),
        download,
        size_px=size_px,
        trained_px=trained_px,
        options=given,
    )


def with_drop_path(options: Mapping[str, Any], rate: float | None) -> dict[str, Any]:
    """`model.options` including `model.drop_path`, under timm's name for it."""
    if rate is None:
        return dict(options)
    if "drop_path_rate" in options:
        raise UsageError(
            "model.drop_path and model.options.drop_path_rate are the same setting: give only one."
        )
    return {**options, "drop_path_rate": rate}


def _no_stochastic_depth(name: str) -> UsageError:
    return UsageError(
        f"model.drop_path: model.backbone={name} has no blocks that can be left out (stochastic "
        "depth). Leave model.drop_path=null, or choose a ResNet, EfficientNet, ConvNeXt or ViT."
    )


def _of_timm(name: str, channels: int, size_px: int, options: dict[str, Any]) -> Any:
    _refuse_foreign_source(name, options)
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if known is not None and known.fixed_input_size:
        options.setdefault("img_size", size_px)
    wanted = options.get("aa_layer")
    if isinstance(wanted, str):  # only some networks of timm accept layers by name
        options = {**options, "aa_layer": ANTI_ALIASING.get(wanted, wanted)}
    try:
        return timm.create_model(
            name, pretrained=False, num_classes=0, in_chans=channels, **options
        )
    except Exception as error:  # a value that makes no sense may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "'drop_path_rate'" in reason:
            raise _no_stochastic_depth(name) from error
        raise UsageError(
            f"model.backbone={name} with model.options={options} cannot be built: {reason}"
        ) from error


def source_of(name: str) -> str | None:
    """Where pretrained weights of a backbone come from: a URL, a `hf-hub:` id, or None."""
    if name in BACKBONES:
        return BACKBONES[name].download
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None:
        return None
    return f"hf-hub:{known.hf_hub_id}" if known.hf_hub_id else str(known.url or "") or None


def _refuse_foreign_source(name: str, options: Mapping[str, Any]) -> None:
    """Name and options may come from a checkpoint: they must neither fetch nor open anything."""
    if not timm.is_model(name):
        raise UsageError(f"model.backbone={name} is not a network in timm {timm.__version__}.")
    if refused := sorted(_SOURCES & set(options)):
        raise UsageError(
            f"model.options={', '.join(refused)} is not allowed: weights come from model.weights."
        )


def _num_features(
    network: nn.Module, name: str, channels: int, size_px: int, trained_px: int
) -> int:
    network.eval()
    try:
        with torch.no_grad():
            features: Any = network(torch.zeros(1, channels, size_px, size_px))
    except Exception as error:  # a network that gets a wrong size may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        known = trained_px not in (0, size_px)
        least = least_px(partial(_takes, network.to("meta"), channels), size_px)
        raise UsageError(
            f"model.backbone={name} cannot take images of {size_px}x{size_px} pixels ({reason}). "
            + (f"It was made for data.size_px={trained_px}. " if known else "")
            + (f"It needs at least data.size_px={least}. " if least else "")
            + "Choose another data.size_px or another backbone."
        ) from error
    network.train()
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UsageError(
            f"model.backbone={name} returns features of shape {shape}, not one row per image; "
            "choose another backbone."
        )
    return int(features.shape[1])


def least_px(fits: Callable[[int], bool], too_small: int) -> int:
    """The smallest side that `fits`, above one that does not; 0 if none up to 1024 px does."""
    low, high = too_small, 2 * too_small
    while not fits(high):
        low, high = high, 2 * high
        if high > MOST_PX:
            return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _takes(network: nn.Module, channels: int, size_px: int) -> bool:
    try:
        network(torch.zeros(1, channels, size_px, size_px, device="meta"))
    except Exception:  # a network may raise anything for images that are too small
        return False
    return True
