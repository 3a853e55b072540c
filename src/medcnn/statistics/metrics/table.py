"""All scores in one table; each formula takes resampling weights, so intervals are cheap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.intervals import FEWEST
from medcnn.statistics.metrics import calibration_line as line
from medcnn.statistics.metrics.formulas import (
    accuracy,
    auroc,
    auroc_floor,
    auroc_influence,
    average_precision,
    balanced_accuracy,
    brier,
    brier_reliability,
    brier_resolution,
    brier_uncertainty,
    calibration_gaps,
    ece,
    ece_equal_mass,
    equal_mass_gaps,
    f1,
    log_loss,
    mcc,
    mean_absolute_grade_error,
    partial_auc,
    quadratic_weighted_kappa,
    reliability_terms,
    sensitivity,
    sensitivity_at_specificity,
    specificity,
    specificity_at_sensitivity,
    table_accuracy,
    table_balanced_accuracy,
    table_mcc,
)
from medcnn.statistics.metrics.influences import (
    EPS,
    Floor,
    Influence,
    Kernel,
    classes,
    every,
    grade_error,
    grade_errors,
    mean_floor,
    mean_influence,
    negatives,
    positives,
    right,
    share_floor,
    squared,
    squared_losses,
    surprise,
    surprises,
)
from medcnn.statistics.metrics.rows import (
    NUM_BINS,
    Assessed,
    Bools,
    Floats,
    Ints,
    Rows,
    Sample,
    Scope,
    probability_bin,
    samples,
)
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import UsageError
from medcnn.system.registry import Table

__all__ = [
    "DEFAULT_SCORE",
    "METRICS",
    "NUM_BINS",
    "Assessed",
    "Bools",
    "Floats",
    "Ints",
    "Metric",
    "Rows",
    "Sample",
    "Scope",
    "auroc",
    "auroc_influence",
    "choosing",
    "metric_for",
    "probability_bin",
    "right",
    "samples",
    "score",
    "values",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One score.

    Attributes:
        title: its name in the report.
        label: kernel for one label; used for each class (one-vs-rest) if `table` is None.
        table: kernel for all exclusive classes at once.
        cut: the label kernel applies to each grade or worse, instead of each label.
        kinds: kinds of labels for which the score has a meaning.
        higher_is_better: None if neither is better; then it cannot choose an epoch.
        bounds: of its values and its interval, see `span`.
        of_grades: it is a distance of grades, so the upper bound is K - 1.
        influence: of each row on the score, in parts [n] that are separate means, nan for rows
            outside the part; the interval is made from it without resampling.
        floor: a variance from rows and their patients [n]; if the influence or the resamples give
            a smaller one, the mean of both is used.
        signed: for a sum of absolute values or squares: its terms [R, T] with their signs. Noise
            makes such a sum too large, so the interval is an inverted test of these.
        power: 1 for absolute values, 2 for squares.
        sides: for the share of rows decided correctly, or a mean of several such shares: the rows
            [n] of each share.
        of_prevalence: it is p (1 - p) of the share p of positives.
        decided: it also depends on how many patients are called positive, and negative.
        mistaken: it also depends on how many patients have an image whose true answer is less
            probable than the other.
        of_all: it depends on all patients, not on those of the rarer side.
        unbiased: False if noise makes it larger, and its resamples once more.
        needs: fewest patients on the rarer side for which the interval was found reliable; below,
            there is none (docs/metrics.md).
        undefined: why it may be undefined although both classes occur.
    """

    title: str
    label: Kernel | None = None
    table: Kernel | None = None
    cut: bool = False
    kinds: frozenset[Kind] = frozenset(Kind)
    higher_is_better: bool | None = True
    bounds: tuple[float, float] = (0.0, 1.0)
    of_grades: bool = False
    influence: Influence | None = None
    floor: Floor | None = None
    signed: Kernel | None = None
    power: int = 1
    sides: Callable[[Rows], Sequence[Bools]] | None = None
    of_prevalence: bool = False
    decided: bool = False
    mistaken: bool = False
    of_all: bool = False
    unbiased: bool = True
    needs: int = FEWEST
    undefined: str = "all images get the same decision"

    @property
    def method(self) -> str:
        """The method of its interval; see docs/metrics.md."""
        if self.signed is not None:
            return "inverted test"
        if self.sides is not None or self.of_prevalence:
            return "wilson"
        if self.influence is None:
            return "bootstrap"
        if self.influence is auroc_influence:
            return "delong"
        return "linearised"

    def scope(self, labels: LabelSpace) -> Scope:
        if self.cut:
            return Scope.CUT
        return Scope.LABEL if self.table is None or not labels.exclusive else Scope.TABLE

    def span(self, labels: LabelSpace) -> tuple[float, float]:
        """Smallest and largest value for these labels."""
        return (0.0, len(labels.outputs) - 1.0) if self.of_grades else self.bounds

    def kernel(self, labels: LabelSpace) -> Kernel:
        kernel = self.table if self.scope(labels) is Scope.TABLE else self.label
        assert kernel is not None, "a table has a kernel for every kind it names"
        return kernel


ORDINAL = frozenset({Kind.ORDINAL})


_METRICS = {
    "accuracy": Metric(title="Accuracy", label=accuracy, table=table_accuracy, sides=every),
    "auroc": Metric(title="AUROC", label=auroc, influence=auroc_influence, floor=auroc_floor),
    "average_precision": Metric(
        title="Average precision",
        label=average_precision,
        floor=share_floor(average_precision, 0.5),
    ),
    "balanced_accuracy": Metric(
        title="Balanced accuracy",
        label=balanced_accuracy,
        table=table_balanced_accuracy,
        sides=classes,
    ),
    "brier": Metric(
        title="Brier score",
        label=brier,
        higher_is_better=False,
        influence=mean_influence(squared),
        floor=mean_floor(squared_losses),
        of_all=True,
    ),
    "brier_reliability": Metric(
        title="Brier reliability",
        label=brier_reliability,
        higher_is_better=False,
        signed=reliability_terms,
        mistaken=True,
        needs=15,
        power=2,
    ),
    "brier_resolution": Metric(
        title="Brier resolution",
        label=brier_resolution,
        bounds=(0.0, 0.25),
        unbiased=False,
        mistaken=True,
        needs=30,
    ),
    "brier_uncertainty": Metric(
        title="Brier uncertainty",
        label=brier_uncertainty,
        higher_is_better=None,
        bounds=(0.0, 0.25),
        of_prevalence=True,
        of_all=True,
    ),
    "calibration_intercept": Metric(
        title="Calibration intercept",
        label=line.calibration_intercept,
        higher_is_better=None,
        bounds=(-np.inf, np.inf),
        influence=line.intercept_influence,
        floor=line.intercept_floor,
    ),
    "calibration_slope": Metric(
        title="Calibration slope",
        label=line.calibration_slope,
        higher_is_better=None,
        bounds=(-np.inf, np.inf),
        influence=line.slope_influence,
        floor=line.slope_floor,
        undefined="a threshold separates the classes",
    ),
    "cut_auroc": Metric(
        title="AUROC of this grade or above",
        label=auroc,
        cut=True,
        kinds=ORDINAL,
        influence=auroc_influence,
        floor=auroc_floor,
    ),
    "cut_sensitivity": Metric(
        title="Sensitivity for this grade or above",
        label=sensitivity,
        cut=True,
        kinds=ORDINAL,
        sides=positives,
    ),
    "cut_specificity": Metric(
        title="Specificity for this grade or above",
        label=specificity,
        cut=True,
        kinds=ORDINAL,
        sides=negatives,
    ),
    "ece": Metric(
        title="Calibration error", label=ece, higher_is_better=False, signed=calibration_gaps
    ),
    "ece_equal_mass": Metric(
        title="Calibration error, bins of equal mass",
        label=ece_equal_mass,
        higher_is_better=False,
        signed=equal_mass_gaps,
    ),
    "f1": Metric(title="F1", label=f1),
    "log_loss": Metric(
        title="Log loss",
        label=log_loss,
        table=log_loss,
        higher_is_better=False,
        bounds=(0.0, -math.log(EPS)),  # where `surprise` cuts it off
        influence=mean_influence(surprise),
        floor=mean_floor(surprises),
        of_all=True,
    ),
    "mcc": Metric(
        title="Matthews correlation", label=mcc, table=table_mcc, bounds=(-1.0, 1.0), decided=True
    ),
    "mean_absolute_grade_error": Metric(
        title="Mean absolute grade error",
        table=mean_absolute_grade_error,
        kinds=ORDINAL,
        higher_is_better=False,
        bounds=(0.0, np.inf),
        of_grades=True,
        influence=mean_influence(grade_error),
        floor=mean_floor(grade_errors),
        of_all=True,
    ),
    "partial_auc": Metric(
        title="Partial AUC, specificity 0.9 to 1",
        label=partial_auc,
        floor=share_floor(partial_auc, 0.75),
        needs=10,
    ),
    "quadratic_weighted_kappa": Metric(
        title="Quadratic weighted kappa",
        table=quadratic_weighted_kappa,
        kinds=ORDINAL,
        bounds=(-1.0, 1.0),
    ),
    "sensitivity": Metric(title="Sensitivity", label=sensitivity, sides=positives),
    "sensitivity_at_specificity": Metric(
        title="Sensitivity at specificity 0.9", label=sensitivity_at_specificity
    ),
    "specificity": Metric(title="Specificity", label=specificity, sides=negatives),
    "specificity_at_sensitivity": Metric(
        title="Specificity at sensitivity 0.9", label=specificity_at_sensitivity, needs=10
    ),
}


METRICS = Table("score", _METRICS, group="scores", kind=Metric)


def choosing() -> list[str]:
    """The scores that can choose an epoch. Those of plug-ins are included without importing them,
    although some may have no better and worse."""
    neither = {n for n, m in _METRICS.items() if m.higher_is_better is None}
    return [n for n in METRICS if n not in neither]


DEFAULT_SCORE: dict[Kind, str] = dict.fromkeys(Kind, "auroc")
"""The default validation score for choosing the best epoch: it needs no threshold."""


def metric_for(name: str, kind: Kind) -> Metric:
    """The entry of `METRICS`.

    Raises:
        UsageError: no such score, or it is not defined for this kind of label.
    """
    metric = METRICS.choose(name)
    if kind not in metric.kinds:
        raise UsageError(
            f"score '{name}' is not defined for {kind} labels. Defined: "
            + ", ".join(n for n, m in METRICS.items() if kind in m.kinds)
            + "."
        )
    return metric


def values(predictions: Predictions, name: str, weights: NDArray[Any] | None = None) -> Floats:
    """The score in each resample.

    Args:
        weights: [R, N] how often each row is in each resample; None: once, in a single one.

    Returns:
        [R, K] one column per label, [R, K - 1] one per cut between grades, or [R, 1] where the
        score is for the whole table; nan if undefined.

    Raises:
        UsageError: the score does not exist or is not defined for this kind of label.
    """
    metric, labels = metric_for(name, predictions.labels.kind), predictions.labels
    kernel, parts = (
        metric.kernel(labels),
        Assessed(predictions=predictions).of(metric.scope(labels)),
    )
    if weights is None:
        return np.stack([kernel(Sample.once(rows)) for rows in parts], axis=1)
    return np.stack(
        [np.concatenate([kernel(s) for s in samples(rows, weights)]) for rows in parts], axis=1
    )


def score(predictions: Predictions, name: str) -> float:
    """The overall value: for the table, or the unweighted mean over labels with a defined value.

    nan if it is defined for none. Raises like `values`.
    """
    found = values(predictions, name)[0]
    defined = found[~np.isnan(found)]
    return float(defined.mean()) if len(defined) else float("nan")
