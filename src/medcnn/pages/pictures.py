"""Images embedded in a page, and the ones that a doctor should see: the most confident mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.decisions import certainty
from medcnn.statistics.predictions import Predictions

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PER_CLASS = 4
MOST = 24
SIDE_PX = 128


def encoded(image: Image, kind: str, **options: Any) -> str:
    """The file of this kind (png, jpeg) in base64.

    Args:
        options: of Pillow's writer.
    """
    file = io.BytesIO()
    image.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode("ascii")


def address(kind: str, encoded: str) -> str:
    """A data URL with the image itself."""
    return f"data:image/{kind};base64,{encoded}"


def worst_errors(
    predictions: Predictions, pixels: Callable[[list[int]], NDArray[Any]]
) -> list[dict[str, Any]]:
    """At most 24 images, at most 4 of each true class, most certain first.

    Args:
        pixels: [B, C, H, W] uint8 or uint16 of some rows of the predictions.

    Returns:
        Dicts with `image_id`, `line` (of the hospital's table, or None), `truth`, `decision`,
        `certainty` (of the most probable answer, which need not be the decision) and `jpeg`
        (base64).
    """
    assessed = ~np.isnan(predictions.targets)
    truth, decided = predictions.targets == 1, predictions.decisions
    wrong = ((truth != decided) & assessed).any(axis=1)
    labels = predictions.labels
    sure = certainty(labels, predictions.probabilities)
    true_texts = labels.decision_texts(truth)
    decided_texts = labels.decision_texts(decided & assessed)
    chosen: list[int] = []
    of_class: dict[str, int] = {}
    for i in np.argsort(-sure, kind="stable").tolist():
        name = true_texts[i]
        if wrong[i] and of_class.get(name, 0) < MOST_PER_CLASS and len(chosen) < MOST:
            of_class[name] = of_class.get(name, 0) + 1
            chosen.append(i)
    images = list(pixels(chosen)) if chosen else []
    return [
        {
            "image_id": predictions.image_ids[i],
            "line": predictions.lines[i] if predictions.lines else None,
            "truth": true_texts[i] or "none",
            "decision": decided_texts[i] or "none",
            "certainty": float(sure[i]),
            "jpeg": _jpeg(image),
        }
        for i, image in zip(chosen, images, strict=True)
    ]


def _jpeg(image: NDArray[Any]) -> str:
    from PIL import Image

    small = (image >> 8 if image.dtype == np.uint16 else image).astype(np.uint8)
    picture = Image.fromarray(small[0] if len(small) == 1 else np.moveaxis(small, 0, 2))
    picture.thumbnail((SIDE_PX, SIDE_PX))
    return encoded(picture, "jpeg", quality=80)
