"""What a classifier makes of one image: its maps by stage, and its answer when the image moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medcnn.models.classifier import Classifier, unit_range
from medcnn.models.deployed import Model
from medcnn.models.inference import logits_of
from medcnn.pages.looking import Move
from medcnn.statistics.predictions import Predictions
from medcnn.training.geometry import warped

CHANNELS = 8
# How far images are moved: pixels of the network's image, degrees, zoom, and share cropped off.
AMOUNTS: Mapping[str, Sequence[float]] = {
    "translation, px": range(-8, 9),
    "rotation, degrees": range(-30, 31, 5),
    "scale": (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2),
    "crop, share of the side": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2),
}


def stages(classifier: Classifier, images: Tensor) -> list[tuple[str, Tensor]]:
    """The last maps [B, C, h, w] of each size, by the name of their module, the largest first.

    The output of a dropout is not a map: in Swin it is how much each position of a
    window attends to each other.
    """
    found: dict[int, tuple[str, Tensor]] = {}

    def keep(name: str, module: Any, _given: Any, made: Any) -> None:
        if isinstance(module, nn.Dropout) or not isinstance(made, Tensor) or made.ndim != 4:
            return
        if made.shape[2] == made.shape[3] > 1:
            found[made.shape[2]] = (name, made)

    with torch.inference_mode(), ExitStack() as hooks:
        for name, module in classifier.body.named_modules():
            hooks.callback(module.register_forward_hook(partial(keep, name)).remove)
        classifier(images)
    return [(found[size][0], found[size][1].float()) for size in sorted(found, reverse=True)]


def strongest(maps: Tensor) -> list[int]:
    """The channels whose values differ most between positions, at most 8."""
    spread = maps.flatten(1).std(1)
    return spread.argsort(descending=True)[:CHANNELS].tolist()


def moved(image: Tensor, kind: str, amounts: Sequence[float]) -> Tensor:
    """[N, C, H, W]: the image [1, C, H, W] in 0..1, moved by each amount."""
    matrices = torch.zeros(len(amounts), 2, 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1.0
    for matrix, amount in zip(matrices, amounts, strict=True):
        if kind.startswith("translation"):
            matrix[0, 2] = -2 * amount / image.shape[-1]
        elif kind.startswith("rotation"):
            c, s = math.cos(math.radians(amount)), math.sin(math.radians(amount))
            matrix[:, :2] = torch.tensor([[c, -s], [s, c]])
        else:  # a crop is scaled back to the size of the image
            matrix[:, :2] *= 1 / amount if kind == "scale" else 1 - amount
    return warped(image.expand(len(amounts), -1, -1, -1), matrices.to(image.device))


def moves(model: Model, images: Tensor) -> list[Move]:
    """The probability of the model's answer to one image, and its decision, as the image moves."""
    labels = model.labels
    plain = _answers(model, unit_range(images))
    answer = int(np.argmax(labels.of_names(plain.probabilities)[0]))
    decided = labels.decision_texts(plain.decisions)[0]
    found = []
    for kind, amounts in AMOUNTS.items():
        answers = _answers(model, moved(unit_range(images), kind, [*amounts]))
        texts = labels.decision_texts(answers.decisions)
        found.append(
            Move(
                kind=kind,
                label=labels.names[answer],
                amounts=tuple(map(float, amounts)),
                probabilities=tuple(labels.of_names(answers.probabilities)[:, answer].tolist()),
                same=tuple(text == decided for text in texts),
            )
        )
    return found


def _answers(model: Model, images: Tensor) -> Predictions:
    """What `predict` says of images in 0..1, with the mirrored views that it averages."""
    logits = logits_of(model.classifier, images, model.checkpoint.flips, model.dtype)
    ids = tuple(map(str, range(len(logits))))
    return Predictions(
        labels=model.labels,
        split="all",
        image_ids=ids,
        groups=ids,
        targets=np.full_like(logits, np.nan),
        logits=logits,
        readout=model.readout,
    )
