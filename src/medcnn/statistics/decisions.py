"""How logits are read: calibrated probabilities, decisions, prediction sets, referral.

Everything here is fitted on validation, before test is opened, and stored as plain numbers in the
checkpoint. It never changes the weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Floats, Kind, LabelSpace
from medcnn.statistics import conformal, operating
from medcnn.statistics.calibration import CALIBRATIONS, Calibration, cross_fitted, fit_calibration
from medcnn.statistics.conformal import Conformal, fit_conformal
from medcnn.statistics.operating import OperatingPoint, expected_grade, fit_point
from medcnn.statistics.strangeness import COLUMNS, Bounds, fit_bounds
from medcnn.system.errors import UsageError, listed
from medcnn.system.registry import nearest

Rules = tuple[Mapping[str, Any], ...]


def chosen_points(value: Any) -> Rules:
    """The meaning of `readout.operating_points`: rules with all their options.

    Raises:
        UsageError: no rule, an unknown one, or a wrong option.
    """
    items = [value] if isinstance(value, str | Mapping) else list(value or ())
    if not items:
        raise UsageError("at least one rule is needed, such as youden.")
    rules = tuple(operating.RULES.completed(i) for i in items)
    names = [operating.point_name(rule) for rule in rules]
    if len(set(names)) < len(names):
        raise UsageError(f"{', '.join(names)}: list each rule only once.")
    return rules


def chosen_conformal(value: Any) -> Mapping[str, Any] | None:
    """The meaning of `readout.conformal`: a method with all its options, or None for `none`."""
    if value in (None, "none"):
        return None
    chosen = conformal.METHODS.completed(value)
    conformal.PER.choose(chosen["per"])
    return chosen


def chosen_calibration(value: Any) -> str:
    if value not in (None, "none"):
        CALIBRATIONS.choose(str(value))
    return value or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Referral:
    """Which images a human should look at.

    Attributes:
        share: share of validation images below `certainty`.
        certainty: images with a lower certainty are referred.
    """

    share: float
    certainty: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientReadout:
    """How the images of a patient are read together; fitted by `patients.fit_patients`.

    Attributes:
        rule: a key of `patients.RULES`.
        unit: attribute that divides the images of a patient, such as the eye; "" if none.
        scores: rule -> AUROC on validation, of rules for which it is defined; and that of the
            number of images alone, of labels that are not exclusive.
        units: number of patients (eyes, ...) in validation.
        readout: of the combined probabilities.
    """

    rule: str
    unit: str
    scores: Mapping[str, float]
    units: int
    readout: Readout

    def to_json(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("rule", "unit", "units")}
        return own | {"scores": dict(self.scores), "readout": self.readout.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PatientReadout:
        # a patient has no patients: a file from anybody could nest them without end
        own = Readout.from_json({**stored["readout"], "patients": None})
        return cls(**{**stored, "readout": own})


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """Attributes:
    calibration: None for the network's own probabilities.
    points: operating points; the first one decides for independent labels, and if it is `kappa`.
    conformal: None if no prediction sets were requested.
    referral: None if no referral was requested.
    unusual: which images look unlike the training images; None if unknown.
    patients: None if no patient in validation had several images, and in earlier files.
    """

    calibration: Calibration | None = None
    points: tuple[OperatingPoint, ...] = ()
    conformal: Conformal | None = None
    referral: Referral | None = None
    unusual: Bounds | None = None
    patients: PatientReadout | None = None

    @classmethod
    def of_thresholds(cls, thresholds: Sequence[float] | None) -> Readout:
        """For earlier files, which have only thresholds by Youden's rule."""
        if thresholds is None:
            return cls()
        return cls(points=(OperatingPoint(name="youden", thresholds=tuple(thresholds)),))

    @property
    def said_columns(self) -> tuple[str, ...]:
        """Text columns in a table of predictions."""
        more = {"set": self.conformal, "refer": self.referral}
        looks = () if self.unusual is None else ("looks", *COLUMNS)
        return ("decision", *(name for name, there in more.items() if there is not None), *looks)

    def probabilities(self, labels: LabelSpace, logits: Floats) -> NDArray[np.float64]:
        if self.calibration is None:
            return labels.probabilities(logits)
        return self.calibration.probabilities(labels, logits)

    def thresholds(self, labels: LabelSpace) -> tuple[float, ...] | None:
        """Those used for decisions, one per output; None if classes are exclusive."""
        return self.points[0].thresholds if self.points and not labels.exclusive else None

    def decide(self, labels: LabelSpace, probabilities: Floats) -> NDArray[np.bool_]:
        """Decisions [N, K]: `LabelSpace.decide`, unless there are cut points of the mean grade."""
        if self.points and self.points[0].grades:
            grade = expected_grade(probabilities)
            named = np.searchsorted(self.points[0].thresholds, grade, side="right")
            return np.asarray(named[:, None] == np.arange(probabilities.shape[1]))
        return labels.decide(probabilities, self.thresholds(labels))

    def rule(self, labels: LabelSpace) -> str:
        """How `decide` decides, in words."""
        if self.points and self.points[0].grades:
            cuts = ", ".join(f"{c:.3g}" for c in self.points[0].thresholds)
            why = self.points[0].reason(0)
            chosen = f"not fitted: {why}" if why else "largest kappa on validation"
            return f"the mean grade by probability, cut at {cuts} ({chosen})"
        if self.points and not labels.exclusive:
            return (
                "every label whose probability reaches its threshold, chosen on validation by "
                f"{operating.rule_words(self.points[0].name)}{self._not_chosen(labels)}"
            )
        return labels.rule

    def _not_chosen(self, labels: LabelSpace) -> str:
        """For which labels the rule of the first point could not choose a threshold, and why."""
        names: dict[str, list[str]] = {}
        for k, name in enumerate(labels.outputs):
            if why := self.points[0].reason(k):
                names.setdefault(why, []).append(name)
        return "".join(
            f"; 0.5 for {listed(found)}, not chosen: {why}" for why, found in names.items()
        )

    def to_json(self) -> dict[str, Any]:
        # earlier files have no such key, and their digests stay as they are
        unusual = {"unusual": asdict(self.unusual)} if self.unusual else {}
        return {
            "calibration": asdict(self.calibration) if self.calibration else None,
            "points": [asdict(point) for point in self.points],
            "conformal": self.conformal.to_json() if self.conformal else None,
            "referral": asdict(self.referral) if self.referral else None,
            **unusual,
            # left out where there is none, as in earlier files, whose digests stay
            **({"patients": self.patients.to_json()} if self.patients else {}),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Readout:
        points = [
            {**p, "thresholds": tuple(p["thresholds"]), "reasons": tuple(p.get("reasons", ()))}
            for p in stored["points"]
        ]
        found = {key: stored[key] for key in ("calibration", "conformal", "referral")}
        return cls(
            calibration=Calibration(**found["calibration"]) if found["calibration"] else None,
            points=tuple(OperatingPoint(**p) for p in points),
            conformal=Conformal.from_json(found["conformal"]) if found["conformal"] else None,
            referral=Referral(**found["referral"]) if found["referral"] else None,
            unusual=Bounds(**stored["unusual"]) if stored.get("unusual") else None,
            patients=PatientReadout.from_json(of) if (of := stored.get("patients")) else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutConfig:
    """What to fit on validation, by names from tables, with all options."""

    calibration: str = field(metadata={"parse": chosen_calibration})
    operating_points: Rules = field(metadata={"parse": chosen_points})
    conformal: Mapping[str, Any] | None = field(metadata={"parse": chosen_conformal})
    refer_share: float | None = field(metadata={"low": 0.001, "high": 0.9})
    unusual: float | None = field(metadata={"low": 0.001, "high": 0.5})
    unit: str | None


def check_readout(config: ReadoutConfig, labels: LabelSpace, attributes: Collection[str]) -> None:
    """Check the settings before training.

    Args:
        attributes: those that the images of this data set have.

    Raises:
        UsageError: lists everything that these labels or images do not allow.
    """
    faults = []
    method = CALIBRATIONS.get(config.calibration)
    if method and labels.kind not in method.kinds:
        faults.append(
            f"readout.calibration={config.calibration} is for "
            f"{' and '.join(sorted(method.kinds))} labels, but these are {labels.kind}; "
            "temperature and platt work for every kind."
        )
    rules = [rule["name"] for rule in config.operating_points]
    if "kappa" in rules and labels.kind is not Kind.ORDINAL:
        faults.append(
            "readout.operating_points: kappa needs ordinal labels (data.kind=ordinal), but these "
            f"are {labels.kind}."
        )
    asked = {"conformal": (config.conformal or {}).get("by"), "unit": config.unit}
    for setting, by in asked.items():
        if by and by not in attributes:
            known = ", ".join(sorted(attributes)) or "none; list them in data.attributes"
            faults.append(
                f"readout.{setting}: the images have no attribute '{by}'{nearest(by, attributes)} "
                f"Attributes: {known}."
            )
    if faults:
        raise UsageError("\n".join(faults))


def fit_readout(
    config: ReadoutConfig,
    labels: LabelSpace,
    logits: Floats,
    targets: Floats,
    groups: Sequence[str],
    categories: Sequence[str] | None = None,
    looks: NDArray[np.float64] | None = None,
) -> Readout:
    """Fit on validation. Each step uses the result of the previous one, except for the bounds of
    prediction sets, which use probabilities cross-fitted by patient.

    Args:
        logits: [N, K].
        targets: [N, K], nan for "not assessed".
        groups: patient of each image [N].
        categories: attribute `conformal.by` of each image [N].
        looks: how strange each image looks, [N, strangeness.COLUMNS].
    """
    calibration = fit_calibration(config.calibration, labels, logits, targets)
    readout = Readout(calibration=calibration)
    p = readout.probabilities(labels, logits)
    referral = None
    if config.refer_share is not None and len(p):
        bound = float(np.quantile(certainty(labels, p), config.refer_share))
        referral = Referral(share=config.refer_share, certainty=bound)
    unusual = None
    if config.unusual is not None and looks is not None:
        unusual = fit_bounds(looks, groups, config.unusual)
    sets = None
    if config.conformal:
        unseen = cross_fitted(config.calibration, labels, logits, targets, groups)
        sets = fit_conformal(config.conformal, labels, unseen, targets, groups, categories)
    return Readout(
        calibration=calibration,
        points=tuple(fit_point(rule, p, targets, groups) for rule in config.operating_points),
        conformal=sets,
        referral=referral,
        unusual=unusual,
    )


def certainty(labels: LabelSpace, probabilities: Floats) -> NDArray[np.float64]:
    """How far the probabilities of each image are from a toss-up. [N] in (0, 1]

    The probability of the most probable class; for independent labels, that of the more probable
    answer (yes or no) to the label closest to one half. It depends only on probabilities, not on
    the decision, which may be less probable: a median grade or a cut of the mean grade need not be
    the most probable, and a threshold below one half may call present what is probably absent.
    """
    if labels.exclusive:
        return np.asarray(probabilities.max(axis=1))
    return np.asarray(np.maximum(probabilities, 1 - probabilities).min(axis=1))
