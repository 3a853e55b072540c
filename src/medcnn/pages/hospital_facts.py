"""What is known about the old and the new model in a new hospital, and about its images: the facts
behind the statements of `hospital_page`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from medcnn.statistics.acceptance import Condition, Verdict, verdict_of
from medcnn.statistics.differences import Difference, Pairing
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.metrics.table import METRICS

OLD, RECALIBRATED, PROBE, TUNED = "old model", "recalibrated", "probe", "fine-tuned"
DARK_SD = 0.5
"""By how many standard deviations (there) images must differ to be said to look different here."""
MOVED = 0.05
"""By what share of the images a prevalence must change to be said to differ."""
WORDS = {
    "brightness": ("darker", "brighter"),
    "contrast": ("lower in contrast", "higher in contrast"),
    "colour": ("less colourful", "more colourful"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """How many of `among` images here are, or look like copies of, images that the old model was
    trained or chosen with; `same`: how many of these have exactly the same pixels."""

    found: int
    same: int
    among: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How the images here differ from those there, at the old hospital.

    Attributes:
        prevalence: class -> (share of the assessed images, how many were assessed) there and here.
        unlike: how many of how many images here look unlike those of the old training.
        sizes_px: median width and height of the files there and here; None if unknown.
        looks: brightness, contrast, colour -> mean there, mean here, standard deviation there.
        apart: AUROC of a probe that distinguishes the two; None if there are too few patients.
        features: the same for a probe on the features of the model's own body.
        copies: among the images scored here; None if they were not searched for.
        missing: why the images there are not at hand; empty if they are.
    """

    prevalence: Mapping[str, tuple[tuple[float, int], tuple[float, int]]]
    unlike: tuple[int, int] = (0, 0)
    sizes_px: tuple[tuple[int, int], ...] | None = None
    looks: Mapping[str, tuple[float, float, float]] | None = None
    apart: Estimate | None = None
    features: Estimate | None = None
    copies: Copies | None = None
    missing: str = ""

    @property
    def moved(self) -> tuple[str, float, float] | None:
        """The class whose prevalence changed most, with its share there and here."""
        known = [(n, a[0], b[0]) for n, (a, b) in self.prevalence.items() if a[1] and b[1]]
        return max(known, key=lambda row: abs(row[2] - row[1]), default=None)

    @property
    def changed(self) -> list[tuple[str, float, float, float]]:
        """What looks different here: in words, mean here, mean there, standard deviations."""
        found = []
        for name, (there, here, spread) in (self.looks or {}).items():
            far = abs(here - there) / spread if spread else math.inf * abs(here - there)
            if far > DARK_SD:
                found.append((WORDS[name][int(here > there)], here, there, far))
        return found


class Shifted(Protocol):
    """What is known about two hospitals' images."""

    @property
    def group_noun(self) -> str: ...

    @property
    def shift(self) -> Shift: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rule of acceptance; times are those of `run.json`.

    Attributes:
        older: whether it was recorded before training and before any look at these test images.
    """

    conditions: tuple[Condition, ...]
    digest: str
    recorded: str
    began: str
    looked: str
    older: bool

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHospital:
    """The content of the page.

    Attributes:
        score: the main one.
        labelled: images here that have a label, in all splits; `enough` of them for a decision.
        wise_ft: share of the new weights; None if weights were not averaged.
        shared: classes that both the old and the new model have.
        lost: test images for which the old model has no finite result.
        arms: each compared with the old model, on the new test split.
        forgetting: the fine-tuned model compared with the old one on the old test split.
        old_on_all: the old model on all labelled images here; only if they are few.
    """

    score: str
    group_noun: str
    images: int
    groups: int
    labelled: int
    enough: bool
    transfer: str
    wise_ft: float | None
    shared: tuple[str, ...]
    classes: tuple[str, ...]
    lost: int
    arms: Mapping[str, Pairing]
    forgetting: Pairing | None
    no_old_test: str
    old_on_all: Estimate | None
    shift: Shift
    rule: Rule | None

    @property
    def title(self) -> str:
        return METRICS[self.score].title

    def of(self, arm: str, *scores: str) -> Difference | None:
        """The first of the scores that was compared."""
        found = {d.score: d for d in self.arms[arm].differences} if arm in self.arms else {}
        return next((found[s] for s in (*scores, self.score) if s in found), None)

    @property
    def forgotten(self) -> Difference | None:
        found = self.forgetting.differences if self.forgetting else ()
        return next((d for d in found if d.score == self.score), None)
