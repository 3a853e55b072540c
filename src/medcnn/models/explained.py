"""From a picture to a map that is as large as the picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.config import Choice
from medcnn.data.labels import LabelSpace
from medcnn.images.framing import frame_of
from medcnn.models.explaining import METHODS, UNITS, Logit, explained
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
        map: [H, W], as large as the image; positive where the image speaks for the class, negative
            where it speaks against it, nan where the network did not see it. Gradcam and hirescam
            are in logits per position of the layer, integrated gradients in logits per pixel;
            occlusion is the fall of the logit.
        label: the class.
        logit: of the class, before any calibration; the mean over the members of an ensemble.
        method: a name in METHODS.
    """

    map: NDArray[np.float32]
    label: str
    logit: float
    method: str

    @property
    def unit(self) -> str:
        """Unit of the map, in words."""
        return f"logits {UNITS[self.method]}"


def as_large(maps: Tensor, size_px: int) -> NDArray[np.float32]:
    """Maps [B, h, w] as [B, size_px, size_px], with linear steps between positions."""
    size = (size_px, size_px)
    large = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)
    return large[:, 0].numpy().astype(np.float32)


def mean_map(maps: Sequence[Tensor]) -> Tensor:
    """The mean of the maps [B, h, w] of the members of an ensemble.

    Raises:
        UsageError: they have different sizes, so that their values cannot be compared.
    """
    if len(sizes := {tuple(one.shape[1:]) for one in maps}) > 1:
        listed = ", ".join(f"{h}×{w}" for h, w in sorted(sizes))
        raise UsageError(
            f"explain: the members of this ensemble have maps of different sizes ({listed}), whose "
            "values cannot be compared. Explain one of them at a time, or use occlusion or "
            "integrated_gradients."
        )
    return torch.stack(list(maps)).mean(0)


def most_probable(labels: LabelSpace, each: Sequence[NDArray[Any]]) -> str:
    """The class with the highest mean probability, from the calibrated ones [1, K] of each member;
    for a binary label it may be the negative one."""
    return labels.names[int(labels.of_names(np.mean(each, axis=0))[0].argmax())]


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
    """Explain an image that was read already.

    Args:
        seen: [C, size_px, size_px], as the network takes it.
        whole: [H, W, C], before any preprocessing.
        how: a method and its options.
        label: a class; None: the most probable.
    """
    method, parts = METHODS.bind(how.name, how.options), model.members or (model,)
    frame = frame_of(model.preprocessing, whole)
    images = torch.from_numpy(seen)[None].to(model.device)
    each = [logits_of(p.classifier, images, p.checkpoint.flips, torch.float32) for p in parts]
    if label is None:
        said = [p.readout.probabilities(p.labels, z) for p, z in zip(parts, each, strict=True)]
        label = most_probable(model.labels, said)
    label = str(label)  # YAML and Python write grades as numbers
    logits = [Logit.of(part.classifier, model.labels, label) for part in parts]
    maps = [
        explained(method, logit, images, part.checkpoint.flips)
        for logit, part in zip(logits, parts, strict=True)
    ]
    large = as_large(mean_map(maps), model.preprocessing.size_px)[0]
    return Explanation(
        map=frame.back(large, *whole.shape[:2]),
        label=label,
        logit=logits[0].sign * float(np.mean(each, axis=0)[0, logits[0].output]),
        method=how.name,
    )
