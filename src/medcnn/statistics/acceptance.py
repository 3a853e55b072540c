"""A rule by which a new model is accepted, written before its results are known; its verdict."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from medcnn.data.labels import LabelSpace
from medcnn.statistics.differences import Difference
from medcnn.statistics.metrics.table import METRICS, metric_for
from medcnn.system.errors import UsageError
from medcnn.system.registry import nearest

MOST_SUBGROUPS = 12
"""Most values of an attribute that a rule may name: more are numbers, such as an age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """By how much the new model may be worse than the old one; with 0, it must be better.

    Attributes:
        scores: score -> margin, on the new test split; the first is the main one.
        subgroups: attribute -> margin of the main score in each of its values.
        old_test: margin of the main score on the old test split; None if it does not matter.
    """

    scores: Mapping[str, float]
    subgroups: Mapping[str, float] = field(default_factory=dict)
    old_test: float | None = None

    @property
    def main(self) -> str:
        return next(iter(self.scores))

    @property
    def digest(self) -> str:
        """SHA-256 of the rule; in it, only the order of the scores has a meaning."""
        content = {**asdict(self), "scores": list(self.scores.items())}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def acceptance_of(value: Any) -> Acceptance | None:
    """The meaning of `accept`. Raises UsageError with everything that is wrong with it."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UsageError("should be a mapping such as {scores: {auroc: 0.02}, old_test: 0.05}.")
    known = ("scores", "subgroups", "old_test")
    faults = [f"unknown '{k}'{nearest(str(k), known)}" for k in value if k not in known]
    found: dict[str, dict[str, float]] = {}
    for part in ("scores", "subgroups"):
        margins = value.get(part) or {}
        if not isinstance(margins, Mapping):
            faults.append(f"{part} should be a mapping of names and margins.")
            continue
        faults += [f"{part}.{k}: {_FAULT}" for k, v in margins.items() if not _is_margin(v)]
        found[part] = {str(k): v for k, v in margins.items()}
    if not value.get("scores"):
        faults.append("scores is required, such as {auroc: 0.02}.")
    for name in found.get("scores", {}):
        if name not in METRICS:
            faults.append(f"unknown score '{name}'{nearest(name, METRICS)}")
        elif METRICS[name].higher_is_better is None:
            faults.append(f"score '{name}' has no better side, so no model can be worse in it.")
    old_test = value.get("old_test")
    if old_test is not None and not _is_margin(old_test):
        faults.append(f"old_test: {_FAULT}")
    if faults:
        raise UsageError(" ".join(faults))
    return Acceptance(**found, old_test=old_test)


_FAULT = "a margin should be a number from 0 up to, but not including, 1."


def _is_margin(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def check_acceptance(
    rule: Acceptance, labels: LabelSpace, attributes: Mapping[str, Sequence[str]]
) -> None:
    """Check the rule before anything is trained.

    Args:
        attributes: those of the images here -> their different values.

    Raises:
        UsageError: lists everything that these labels or images do not allow.
    """
    faults = []
    for name in rule.scores:
        try:
            metric_for(name, labels.kind)
        except UsageError as error:
            faults.append(str(error))
    for name in rule.subgroups:
        if name not in attributes:
            faults.append(f"the images have no attribute '{name}'{nearest(name, attributes)}")
        elif len(attributes[name]) > MOST_SUBGROUPS:
            faults.append(
                f"'{name}' has {len(attributes[name])} values, but subgroups allow at most "
                f"{MOST_SUBGROUPS}: name a column with fewer."
            )
    if faults:
        raise UsageError("\n".join(f"accept: {fault}" for fault in faults))


class Verdict(StrEnum):
    MET = "met"
    NOT_MET = "not met"
    UNSURE = "cannot be said"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One part of a rule.

    Attributes:
        where: the images it applies to, in words.
        difference: new model minus old one there; None if there is none, and `note` says why.
    """

    where: str
    score: str
    margin: float
    difference: Difference | None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Met if the 95 % interval rules out that the new model is worse by the margin or more,
        not met if it rules out that it is worse by less."""
        d = self.difference
        if d is None or math.isnan(d.low):
            return Verdict.UNSURE
        worst, best = (d.low, d.high) if d.better > 0 else (-d.high, -d.low)
        if worst > -self.margin:
            return Verdict.MET
        return Verdict.NOT_MET if best <= -self.margin else Verdict.UNSURE


def verdict_of(conditions: Sequence[Condition]) -> Verdict:
    """The verdict of a rule whose conditions must all hold. None needs an adjustment for the
    others: chance meets all of them no more often than one (Berger 1982, Technometrics 24(4))."""
    found = {c.verdict for c in conditions}
    for verdict in (Verdict.NOT_MET, Verdict.UNSURE):
        if verdict in found:
            return verdict
    return Verdict.MET if found else Verdict.UNSURE
