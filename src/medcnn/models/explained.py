"""From a picture to a map that is as large as the picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.config import Choice
from medcnn.data.labels import Kind, LabelSpace
from medcnn.images.framing import frame_of
from medcnn.models.explaining import METHODS, Logit, explained
from medcnn.models.inference import logits_of
from medcnn.models.inputs import full_range, read_inputs
from medcnn.system.errors import UsageError

if TYPE_CHECKING:
    from medcnn.models.deployed import Model

Image = str | os.PathLike[str] | NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Where in an image a logit comes from, by one method.

    Attributes:
        map: [H, W], as large as the image; positive where it speaks for the class, negative where
            against it, nan where the network was not shown the image. Gradcam and hirescam are in
            logits per position of the layer, integrated gradients per pixel; occlusion is by how
            much the logit falls.
        label: the class.
        logit: of the class, before any calibration.
        method: a name in METHODS.
    """

    map: NDArray[np.float32]
    label: str
    logit: float
    method: str


def as_large(maps: Tensor, size_px: int) -> NDArray[np.float32]:
    """Maps [B, h, w] as [B, size_px, size_px], with linear steps between positions."""
    size = (size_px, size_px)
    large = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)
    return large[:, 0].numpy().astype(np.float32)


def most_probable(labels: LabelSpace, logits: NDArray[np.float32]) -> list[str]:
    """The class with the highest probability of each image, from logits [N, K]; of a binary label
    perhaps the negative one."""
    if labels.kind is Kind.BINARY:
        return [labels.names[int(one > 0)] for one in logits[:, 0]]
    return [labels.names[int(best)] for best in logits.argmax(axis=1)]


def explain_source(model: Model, image: Image, how: Choice, label: str | None) -> Explanation:
    """What `Model.explain` returns."""
    given = next(
        read_inputs(
            image if isinstance(image, np.ndarray) else [image], model.labels, model.preprocessing
        )
    )
    if len(given.rows) != 1:
        raise UsageError(f"explain takes one image at a time, found {len(given.rows)}.")
    if given.store.unreadable:
        raise UsageError(f"the image cannot be read: {given.store.unreadable[0]}.")
    if isinstance(image, np.ndarray):
        whole = full_range(image[0] if image.ndim == 4 else image)
    else:
        whole = model.preprocessing.read_whole(Path(image).absolute().parent, Path(image).name)
    return explain_image(model, given.store.take(given.rows)[0], whole, how, label)


def explain_image(
    model: Model, seen: NDArray[Any], whole: NDArray[Any], how: Choice, label: str | None
) -> Explanation:
    """An image that was read already.

    Args:
        seen: [C, size_px, size_px], as the network takes it.
        whole: [H, W, C], before any preprocessing.
        how: a method and its options.
        label: a class; None: the most probable.
    """
    if model.members:
        raise UsageError("an ensemble is explained by each of its `members`, not as a whole.")
    method, flips = METHODS.bind(how.name, how.options), model.checkpoint.flips
    frame = frame_of(model.preprocessing, whole)
    images = torch.from_numpy(seen)[None].to(model.device)
    logits = logits_of(model.classifier, images, flips, torch.float32)
    label = label or most_probable(model.labels, logits)[0]
    logit = Logit.of(model.classifier, model.labels, label)
    large = as_large(explained(method, logit, images, flips), model.preprocessing.size_px)[0]
    return Explanation(
        map=frame.back(large, *whole.shape[:2]),
        label=label,
        logit=logit.sign * float(logits[0, logit.output]),
        method=how.name,
    )
