from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn import metrics as sk

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.metrics.table import DEFAULT_SCORE, METRICS, NUM_BINS, Scope, score, values
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import UsageError

BEST = {name for name, metric in METRICS.items() if metric.higher_is_better is not None}
ALL = [(name, kind) for name, metric in METRICS.items() for kind in sorted(metric.kinds)]
LABELS = {
    Kind.BINARY: LabelSpace(kind=Kind.BINARY, names=("healthy", "ill")),
    Kind.MULTICLASS: LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c", "d")),
    Kind.ORDINAL: LabelSpace(kind=Kind.ORDINAL, names=("0", "1", "2", "3")),
    Kind.MULTILABEL: LabelSpace(kind=Kind.MULTILABEL, names=("a", "b", "c", "d")),
}


def simulated(kind: Kind, n: int = 200, *, missing: float = 0.1, seed: int = 0) -> Predictions:
    """Predictions with many ties, some labels not assessed."""
    draw = np.random.default_rng(seed)
    width = len(LABELS[kind].outputs)
    if LABELS[kind].exclusive:
        targets = np.eye(width)[draw.integers(width, size=n)]
        targets[draw.random(n) < missing] = np.nan
    else:
        targets = (draw.random((n, width)) < 0.3).astype(float)
        targets[draw.random((n, width)) < missing] = np.nan
    logits = np.round(np.nan_to_num(targets) + draw.normal(size=(n, width)), 1)
    return of(kind, targets, logits)


def of(kind: Kind, targets: Any, logits: Any) -> Predictions:
    n, width = len(targets), len(LABELS[kind].outputs)
    return Predictions(
        labels=LABELS[kind],
        split="test",
        image_ids=tuple(map(str, range(n))),
        groups=tuple(map(str, range(n))),
        targets=np.asarray(targets, dtype=np.float32).reshape(n, width),
        logits=np.asarray(logits, dtype=np.float32).reshape(n, width),
    )


def rows(predictions: Predictions, chosen: Any) -> Predictions:
    return of(predictions.labels.kind, predictions.targets[chosen], predictions.logits[chosen])


def at_specificity(t: Any, p: Any, w: Any) -> float:
    false, true, _ = sk.roc_curve(t, p, sample_weight=w, drop_intermediate=False)
    return float(true[false <= 0.1 + 1e-9].max())


def at_sensitivity(t: Any, p: Any, w: Any) -> float:
    false, true, _ = sk.roc_curve(t, p, sample_weight=w, drop_intermediate=False)
    return float(1 - false[true >= 0.9 - 1e-9].min())


def recalibrated(t: Any, p: Any, w: Any) -> tuple[float, float]:
    """Intercept with the slope kept at 1, and slope, by a general optimiser."""
    z = np.log(p / (1 - p))

    def loss(line: Any) -> float:
        return float(w @ (np.logaddexp(0, line) - t * line))

    slope = minimize(lambda b: loss(b[0] + b[1] * z), (0.0, 1.0), tol=1e-12).x[1]
    return float(minimize(lambda a: loss(a[0] + z), (0.0,), tol=1e-12).x[0]), float(slope)


def decomposed(t: Any, p: Any, w: Any, part: str) -> float:
    total = 0.0
    for bin_ in range(NUM_BINS):
        inside = np.minimum((p * NUM_BINS).astype(int), NUM_BINS - 1) == bin_
        if w[inside].sum():
            observed = np.average(t[inside], weights=w[inside])
            near = inside if part == "reliability" else np.ones_like(inside)
            other = np.average((p if part == "reliability" else t)[near], weights=w[near])
            total += w[inside].sum() * (observed - other) ** 2
    return total / float(w.sum())


def binned(t: Any, p: Any, w: Any, bins: Any) -> float:
    gaps = [abs((w * (p - t))[bins == b].sum()) for b in np.unique(bins)]
    return float(sum(gaps) / w.sum())


ORACLES: dict[str, Any] = {
    "accuracy": lambda t, p, d, w: sk.accuracy_score(t, d, sample_weight=w),
    "auroc": lambda t, p, d, w: sk.roc_auc_score(t, p, sample_weight=w),
    "average_precision": lambda t, p, d, w: sk.average_precision_score(t, p, sample_weight=w),
    "balanced_accuracy": lambda t, p, d, w: sk.balanced_accuracy_score(t, d, sample_weight=w),
    "brier": lambda t, p, d, w: sk.brier_score_loss(t, p, sample_weight=w),
    "brier_reliability": lambda t, p, d, w: decomposed(t, p, w, "reliability"),
    "brier_resolution": lambda t, p, d, w: decomposed(t, p, w, "resolution"),
    "brier_uncertainty": lambda t, p, d, w: sk.brier_score_loss(
        t, np.full(len(t), np.average(t, weights=w)), sample_weight=w
    ),
    "calibration_intercept": lambda t, p, d, w: recalibrated(t, p, w)[0],
    "calibration_slope": lambda t, p, d, w: recalibrated(t, p, w)[1],
    "ece": lambda t, p, d, w: binned(t, p, w, np.minimum((p * NUM_BINS).astype(int), NUM_BINS - 1)),
    "ece_equal_mass": lambda t, p, d, w: binned(
        t,
        p,
        w,
        np.searchsorted(
            np.sort(p)[(np.arange(1, NUM_BINS) * (len(p) - 1)) // NUM_BINS], p, "right"
        ),
    ),
    "f1": lambda t, p, d, w: sk.f1_score(t, d, sample_weight=w),
    "log_loss": lambda t, p, d, w: sk.log_loss(t, p, sample_weight=w, labels=[0, 1]),
    "mcc": lambda t, p, d, w: sk.matthews_corrcoef(t, d, sample_weight=w),
    "partial_auc": lambda t, p, d, w: sk.roc_auc_score(t, p, sample_weight=w, max_fpr=0.1),
    "sensitivity": lambda t, p, d, w: sk.recall_score(t, d, sample_weight=w),
    "sensitivity_at_specificity": lambda t, p, d, w: at_specificity(t, p, w),
    "specificity": lambda t, p, d, w: sk.recall_score(t, d, sample_weight=w, pos_label=0),
    "specificity_at_sensitivity": lambda t, p, d, w: at_sensitivity(t, p, w),
}
TABLE_ORACLES: dict[str, Any] = {
    "accuracy": lambda t, p, d, w: sk.accuracy_score(t, d, sample_weight=w),
    "balanced_accuracy": lambda t, p, d, w: sk.balanced_accuracy_score(t, d, sample_weight=w),
    "log_loss": lambda t, p, d, w: sk.log_loss(t, p, sample_weight=w),
    "mcc": lambda t, p, d, w: sk.matthews_corrcoef(t, d, sample_weight=w),
    "mean_absolute_grade_error": lambda t, p, d, w: sk.mean_absolute_error(t, d, sample_weight=w),
    "quadratic_weighted_kappa": lambda t, p, d, w: sk.cohen_kappa_score(
        t, d, weights="quadratic", sample_weight=w
    ),
}


@pytest.mark.parametrize(("name", "kind"), ALL)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_score_equals_an_established_one_with_ties_masks_and_weights(
    name: str, kind: Kind, weighted: bool
) -> None:
    predictions = simulated(kind)
    count, labels = len(predictions.image_ids), predictions.labels
    weights = np.random.default_rng(1).integers(4, size=(3, count)) if weighted else None
    found = values(predictions, name, weights)
    target, probability = predictions.targets, predictions.probabilities
    decision, scope = predictions.decisions, METRICS[name].scope(labels)
    for r in range(len(found)):
        w = np.ones(count) if weights is None else weights[r].astype(float)
        for k in range(found.shape[1]):
            if scope is Scope.TABLE:
                known = ~np.isnan(target).any(axis=1)
                t, d = target[known].argmax(1), decision[known].argmax(1)
                expected = TABLE_ORACLES[name](t, probability[known], d, w[known])
            else:
                known = ~np.isnan(target[:, k])
                t, p, d = (cells[known] for cells in (target, probability, decision))
                if scope is Scope.CUT:
                    t, p, d = (cells[:, k + 1 :].sum(axis=1) for cells in (t, p, d))
                else:
                    t, p, d = t[:, k], p[:, k], d[:, k]
                expected = ORACLES[name.removeprefix("cut_")](t, p, d, w[known])
            # resamples are summed in single precision, and the optimiser stops early
            near = 1e-4 if name.startswith("calibration") else 3e-6
            assert found[r, k] == pytest.approx(expected, abs=near)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, kind in ALL if name != "ece_equal_mass"],  # its bins stay
)
def test_a_weight_is_the_same_as_repeating_the_row(name: str, kind: Kind) -> None:
    predictions = simulated(kind, 60)
    weights = np.random.default_rng(2).integers(4, size=(2, 60))
    weighted = values(predictions, name, weights)
    for r in range(2):
        repeated = rows(predictions, np.repeat(np.arange(60), weights[r]))
        np.testing.assert_allclose(weighted[r], values(repeated, name)[0], atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_the_order_of_rows_changes_nothing(name: str, kind: Kind) -> None:
    predictions = simulated(kind)
    shuffled = rows(predictions, np.random.default_rng(3).permutation(200))
    np.testing.assert_allclose(values(predictions, name), values(shuffled, name), atol=1e-12)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_rows_that_were_not_assessed_change_nothing(name: str, kind: Kind) -> None:
    predictions = simulated(kind, missing=0)
    width = predictions.targets.shape[1]
    more = of(
        kind,
        np.r_[predictions.targets, np.full((9, width), np.nan)],
        np.r_[predictions.logits, np.full((9, width), 50.0)],
    )
    np.testing.assert_allclose(values(predictions, name), values(more, name), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n, k in ALL if n in BEST and n != "brier_resolution"]
)
def test_perfect_predictions_have_the_best_value_and_worse_ones_a_worse(
    name: str, kind: Kind
) -> None:
    predictions = simulated(kind, missing=0)
    sign = 2 * predictions.targets - 1
    perfect = of(kind, predictions.targets, 40 * sign)
    wrong = of(kind, predictions.targets, -40 * sign)
    best = 1.0 if METRICS[name].higher_is_better else 0.0
    assert score(perfect, name) == pytest.approx(best, abs=1e-9)
    worse = score(wrong, name) - score(perfect, name)
    assert worse < 0 if METRICS[name].higher_is_better else worse > 0


@pytest.mark.parametrize(("name", "kind"), ALL)
@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan])
def test_one_class_or_none_never_crashes_and_never_makes_a_number_up(
    name: str, kind: Kind, fill: float
) -> None:
    width = len(LABELS[kind].outputs)
    targets = np.full((5, width), fill)
    if LABELS[kind].exclusive and not np.isnan(fill):
        targets = np.eye(width)[np.full(5, int(fill))]
    predictions = of(kind, targets, np.zeros((5, width)))
    found = values(predictions, name)
    needs_both = {"auroc", "average_precision", "balanced_accuracy", "partial_auc", "mcc"}
    needs_both |= {"calibration_slope", "calibration_intercept", "cut_auroc"}
    needs_both |= {"sensitivity_at_specificity", "specificity_at_sensitivity"}
    if np.isnan(fill) or name in needs_both:
        assert np.isnan(found).all()
        assert np.isnan(score(predictions, name))
    if name in {"sensitivity", "f1"} and fill == 0 and not LABELS[kind].exclusive:
        assert np.isnan(found).all()
    if name == "specificity" and fill == 1 and not LABELS[kind].exclusive:
        assert np.isnan(found).all()


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_a_resample_without_rows_is_not_available(name: str, kind: Kind) -> None:
    found = values(simulated(kind), name, np.zeros((1, 200)))
    assert np.isnan(found).all()


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_no_rows_at_all_and_a_single_row_are_survived(name: str, kind: Kind) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(score(rows(simulated(kind), np.arange(0)), name))
        score(rows(simulated(kind, missing=0), np.arange(1)), name)


def test_constant_probabilities_rank_like_chance() -> None:
    predictions = simulated(Kind.MULTILABEL)
    constant = of(Kind.MULTILABEL, predictions.targets, np.zeros_like(predictions.logits))
    assert score(constant, "auroc") == 0.5
    prevalence = np.nanmean(predictions.targets, axis=0).mean()
    assert score(constant, "average_precision") == pytest.approx(prevalence)


def test_the_macro_mean_is_over_the_labels_where_the_score_is_defined() -> None:
    predictions = simulated(Kind.MULTILABEL)
    predictions.targets[:, 2] = 0
    found = values(predictions, "auroc")[0]
    assert np.isnan(found).tolist() == [False, False, True, False]
    assert score(predictions, "auroc") == pytest.approx(found[[0, 1, 3]].mean())


def test_long_resampling_in_pieces_equals_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = simulated(Kind.MULTILABEL)
    weights = np.random.default_rng(4).integers(4, size=(20, 200), dtype=np.uint16)
    whole = values(predictions, "auroc", weights)
    monkeypatch.setattr("medcnn.statistics.metrics.rows.BLOCK_CELLS", 7 * 200)
    np.testing.assert_array_equal(values(predictions, "auroc", weights), whole)


def test_a_target_between_0_and_1_or_a_logit_that_is_no_number_is_refused() -> None:
    predictions = simulated(Kind.BINARY)
    predictions.targets[0] = 0.4
    with pytest.raises(AssertionError, match="0, 1 or nan"):
        score(predictions, "auroc")
    predictions = simulated(Kind.BINARY)
    predictions.logits[0] = np.nan
    with pytest.raises(AssertionError, match="ranked"):
        score(predictions, "auroc")


def test_a_score_that_is_not_known_or_not_defined_names_those_that_are() -> None:
    predictions = simulated(Kind.BINARY)
    with pytest.raises(UsageError, match="did you mean 'auroc'"):
        score(predictions, "aurok")
    with pytest.raises(UsageError, match=r"not defined for binary labels.*auroc"):
        score(predictions, "quadratic_weighted_kappa")


def test_the_table_is_sorted_and_every_kind_has_a_default_score() -> None:
    assert list(METRICS) == sorted(METRICS)
    assert set(DEFAULT_SCORE) == set(Kind)
    assert all(kind in METRICS[name].kinds for kind, name in DEFAULT_SCORE.items())


@pytest.mark.parametrize("spread", [1e-3, 1e-2, 0.3, 3.0])
def test_the_slope_is_found_however_little_or_much_a_model_says(spread: float) -> None:
    draw = np.random.default_rng(5)
    logits = draw.normal(size=300)
    ill = draw.random(300) < 1 / (1 + np.exp(-0.8 * logits))
    plain, scaled = (
        float(values(of(Kind.BINARY, ill, logits * by), "calibration_slope")[0][0])
        for by in (1.0, spread)
    )
    assert scaled * spread == pytest.approx(plain, rel=2e-3)
