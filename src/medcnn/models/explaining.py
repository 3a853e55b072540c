"""Which positions of an image a logit comes from, by the methods in METHODS.

A map [B, h, w] is signed: what speaks for the class is positive, what speaks against it negative.
A map says where, never why; its checks show whether it says anything at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.data.labels import Kind, LabelSpace
from medcnn.models.classifier import Classifier, unit_range
from medcnn.models.inference import VIEWS
from medcnn.system.errors import UsageError
from medcnn.system.progress import log
from medcnn.system.registry import Table, nearest

# Images that go through the network at once: forward only, and forward and backward.
AT_ONCE, AT_ONCE_BACK = 32, 8
# Attributions of integrated gradients add up to the change of the logit, to within this share.
INCOMPLETE = 0.01
MOST_STEPS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Logit:
    """One output of a classifier: images [B, C, H, W] in 0..1 -> logits [B].

    Attributes:
        sign: -1 for the negative class of a binary label, which has no output of its own.
    """

    classifier: Classifier
    output: int
    sign: int = 1

    @classmethod
    def of(cls, classifier: Classifier, labels: LabelSpace, label: str) -> Logit:
        """Raises UsageError if there is no such class."""
        if label not in labels.names:
            raise UsageError(
                f"explain: no class is called '{label}'{nearest(label, labels.names)} Known: "
                f"{', '.join(labels.names)}."
            )
        if labels.kind is Kind.BINARY:
            return cls(classifier=classifier, output=0, sign=1 if label == labels.names[1] else -1)
        return cls(classifier=classifier, output=labels.names.index(label))

    def __call__(self, images: Tensor) -> Tensor:
        return self.sign * torch.as_tensor(self.classifier(images))[:, self.output]


Unfold = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The last layer of a body whose positions are those of the image.

    Attributes:
        name: of the module.
        maps: its output [B, C, h, w].
        slopes: of the logit with respect to `maps`, with the same shape.
        logits: [B].
    """

    name: str
    maps: Tensor
    slopes: Tensor
    logits: Tensor


def last_layer(logit: Logit, images: Tensor) -> Layer:
    """The last square map, whichever module returns it: what a ResNet, a DenseNet (after its final
    norm and ReLU) or a VGG pools. In a transformer that pools its class token it is the first norm
    of the last block: after it only that token matters, which has no position. In one that pools
    the tokens of all positions, it is the whole last block.

    Raises:
        UsageError: no output of the network has positions.
    """
    found: list[tuple[str, Tensor, Unfold]] = []

    def keep(name: str, unfold: Unfold, module: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, Tensor) and unfold(out) is not None:
            found.append((name, out, unfold))
        elif name and not isinstance(module, nn.Sequential):
            # a block without a map: the map of one of its branches is not the whole block
            found[:] = [one for one in found if not one[0].startswith(f"{name}.")]

    with torch.enable_grad(), ExitStack() as hooks:
        for name, module, unfold in _watched(logit.classifier.body):
            handle = module.register_forward_hook(partial(keep, name, unfold))
            hooks.callback(handle.remove)
        logits = logit(unit_range(images).detach().requires_grad_())
        if not found:
            raise UsageError(
                "explain: no layer of this network has the positions of the image at this size. "
                "Choose a method that needs none: integrated_gradients or occlusion."
            )
        name, out, unfold = found[-1]
        (slopes,) = torch.autograd.grad(logits.sum(), out)
    maps, slopes = (torch.as_tensor(unfold(of.detach())).float() for of in (out, slopes))
    return Layer(name=name, maps=maps, slopes=slopes, logits=logits.detach())


def _watched(body: Any) -> Iterator[tuple[str, nn.Module, Unfold]]:
    """The modules whose output may be the last map, and how to turn it into one."""
    blocks = getattr(body, "blocks", None)
    if blocks and hasattr(blocks[-1], "norm1"):
        prefix = getattr(body, "num_prefix_tokens", 0)
        where, last = f"blocks.{len(blocks) - 1}", blocks[-1]
        if prefix and getattr(body, "global_pool", "token") in ("", "token"):
            where, last = f"{where}.norm1", last.norm1
        yield where, last, partial(_tokens, prefix=prefix)
        return
    unfold = _channels_last if getattr(body, "output_fmt", "") == "NHWC" else _square
    for name, module in body.named_modules():
        # whatever they get, these return a map of one size
        if not isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            yield name, module, unfold


def _square(out: Tensor) -> Tensor | None:
    """Images are square, so maps are too; any other shape belongs to the inside of a block."""
    return out if out.ndim == 4 and out.shape[2] == out.shape[3] > 1 else None


def _channels_last(out: Tensor) -> Tensor | None:
    return _square(out.movedim(-1, 1)) if out.ndim == 4 else None


def _tokens(out: Tensor, *, prefix: int) -> Tensor | None:
    """[B, N, C] -> [B, C, h, w], without the tokens that have no position."""
    places = out[:, prefix:].transpose(1, 2)
    side = math.isqrt(places.shape[2])
    if side**2 != places.shape[2]:
        return None
    return _square(places.reshape(*places.shape[:2], side, side))


def gradcam(logit: Logit, images: Tensor) -> Tensor:
    """Maps of the last layer, each weighted by the mean slope of the logit over its positions.
    Negative values, which the paper cuts off, are kept.

    Source:
        Selvaraju et al. 2017, ICCV.
    """
    layer = last_layer(logit, images)
    return (layer.maps * layer.slopes.mean((2, 3), keepdim=True)).sum(1)


def hirescam(logit: Logit, images: Tensor) -> Tensor:
    """Maps of the last layer times the slope of the logit at each position. If a network pools by
    the mean into a linear head, a map sums to the logit minus its bias and equals Grad-CAM.

    Source:
        Draelos and Carin 2020, arXiv 2011.08891.
    """
    layer = last_layer(logit, images)
    return (layer.maps * layer.slopes).sum(1)


def integrated_gradients(logit: Logit, images: Tensor, *, steps: int = 64) -> Tensor:
    """The slope at each pixel, averaged along the way from a plain image of its mean colour,
    times the pixel's difference from that colour; summed over channels. A map sums to the change of
    the logit along the way: `steps` are doubled until it does to within 1 %.

    Source:
        Sundararajan, Taly and Yan 2017, ICML.
    """
    return torch.cat([_integrated(logit, image[None], steps) for image in unit_range(images)])


def _integrated(logit: Logit, image: Tensor, steps: int) -> Tensor:
    way = image - image.mean((2, 3), keepdim=True)
    with torch.no_grad():
        change = float(logit(image) - logit(image - way))
    while True:
        shares = (torch.arange(steps, device=image.device) + 0.5) / steps
        total = torch.zeros_like(image)
        for part in torch.split(shares, AT_ONCE_BACK):
            points = (image - way * (1 - part.view(-1, 1, 1, 1))).detach().requires_grad_()
            with torch.enable_grad():
                (slopes,) = torch.autograd.grad(logit(points).sum(), points)
            total += slopes.sum(0)
        found = (way * total / steps).sum(1)
        missing = abs(float(found.sum()) - change)
        if missing <= INCOMPLETE * abs(change):
            return found
        if steps >= MOST_STEPS:
            log.warning(
                f"integrated gradients: with {steps} steps, a map misses {missing:.3g} of the "
                f"{abs(change):.3g} by which the logit changes"
            )
            return found
        steps = min(2 * steps, MOST_STEPS)


def occlusion(logit: Logit, images: Tensor, *, patch: float = 0.125) -> Tensor:
    """How far the logit falls when a square is covered with the mean colour of the image, averaged
    over all squares that cover a pixel. Squares overlap by half.

    Args:
        patch: side of the square as a share of the image's.

    Source:
        Zeiler and Fergus 2014, ECCV, section 4.2.
    """
    return torch.cat([_occluded(logit, image[None], patch) for image in unit_range(images)])


def _occluded(logit: Logit, image: Tensor, patch: float) -> Tensor:
    size = image.shape[-1]
    side = max(1, round(patch * size))
    starts = sorted({*range(0, size - side, max(1, side // 2)), size - side})
    corners = [(top, left) for top in starts for left in starts]
    mean, fall, times = image.mean((2, 3))[0, :, None, None], *torch.zeros(2, size, size)
    with torch.inference_mode():
        whole = float(logit(image))
        for first in range(0, len(corners), AT_ONCE):
            part = corners[first : first + AT_ONCE]
            covered = image.repeat(len(part), 1, 1, 1)
            for one, (top, left) in zip(covered, part, strict=True):
                one[:, top : top + side, left : left + side] = mean
            for (top, left), now in zip(part, logit(covered).tolist(), strict=True):
                fall[top : top + side, left : left + side] += whole - now
                times[top : top + side, left : left + side] += 1
    found: Tensor = fall / times
    return found[None]


Method = Callable[..., Tensor]
METHODS: Table[Method] = Table(
    "method of explanation",
    {
        "gradcam": gradcam,
        "hirescam": hirescam,
        "integrated_gradients": integrated_gradients,
        "occlusion": occlusion,
    },
    function=lambda method: method,
    limits={"steps": (8, MOST_STEPS), "patch": (0.02, 0.5)},
)
UNITS = {
    "gradcam": "per position",
    "hirescam": "per position",
    "integrated_gradients": "per pixel",
    "occlusion": "when covered",
}
"""What the logits of a map are per, by method."""


def explained(method: Method, logit: Logit, images: Tensor, flips: str = "") -> Tensor:
    """Maps [B, h, w] for the mean over mirrored views, which is the logit that a model returns.

    Args:
        method: an entry of METHODS with its options, from `METHODS.bind`.
        images: [B, C, H, W] as a classifier takes them.
        flips: a key of VIEWS.
    """
    floats, views = unit_range(images), []
    for dims in VIEWS[flips]:
        seen = method(logit, floats.flip(dims))
        views.append(seen.flip([dim - 1 for dim in dims]).cpu())
    return torch.stack(views).mean(0)
