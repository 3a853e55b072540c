"""Several models as one: the mean of their calibrated probabilities, and how far apart they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medcnn.data.labels import LabelSpace
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.strangeness import shared_bounds, shared_looks
from medcnn.system.errors import UsageError

LEAST = 1e-12
"""Stands for a probability of 0, which has no finite logit."""


def common_readout(labels: LabelSpace, readouts: Sequence[Readout]) -> tuple[Readout, str]:
    """How an ensemble decides, and what it does not take over from its members, in words.

    Thresholds are the means of the members' own, which each chose on its calibrated probabilities.
    Prediction sets and referral hold for one model's probabilities, so an ensemble has none.

    Raises:
        UsageError: the members decide by different rules.
    """
    first, names = readouts[0], [[point.name for point in r.points] for r in readouts]
    if any(n != names[0] for n in names):
        rules = sorted({", ".join(n) or "none" for n in names})
        raise UsageError(
            f"these checkpoints decide by different rules ({'; '.join(rules)}), so they cannot "
            "decide together: train them with the same readout.operating_points."
        )
    points = tuple(
        replace(
            point,
            thresholds=tuple(np.mean([r.points[at].thresholds for r in readouts], axis=0).tolist()),
            reasons=next((r.points[at].reasons for r in readouts if r.points[at].reasons), ()),
        )
        for at, point in enumerate(first.points)
    )
    lost = [
        what
        for what, of in {"prediction sets": "conformal", "referral": "referral"}.items()
        if any(getattr(r, of) is not None for r in readouts)
    ]
    said = (
        f"the ensemble has no {' and no '.join(lost)}: they hold for a single model" if lost else ""
    )
    known = [r.unusual for r in readouts if r.unusual is not None]
    unusual = shared_bounds(known) if len(known) == len(readouts) else None
    return Readout(points=points, unusual=unusual), said


def mean_of(
    members: Sequence[Predictions], readout: Readout, provenance: Mapping[str, Any]
) -> Predictions:
    """What the members together say about the same images.

    The logits are those of the mean probability, so that they need no calibration. `disagreement`
    is the standard deviation of the members' probabilities for the label where it is largest: 0 if
    all agree, 0.5 if half of them are sure of it and the others sure of the opposite.

    Args:
        members: of the same images in the same order.
        readout: of the ensemble, from `common_readout`.
    """
    labels = members[0].labels
    each = np.stack([p.probabilities for p in members])  # [members, N, K]
    mean = each.mean(axis=0)
    known = [
        (p.looks, p.readout.unusual) for p in members if p.looks is not None and p.readout.unusual
    ]
    with np.errstate(invalid="ignore"):
        logits = np.log(mean.clip(LEAST))
        if not labels.exclusive:
            logits -= np.log((1 - mean).clip(LEAST))
    return replace(
        members[0],
        logits=logits.astype(np.float32),
        readout=readout,
        categories=(),
        disagreement=each.std(axis=0).max(axis=1) if mean.size else np.zeros(len(mean)),
        looks=shared_looks(known) if len(known) == len(members) else None,
        provenance=dict(provenance),
    )
