"""Images for which a model gives no finite number: they are listed or refused, never scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import MedcnnError, listed, private

NO_RESULT = "no finite result"


def without_result(predictions: Predictions) -> NDArray[np.bool_]:
    """[N]: images whose logits or probabilities are nan or infinite; no decision may rest on them.
    The cause is damaged weights, or half precision that overflows."""
    with np.errstate(all="ignore"):
        known = np.isfinite(predictions.logits).all(axis=1)
        known &= np.isfinite(predictions.probabilities).all(axis=1)
    return np.asarray(~known)


def with_results_only(predictions: Predictions) -> Predictions:
    """The images that have a result; the others are listed as `unreadable` with that reason."""
    lost = without_result(predictions)
    if not lost.any():
        return predictions
    gone = tuple((predictions.image_ids[i], NO_RESULT) for i in np.flatnonzero(lost))
    kept = predictions.only(np.flatnonzero(~lost))
    return replace(kept, unreadable=(*predictions.unreadable, *gone))


def refuse_without_result(predictions: Predictions, source: str) -> None:
    """Raises MedcnnError if images have no result: scores of the others would be of a selection
    made by the fault.

    Args:
        source: whose logits they are, as the subject of a sentence.
    """
    lost = without_result(predictions)
    if lost.any():
        shown = [private(predictions.image_ids[i]) for i in np.flatnonzero(lost)]
        raise MedcnnError(
            f"{source} has {NO_RESULT} for {lost.sum()} of {len(lost)} images of "
            f"{predictions.split} ({listed(shown, 3)}), so nothing is scored. {WHY_NO_RESULT}"
        )


WHY_NO_RESULT = (
    "Its weights are damaged, or half precision overflows: try precision=fp32 (trainer.precision "
    "in training), or another checkpoint."
)
