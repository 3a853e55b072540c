"""Whether an image is one that the model can be asked about, from how strange it looks.

Three verdicts, each with a bound of its own from validation: `wrong kind` (another modality, or no
medical image), `unusual` (a picture that the training hospital rarely has), `other site` (taken or
processed in another way). `models.familiarity` measures the strangeness; here are only numbers.

A bound is conformal over patients: of the images of a new patient like those in validation, at
most the stated share gets the verdict by mistake (`conformal.patient_quantile`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.conformal import patient_quantile
from medcnn.system.errors import listed, private

Floats = NDArray[np.float64]

USUAL = "usual"
VERDICTS = ("wrong kind", "unusual", "other site")
"""The most serious first; an image gets the first that applies."""
FACTS = ("brightness", "contrast", "colour", "detail")
COLUMNS = (
    *(f"strange:{verdict.replace(' ', '_')}" for verdict in VERDICTS),
    *(f"image:{fact}" for fact in FACTS),
)
"""Columns of a table of predictions, and of `Predictions.looks`: strangeness in standard deviations
of the training images, and what the pixels are like, in 0..1."""
# An image of the wrong kind is far from all others, not just beyond them. In standard deviations;
# measured in docs/unusual.md.
FAR = 1.0
# The share of false alarms of `wrong kind`, of that of the other two.
RARER = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Attributes:
    patients: number of those in validation that the bounds come from.
    rates: verdict -> share of the images of new patients that may get it by mistake.
    bounds: verdict -> strangeness beyond which an image gets it.
    """

    patients: int
    rates: Mapping[str, float]
    bounds: Mapping[str, float]

    def beyond(self, looks: Floats) -> NDArray[np.bool_]:
        """[N, verdicts]: whether an image is beyond each bound; nan is not.

        Args:
            looks: [N, COLUMNS].
        """
        return np.asarray(looks[:, : len(VERDICTS)] > [self.bounds[v] for v in VERDICTS])

    def verdicts(self, looks: Floats) -> list[str]:
        """The verdict on each image [N]."""
        rows = self.beyond(looks)
        return [next((v for v, so in zip(VERDICTS, r, strict=True) if so), USUAL) for r in rows]


def fit_bounds(looks: Floats, groups: Sequence[str], rate: float) -> Bounds | None:
    """Bounds from the looks of validation [N, COLUMNS]; None if it has no image.

    Fewer than 1 / rate patients cannot promise `rate`: the bound is then the most that any of them
    reached, and the promise is 1 in (patients + 1).

    Args:
        groups: patient of each image [N].
        rate: share of false alarms of `unusual` and of `other site`.
    """
    if not len(looks):
        return None
    patients = np.asarray(groups, dtype=np.str_)
    count = len(np.unique(patients))
    rates, bounds = {}, {}
    for k, verdict in enumerate(VERDICTS):
        far = verdict == VERDICTS[0]
        asked = max(rate * (RARER if far else 1.0), 1 / (count + 1))
        found = patient_quantile(looks[:, k], patients, 1 - asked)
        rates[verdict], bounds[verdict] = asked, found + (FAR if far else 0.0)
    return Bounds(patients=count, rates=rates, bounds=bounds)


def line_about(verdicts: Mapping[str, str], bounds: Bounds) -> str:
    """Which images are not usual, in one line; nothing if all are.

    Args:
        verdicts: image -> verdict, of all images.
    """
    said = []
    for verdict in VERDICTS:
        if own := [private(image) for image, v in verdicts.items() if v == verdict]:
            rate = f"{100 * bounds.rates[verdict]:.3g} %"
            said.append(f"{len(own):,} {verdict} ({listed(own, 3)}; by mistake at most {rate})")
    if not said:
        return ""
    return (
        f"of {len(verdicts):,} images, these look unlike those that the model was trained on: "
        f"{', '.join(said)}. What the model says about an image of the wrong kind means nothing; a "
        "human should look at the others."
    )


def shared_bounds(members: Sequence[Bounds]) -> Bounds:
    """Of an ensemble, whose looks are `shared_looks`: 0, as they are measured from the bounds.

    If at least half of the members err on an image, their mean error is at least a half, which
    happens in at most twice the share in which one errs.
    """
    rates = {v: min(1.0, 2 * float(np.mean([m.rates[v] for m in members]))) for v in VERDICTS}
    patients = min(m.patients for m in members)
    return Bounds(patients=patients, rates=rates, bounds=dict.fromkeys(VERDICTS, 0.0))


def shared_looks(members: Sequence[tuple[Floats, Bounds]]) -> Floats:
    """[N, COLUMNS]: the median over members of how far an image is beyond the bound of each."""
    each = np.stack([looks for looks, _ in members])
    bounds = np.array([[b.bounds[v] for v in VERDICTS] for _, b in members])
    each[:, :, : len(VERDICTS)] -= bounds[:, None]
    return np.asarray(np.median(each, axis=0))
