from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtr
from scipy.stats import binomtest, norm

from medcnn.data.labels import Kind
from medcnn.statistics.comparing import aligned, compare, mcnemar
from medcnn.statistics.differences import Pairing, adjusted, holm
from medcnn.statistics.intervals import students
from medcnn.statistics.metrics.table import METRICS, score
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError


def noisier(predictions: Predictions, by: float = 1.0, seed: int = 5) -> Predictions:
    noise = np.random.default_rng(seed).normal(size=predictions.logits.shape) * by
    return replace(predictions, logits=(predictions.logits + noise).astype(np.float32))


def shuffled(predictions: Predictions, seed: int = 0) -> Predictions:
    order = np.random.default_rng(seed).permutation(len(predictions.image_ids))
    return replace(
        predictions,
        image_ids=tuple(predictions.image_ids[i] for i in order),
        groups=tuple(predictions.groups[i] for i in order),
        targets=predictions.targets[order],
        logits=predictions.logits[order],
    )


def only(pairing: Pairing, name: str):
    return next(d for d in pairing.differences if (d.score, d.label) == (name, None))


@pytest.mark.parametrize("kind", Kind)
def test_a_difference_is_that_of_the_scores_and_lies_in_its_interval(simulate, kind: Kind) -> None:
    a = simulate(kind)
    b = noisier(a)
    pairing = compare(a, b, resamples=200)
    assert len({(d.score, d.label) for d in pairing.differences}) == len(pairing.differences)
    for d in pairing.differences:
        if d.label is None:
            assert (d.reference, d.other) == pytest.approx((score(a, d.score), score(b, d.score)))
        assert d.low < d.difference < d.high
        assert 0 < d.p <= 1
        assert 0 < d.p_permuted <= 1
        # interval and p are the same statement
        assert (d.p < 0.05) == (d.low > 0 or d.high < 0)


def test_the_paired_test_of_two_areas_is_delongs(simulate) -> None:
    """Written out as in DeLong, DeLong and Clarke-Pearson 1988, for one image per patient."""
    a = simulate(Kind.BINARY, 90, images_per_group=1)
    b = noisier(a)
    target = a.targets[:, 0] == 1

    def placements(p: Predictions) -> tuple[np.ndarray, np.ndarray]:
        x, y = p.logits[target, 0], p.logits[~target, 0]
        wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        return wins.mean(axis=1), wins.mean(axis=0)

    (v10, v01), (w10, w01) = placements(a), placements(b)
    variance = np.var(w10 - v10, ddof=1) / len(v10) + np.var(w01 - v01, ddof=1) / len(v01)
    found = only(compare(a, b, ["auroc"], resamples=100), "auroc")
    z = found.difference / math.sqrt(variance)
    assert found.difference == pytest.approx(w10.mean() - v10.mean())
    assert found.p == pytest.approx(2 * norm.sf(abs(z)), abs=0.01)  # Student's t for the normal
    assert found.method == "delong"


@pytest.mark.parametrize("seed", range(3))
def test_the_paired_test_agrees_with_mlstatkit(simulate, seed: int) -> None:
    from MLstatkit import Delong_test

    a = simulate(Kind.BINARY, 400, images_per_group=1, seed=seed)
    b = noisier(a, 0.7, seed)
    truth, x, y = (v[:, 0] for v in (a.targets, a.probabilities, b.probabilities))
    z, p = Delong_test(truth.astype(int), x, y, return_ci=False, return_auc=False)
    found = only(compare(a, b, ["auroc"], resamples=100), "auroc")
    # theirs is the normal, ours Student's t of some 150 patients
    assert found.p == pytest.approx(p, abs=0.005)
    assert np.sign(found.difference) == np.sign(z)


def test_an_exchange_is_what_all_exchanges_would_say(simulate) -> None:
    a = simulate(Kind.MULTICLASS, 18, seed=3)
    b = noisier(a, 2.0)
    found = only(compare(a, b, ["accuracy"], resamples=4000), "accuracy")
    right = [(p.decisions & (p.targets == 1)).any(axis=1).astype(int) for p in (a, b)]
    gained = (right[1] - right[0]).reshape(9, 2).sum(axis=1)
    signs = np.array(list(itertools.product((-1, 1), repeat=9)))
    exact = (np.abs(signs @ gained) >= abs(gained.sum())).mean()
    assert found.p_permuted == pytest.approx(exact, abs=0.03)
    answers = compare(a, b, ["accuracy"], resamples=100).discordances[0]
    assert answers.p == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("patients", [1, 3])
def test_few_patients_have_few_exchanges_of_any_score(simulate, patients: int) -> None:
    """Of all 2^m exchanges two are as far: none and all. Sums in float32 must not lose the tie."""
    for kind, size in itertools.product((Kind.BINARY, Kind.ORDINAL), (6, 300)):
        a = simulate(kind, size * patients, images_per_group=size)
        names = [n for n, metric in METRICS.items() if kind in metric.kinds]
        for d in compare(a, noisier(a), names, resamples=400).differences:
            assert math.isnan(d.p_permuted) or d.p_permuted > 0.7 * 2 / 2**patients, d


def test_a_difference_without_spread_has_no_p_and_is_not_called_none(simulate) -> None:
    a = simulate(Kind.BINARY)
    right, wrong = (replace(a, logits=s * (4 * a.targets - 2)) for s in (1, -1))
    found = {d.score: d for d in compare(right, wrong, resamples=100).differences}
    for name in ("auroc", "accuracy", "f1", "brier", "ece"):
        assert found[name].difference
        assert math.isnan(found[name].p)
        assert "the difference is the same in every resample" in found[name].note


def test_no_interval_holds_a_difference_that_cannot_be(simulate) -> None:
    a = simulate(Kind.BINARY, 60)
    steep = replace(a, logits=a.logits * 1e6)  # nearly all probabilities are 0 or 1
    (d,) = compare(a, steep, ["sensitivity_at_specificity"], resamples=200).differences
    assert d.low == -1 < d.difference < d.high


def test_it_does_not_matter_which_run_is_the_reference(simulate) -> None:
    a = simulate(Kind.BINARY)
    few = replace(a, logits=np.where(np.arange(120)[:, None] < 8, 3, -3).astype(np.float32))
    names = [n for n, metric in METRICS.items() if Kind.BINARY in metric.kinds]
    there, back = (
        {d.score: d for d in compare(*pair, names, resamples=200).differences}
        for pair in ((a, few), (few, a))
    )
    for name, d in there.items():
        turned = (-d.high, -d.low, d.p, d.p_permuted)
        b = back[name]
        assert (b.low, b.high, b.p, b.p_permuted) == pytest.approx(turned, nan_ok=True, rel=1e-4), d
        assert b.note == d.note


def test_mcnemar_is_the_binomial_test_of_single_images_and_counts_patients_of_several() -> None:
    gained = np.array([1] * 12 + [-1] * 4 + [0] * 30)
    assert mcnemar(gained) == pytest.approx(binomtest(4, 16).pvalue)
    assert mcnemar(np.zeros(5, dtype=int)) == 1
    # the same 16 images of four patients say less
    assert mcnemar(np.array([12, -4])) > mcnemar(gained)


def test_holm_steps_down_and_leaves_out_what_is_not_known() -> None:
    assert holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx(
        [0.03, math.nan, 0.06, 0.06], nan_ok=True
    )
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_models_that_never_differ_are_said_to(simulate) -> None:
    a = simulate(Kind.MULTILABEL, missing=0.1)
    for d in compare(a, a, resamples=100).differences:
        assert d.difference == 0
        assert math.isnan(d.p)
        assert math.isnan(d.p_permuted)
        assert "agree on every image" in d.note


@pytest.mark.parametrize("kind", Kind)
def test_what_cannot_be_known_has_a_reason_and_no_number(simulate, kind: Kind) -> None:
    a = simulate(kind, 12, images_per_group=4)  # three patients
    one = np.zeros_like(a.targets)
    one[:, 0] = kind is not Kind.BINARY
    for p in (a, replace(a, targets=one), replace(a, targets=np.full_like(one, np.nan))):
        for d in compare(p, noisier(p), resamples=100).differences:
            assert math.isnan(d.p) == math.isnan(d.low)
            assert d.note if math.isnan(d.p) else not d.note.startswith("not")


def test_rows_are_matched_by_image_whatever_their_order(simulate) -> None:
    a = simulate(Kind.ORDINAL)
    b = noisier(a)
    pair = aligned({"a": a, "b": shuffled(b)})
    one, other = compare(pair["a"], pair["b"], resamples=50), compare(a, b, resamples=50)
    assert repr(one) == repr(other), "nan included"


def test_all_that_keeps_runs_apart_is_said_at_once(simulate) -> None:
    a = simulate(Kind.BINARY)
    fewer = replace(
        noisier(a),
        image_ids=("other", *a.image_ids[1:]),
        targets=np.r_[a.targets[:1], 1 - a.targets[1:2], a.targets[2:]],
    )
    with pytest.raises(DataError) as refused:
        aligned({"a": a, "b": fewer})
    for part in (
        "a has 1 image that some others lack: image 0",
        "b has 1",
        "b labels 1 image differently",
    ):
        assert part in str(refused.value)
    with pytest.raises(DataError) as refused:
        aligned({"a": a, "b": replace(a, targets=1 - a.targets)})
    assert "common=true" not in str(refused.value)  # that would not help
    with pytest.raises(DataError, match="b contains some images twice"):
        aligned({"a": a, "b": replace(a, image_ids=a.image_ids[:1] * 120)})
    with pytest.raises(DataError, match="different patients"):
        aligned({"a": a, "b": replace(a, groups=a.image_ids)})
    with pytest.raises(DataError, match="same classes"):
        aligned({"a": a, "b": simulate(Kind.MULTICLASS)})
    with pytest.raises(DataError, match="no image in common"):
        aligned({"a": a, "b": replace(a, image_ids=tuple(f"x{i}" for i in a.image_ids))})
    missing = replace(a, image_ids=("other", *a.image_ids[1:]))
    pair = aligned({"a": a, "b": missing}, common=True)
    assert [len(p.image_ids) for p in pair.values()] == [119, 119]


def test_not_inferior_means_that_the_interval_excludes_the_margin(simulate) -> None:
    a = simulate(Kind.BINARY, 400)
    pairing = compare(a, noisier(a, 0.2), resamples=100)

    def not_inferior(score: str, margin: float) -> bool | None:
        return only(adjusted({"b": pairing}, {score: margin})["b"], score).not_inferior

    d = only(pairing, "auroc")
    assert d.not_inferior is None  # nobody gave a margin
    assert not_inferior("auroc", -d.low + 1e-6)
    assert not_inferior("auroc", -d.low - 1e-6) is False
    brier = only(pairing, "brier")  # less is better: the other end counts
    assert not_inferior("brier", brier.high + 1e-6)
    assert not_inferior("brier", brier.high - 1e-6) is False


def test_a_margin_is_meant_for_the_first_score_or_for_those_that_are_named(simulate) -> None:
    a = simulate(Kind.BINARY, 400)
    pairing = compare(a, noisier(a, 0.2), resamples=100)
    one = adjusted({"b": pairing}, 0.5)["b"].differences
    assert [d.score for d in one if d.margin is not None] == ["auroc"]
    assert [d.score for d in one if d.not_inferior is not None] == ["auroc"]
    both = adjusted({"b": pairing}, {"auroc": 0.5, "brier": 0.001})["b"].differences
    margins = {d.score: d for d in both if d.margin is not None}
    assert set(margins) == {"auroc", "brier"}
    for d in margins.values():
        # one-sided at 2.5 % is where the end of the 95 % interval meets the margin
        reach = (d.high - d.low) / 2
        t = (d.difference * d.better + d.margin) / (reach / students(d.freedom))
        assert d.p_inferior == pytest.approx(1 - stdtr(d.freedom, t), abs=1e-9)
        assert (d.p_inferior_holm < 0.025) == d.not_inferior
    found = [d.p_inferior for d in margins.values()]
    assert [d.p_inferior_holm for d in margins.values()] == holm(found)


def test_a_model_that_is_worse_by_less_than_the_margin_is_both_worse_and_not_inferior(
    simulate,
) -> None:
    a = simulate(Kind.BINARY, 3000)
    (d,) = adjusted({"b": compare(a, noisier(a, 0.5), ["auroc"], resamples=50)}, 0.2)[
        "b"
    ].differences
    assert d.verdict == "worse, not inferior"
    (d,) = adjusted({"a": compare(noisier(a, 0.5), a, ["auroc"], resamples=50)}, 0.2)[
        "a"
    ].differences
    assert d.verdict == "better"
    same = compare(a, noisier(a, 0.05), ["auroc"], resamples=50)
    (d,) = adjusted({"b": same}, 1e-6)["b"].differences
    assert d.verdict in ("", "inferiority not excluded")
    assert adjusted({"b": same})["b"].differences[0].margin is None


def test_where_the_interval_is_refused_there_is_no_p_and_one_reason(simulate) -> None:
    few = simulate(Kind.BINARY, 8)
    d = only(compare(few, noisier(few), ["auroc"], resamples=50), "auroc")
    assert math.isnan(d.low)
    assert math.isnan(d.p)
    assert math.isnan(d.p_permuted)
    assert re.fullmatch(r"interval not available: based on only \d groups?", d.note)


def test_tests_of_equal_models_reject_as_often_as_they_say(simulate) -> None:
    """In short; benchmarks/comparing.py has the table of docs/comparing.md."""
    rejected = {"p": 0, "p_permuted": 0}
    for seed in range(150):
        truth = simulate(Kind.BINARY, 60, seed=seed)
        shared = np.repeat(np.random.default_rng(seed).normal(size=(2, 30)), 2, axis=1)[:, :, None]
        a, b = (replace(truth, logits=(truth.logits + s).astype(np.float32)) for s in shared)
        d = only(compare(a, b, ["auroc"], resamples=100, seed=seed), "auroc")
        for which in rejected:
            rejected[which] += getattr(d, which) < 0.05
    assert all(1 <= n <= 15 for n in rejected.values()), rejected


def test_adjustment_spans_all_runs(simulate) -> None:
    a = simulate(Kind.BINARY)
    one = compare(a, noisier(a, 3.0), ["auroc"], resamples=50)
    both = adjusted({"x": one, "y": one})
    assert both["x"].differences[0].p_holm == pytest.approx(2 * one.differences[0].p)
    assert [d.p_holm for d in both["y"].discordances] == holm([d.p for d in one.discordances] * 2)[
        3:
    ]
