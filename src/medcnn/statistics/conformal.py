"""Prediction sets that contain the truth as often as requested, however good the network is.

Validation gives a bound on how strange a true class may look; stranger classes are not in an
image's set. If new patients come from the same population, the truth is in the set with the
requested probability (Vovk, Gammerman and Shafer 2005). Slightly less, since validation also chose
the epoch; the report states the coverage on test.

Images of one patient are not exchangeable with those of another, so the guarantee is either per
patient or per image. The two differ if ill patients have more images:

- per patient: an image chosen at random from a new patient. Every validation patient has weight
  one, shared by its images, and one additional patient is assumed to be infinitely strange (Dunn,
  Wasserman and Ramdas 2023, JASA 118, "pooling CDFs").
- per image: all images of new patients, each with weight one. One additional patient is assumed to
  be infinitely strange, with as many images as the largest in validation (conformal risk control
  of the missed images, Angelopoulos et al. 2024, ICLR).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Floats, Kind, LabelSpace
from medcnn.system.registry import Table

EVERYONE = ""
"""The category of images without a known one; its bound is the widest."""


def strangeness(probabilities: Floats) -> Floats:
    """One minus the probability of each class (Sadinle, Lei and Wasserman 2019, JASA 114): the
    smallest sets on average."""
    return 1 - probabilities


def mass_above(probabilities: Floats) -> Floats:
    """Sum of the probabilities of more probable classes (Romano, Sesia and Candès 2020, NeurIPS,
    "adaptive prediction sets", without randomisation): larger sets for harder images.

    The class's own probability does not count. So the class that takes the sum past the bound is in
    the set, no set is empty, and classes of equal probability are in it together or not at all.
    """
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    falling = np.take_along_axis(probabilities, order, axis=-1)
    before = falling.cumsum(axis=-1) - falling
    before[..., 0] = 0
    tied = np.diff(falling, axis=-1, prepend=np.inf) == 0
    before = np.maximum.accumulate(np.where(tied, 0, before), axis=-1)
    ranks = np.argsort(order, axis=-1, kind="stable")
    return np.take_along_axis(before, ranks, axis=-1)


@dataclass(frozen=True, slots=True)
class Method:
    score: Callable[[Floats], Floats]
    by_class: bool = False


PER = Table("per", dict.fromkeys(("patient", "image")))


def options(*, coverage: float = 0.9, per: str = "patient", by: str | None = None) -> None:
    """The options of `readout.conformal`.

    Args:
        coverage: how often the set should contain the truth.
        per: `patient` or `image`, the unit of the guarantee.
        by: an attribute of the images, such as `sex` or `site`: the coverage then holds for each
            of its values (Mondrian), if validation has enough patients.
    """


METHODS = Table(
    "method",
    {
        "split": Method(strangeness),
        "class_conditional": Method(strangeness, by_class=True),
        "aps": Method(mass_above),
    },
    function=lambda _: options,
    limits={"coverage": (0.5, 0.999)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformal:
    """Bounds from validation.

    Attributes:
        per: `patient` or `image`, the unit of `coverage`.
        by: the attribute with separate bounds for its values, or "".
        bounds: category -> one bound per class (for independent labels, per label and answer,
            [K, 2] flattened). Infinity, None in JSON, if there were too few patients for a
            guarantee: the class is then in every set.
    """

    method: str
    coverage: float
    by: str
    bounds: Mapping[str, tuple[float, ...]]
    per: str = "patient"

    def sets(
        self, labels: LabelSpace, probabilities: Floats, categories: Sequence[str] | None = None
    ) -> NDArray[np.bool_]:
        """Which classes are in each image's set: [N, K] if classes are exclusive, else [N, K, 2],
        the answers no and yes for each label.

        Args:
            categories: [N] values of the attribute `by`; None, or a value not in validation, gets
                the widest bound.
        """
        score = METHODS[self.method].score(_answers(labels, probabilities))
        known = [c if c in self.bounds else EVERYONE for c in categories or ()]
        rows = known or [EVERYONE] * len(score)
        bound = np.array([self.bounds[c] for c in rows]).reshape(len(score), *score.shape[1:])
        return np.asarray(score <= bound + 1e-12)

    def to_json(self) -> dict[str, Any]:
        bounds = {
            c: [None if math.isinf(b) else b for b in found] for c, found in self.bounds.items()
        }
        return {
            "name": self.method,
            "coverage": self.coverage,
            "per": self.per,
            "by": self.by,
            "bounds": bounds,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Conformal:
        return cls(
            method=stored["name"],
            coverage=stored["coverage"],
            per=stored.get("per", "patient"),
            by=stored["by"],
            bounds={
                c: tuple(math.inf if b is None else float(b) for b in found)
                for c, found in stored["bounds"].items()
            },
        )


def fit_conformal(
    chosen: Mapping[str, Any],
    labels: LabelSpace,
    probabilities: Floats,
    targets: Floats,
    groups: Sequence[str],
    categories: Sequence[str] | None,
) -> Conformal:
    """Bounds from validation.

    Args:
        chosen: `{name: ..., coverage: ..., per: ..., by: ...}`.
        probabilities: [N, K], from a calibration that has not seen the image's own patient
            (`calibration.cross_fitted`): otherwise the truth would look less strange.
        targets: [N, K], nan for "not assessed".
        groups: patient of each image [N].
        categories: value of the attribute `by` of each image [N], if there is one.
    """
    method = METHODS[chosen["name"]]
    answers = _answers(labels, probabilities)
    truth = _true_answers(labels, targets)
    score = method.score(answers)
    patients = np.asarray(groups, dtype=np.str_)
    of_category = np.asarray(categories, dtype=np.str_) if categories is not None else None
    everywhere = np.ones(len(score), bool)

    def bounds(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        """For each class [K], or each label and answer [K, 2]."""
        found = np.full(score.shape[1:], math.inf)
        for at in np.ndindex(*score.shape[1:]):
            # the possible answers to this question
            question = (..., slice(None)) if labels.exclusive else (..., at[0], slice(None))
            its_truth = truth[question]
            assessed = rows & its_truth.any(axis=1)
            if method.by_class:
                assessed &= its_truth[:, at[-1]]
            own = (score[question] * its_truth).sum(axis=1)[assessed]
            found[at] = patient_quantile(own, patients[assessed], chosen["coverage"], chosen["per"])
        return found

    per_category = {EVERYONE: bounds(everywhere)}
    if of_category is not None:
        per_category |= {str(c): bounds(of_category == c) for c in np.unique(of_category)}
        # an unseen value: as wide as the widest
        per_category[EVERYONE] = np.maximum.reduce(list(per_category.values()))
    return Conformal(
        method=chosen["name"],
        coverage=chosen["coverage"],
        per=chosen["per"],
        by=chosen["by"] or "",
        bounds={c: tuple(b.ravel().tolist()) for c, b in per_category.items()},
    )


def patient_quantile(
    scores: Floats, patients: NDArray[np.str_], coverage: float, per: str = "patient"
) -> float:
    """The smallest score with at least `coverage` of the weight at or below it; infinity if there
    are too few patients.

    Args:
        per: `patient`: the images of a patient share one weight, and one more patient is above.
            `image`: each image has weight one, and as many as the largest patient's are above.
    """
    if len(scores) == 0:
        return math.inf
    _, at, images = np.unique(patients, return_inverse=True, return_counts=True)
    weight = 1 / images[at] if per == "patient" else np.ones(len(scores))
    unseen = 1 if per == "patient" else int(images.max())
    order = np.argsort(scores, kind="stable")
    share = weight[order].cumsum() / (weight.sum() + unseen)
    enough = np.flatnonzero(share >= coverage - 1e-9)
    return float(scores[order][enough[0]]) if len(enough) else math.inf


def _answers(labels: LabelSpace, probabilities: Floats) -> Floats:
    """[N, K] if classes are exclusive, else [N, K, 2]: no and yes."""
    if labels.exclusive:
        return probabilities
    return np.stack([1 - probabilities, probabilities], axis=-1)


def _true_answers(labels: LabelSpace, targets: Floats) -> NDArray[np.bool_]:
    if labels.exclusive:
        return np.asarray(targets == 1)
    return np.stack([targets == 0, targets == 1], axis=-1)


def set_texts(labels: LabelSpace, sets: NDArray[np.bool_]) -> list[str]:
    """Each row of `sets` in words: `melanoma|nevus`; `Effusion: yes|no; Mass: no`."""
    if labels.exclusive or labels.kind is Kind.BINARY:
        names = labels.names
        rows = sets if labels.exclusive else sets[:, 0, :]
        return ["|".join(n for n, yes in zip(names, r, strict=True) if yes) for r in rows]
    words = {(True, True): "no|yes", (True, False): "no", (False, True): "yes"}
    return [
        "; ".join(
            f"{n}: {words.get((bool(no), bool(yes)), '')}"
            for n, (no, yes) in zip(labels.names, row, strict=True)
        )
        for row in sets
    ]
