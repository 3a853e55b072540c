"""The network that a checkpoint holds: images in 0..1 -> logits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from medcnn.models.auxiliary import Auxiliary
from medcnn.models.backbones import Body, Normalisation, build_body
from medcnn.models.heads import HEADS
from medcnn.models.pooling import AUTO, full_precision
from medcnn.models.published import hand_over, positions_only
from medcnn.system.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """All that is needed to rebuild a classifier; stored in the checkpoint as JSON."""

    backbone: str
    options: Mapping[str, Any]
    head: str
    head_options: Mapping[str, Any]
    channels: int
    size_px: int
    pooling: str = AUTO  # as in earlier checkpoints
    pooling_options: Mapping[str, Any] = field(default_factory=dict)


class Classifier(nn.Module):
    """Normalise, body, head.

    Images [B, C, H, W] come in as integers of full range or as floats in 0..1; logits [B, K] go
    out. A module that is frozen as a whole stays in evaluation mode, so that its BatchNorm
    statistics do not move either and dropout is off.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, head: nn.Sequential, normalisation: Normalisation) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.auxiliary: Auxiliary | None = None  # in training only
        self.body_frozen = False
        self._still: list[nn.Module] = []
        self.normalise_by(normalisation)

    def normalise_by(self, normalisation: Normalisation) -> None:
        self.normalisation = normalisation
        for name in ("mean", "std"):
            values = torch.tensor(getattr(normalisation, name)).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Features [B, F], the input of the head."""
        normalised = (unit_range(images) - self.mean) / self.std
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.body_frozen):
            return torch.as_tensor(self.body(normalised))

    def judged(self, features: Tensor) -> Tensor:
        """Logits [B, K] of features."""
        # in full precision: logits of 8 significant bits would tie, and scores depend on ranks
        with full_precision(features):
            return torch.as_tensor(self.head(features.float()))

    def forward(self, images: Tensor) -> Any:
        """Logits [B, K]; in training with auxiliary heads a list of (weight of the loss, logits),
        the classifier's own first."""
        logits = self.judged(self.features(images))
        if self.auxiliary is not None and self.training:
            return [(1.0, logits), *self.auxiliary()]
        return logits

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def train_only(self, names: Collection[str], *, still: bool = False) -> None:
        """Freeze every parameter but those called `names`.

        Args:
            still: whether the body, also where it trains, keeps its BatchNorm statistics and has no
                dropout.
        """
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in names)
        self.body_frozen = not any(p.requires_grad for p in self.body.parameters())
        self._still = self._frozen()
        if still:
            kinds = _BatchNorm, _DropoutNd
            self._still += [m for m in self.body.modules() if isinstance(m, kinds)]
        self.train(self.training)

    def _frozen(self) -> list[nn.Module]:
        """The modules that have parameters and train none of them. If the body begins with such a
        module, also those without parameters before the first one of the body that trains."""
        before = [p.requires_grad for p in self.body.parameters()][:1] == [False]
        found = []
        for module in self.modules():
            own = any(p.requires_grad for p in module.parameters(recurse=False))
            before = before and not own and module is not self.head
            training = [p.requires_grad for p in module.parameters()]
            if not any(training) and (training or before):
                found.append(module)
        return found


def unit_range(images: Tensor) -> Tensor:
    """Floats in 0..1 of uint8 or uint16 images; floats are passed through."""
    if images.dtype == torch.uint8:
        return images.float() / 255
    if images.dtype == torch.uint16:
        return images.float() / 65535
    return images


def build_classifier(
    architecture: Architecture, num_outputs: int, normalisation: Normalisation | None = None
) -> tuple[Classifier, Body]:
    """A classifier with fresh weights, and its body as built (for loading weights into it).

    Args:
        normalisation: of a checkpoint; None takes the backbone's own.
    """
    body = build_body(
        architecture.backbone,
        channels=architecture.channels,
        size_px=architecture.size_px,
        options=architecture.options,
        pooling=architecture.pooling,
        pooling_options=architecture.pooling_options,
    )
    make_head = HEADS.bind(architecture.head, architecture.head_options)
    network, num_features = body.network, body.num_features
    if original := architecture.head == "original":
        network, num_features = positions_only(network, architecture.backbone, architecture.pooling)
    try:
        head = make_head(num_features, num_outputs)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"head={architecture.head}: {error}.") from error
    if not isinstance(head, nn.Sequential) or not isinstance(head[-1], nn.Linear):
        raise UsageError(
            f"head={architecture.head}: should be a Sequential that ends in a Linear with one row "
            f"per class, found {type(head).__name__}."
        )
    if original:
        hand_over(body.network, head)
    return Classifier(network, head, normalisation or body.normalisation), body
