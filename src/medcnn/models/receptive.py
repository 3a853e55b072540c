"""What part of the image a position of a map depends on, for every module of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from medcnn.images.frame import Box
from medcnn.models.anatomy import Axis, Field, Tracer
from medcnn.models.classifier import Architecture, build_classifier


def fields_of(architecture: Architecture, num_outputs: int) -> dict[str, Field]:
    """Name of a module of the body -> what its last output depends on; None if unknown."""
    with torch.device("meta"):
        classifier, _ = build_classifier(architecture, num_outputs)
    side = architecture.size_px
    images = torch.zeros(1, architecture.channels, side, side, device="meta")
    tracer, found = Tracer(classifier.eval(), images), {}

    def keep(name: str, _module: Any, _given: Any, made: Any) -> None:
        found[name] = tracer.fields.get(id(made)) if isinstance(made, Tensor) else None

    with ExitStack() as hooks, torch.no_grad(), tracer:
        for name, module in classifier.body.named_modules():
            hooks.callback(module.register_forward_hook(partial(keep, name)).remove)
        classifier(images)
    return found


def part_seen(
    fields: Mapping[str, Field], name: str, counts: tuple[int, int], at: tuple[int, int], side: int
) -> Box | None:
    """The part of an image of `side` pixels that the position `at` of a map depends on.

    Returns:
        None if unknown.
    """
    field = fields.get(name)
    if field is None or (field[0].count, field[1].count) != counts:
        return None
    (top, bottom), (left, right) = (_ends(*pair, side) for pair in zip(field, at, strict=True))
    return Box(top=top, left=left, height=bottom - top, width=right - left)


def _ends(axis: Axis, position: int, side: int) -> tuple[int, int]:
    first, end = axis.first + position * axis.jump, axis.end + position * axis.jump
    return math.floor(max(0.0, first)), math.ceil(min(float(side), end))
