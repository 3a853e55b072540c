"""Scores of subgroups, and their gaps to the rest."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from medcnn.data.labels import Kind
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.statistics.subgroups import FEWEST_SHOWN, RANKS, subgroups


def halves(predictions: Predictions, seed: int = 0) -> list[str]:
    """One of two sexes for each patient."""
    names = sorted(set(predictions.groups))
    sex = dict(zip(names, np.random.default_rng(seed).choice(["f", "m"], len(names)), strict=True))
    return [str(sex[g]) for g in predictions.groups]


def rows(predictions: Predictions, groups: list[str], name: str) -> list[int]:
    return [i for i, g in enumerate(groups) if g == name]


@pytest.mark.parametrize("kind", Kind)
def test_a_group_of_everybody_has_the_scores_of_the_whole_and_no_gap(simulate, kind) -> None:
    predictions = simulate(kind)
    found = subgroups(predictions, {"all": ["all"] * 120}, resamples=100)
    evaluation = evaluate(predictions, resamples=100)
    (group,) = found.groups
    assert (group.images, group.patients, found.gaps) == (120, 60, 0)
    for s in group.scores:
        whole = evaluation.find(s.score.name, s.score.label)
        assert math.isnan(s.gap)
        if s.score.label is not None or kind in (Kind.BINARY, Kind.ORDINAL):
            assert s.score.value == pytest.approx(whole.value)
            assert s.score.low == pytest.approx(whole.low)


@pytest.mark.parametrize("kind", Kind)
def test_a_group_has_the_scores_that_it_has_alone_and_a_gap_to_all_others(simulate, kind) -> None:
    predictions = simulate(kind, 600)
    sex = halves(predictions)
    found = subgroups(predictions, {"sex": sex}, resamples=100)
    alone = {
        name: evaluate(predictions.only(rows(predictions, sex, name)), resamples=2)
        for name in ("f", "m")
    }
    for group in found.groups:
        own, others = alone[group.name], alone["m" if group.name == "f" else "f"]
        for s in group.scores:
            key = (s.score.name, s.score.label)
            assert s.score.value == pytest.approx(own.find(*key).value)
            assert s.gap == pytest.approx(own.find(*key).value - others.find(*key).value)
            assert s.low < s.gap < s.high
    women, men = found.groups
    for one, other in zip(women.scores, men.scores, strict=True):
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_scores_of_groups_are_those_of_fairlearn(simulate) -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics")
    from sklearn.metrics import recall_score, roc_auc_score

    predictions = simulate(Kind.BINARY, 400)
    sex = halves(predictions)
    truth, called = predictions.targets[:, 0].astype(int), predictions.decisions[:, 0].astype(int)
    found = {g.name: g for g in subgroups(predictions, {"sex": sex}, resamples=10).groups}
    oracle = fairlearn.MetricFrame(
        metrics={"sensitivity": recall_score, "specificity": fairlearn.true_negative_rate},
        y_true=truth,
        y_pred=called,
        sensitive_features=sex,
    )
    ranked = fairlearn.MetricFrame(
        metrics={"auroc": roc_auc_score},
        y_true=truth,
        y_pred=predictions.probabilities[:, 0],
        sensitive_features=sex,
    )
    for frame in (oracle, ranked):
        for score, values in frame.by_group.items():
            for name, value in values.items():
                assert found[name].find(score).score.value == pytest.approx(value)
            gap = abs(found["f"].find(score).gap)
            assert gap == pytest.approx(frame.difference()[score])


def test_a_group_too_small_says_so_and_shows_no_number(simulate) -> None:
    predictions = simulate(Kind.BINARY, 400)
    few = ["few" if i < 2 * (FEWEST_SHOWN - 1) else "many" for i in range(400)]
    found = {g.name: g for g in subgroups(predictions, {"site": few}, resamples=50).groups}
    for s in found["few"].scores:
        assert math.isnan(s.score.value)
        assert math.isnan(s.score.low)
        assert math.isnan(s.gap)
        assert "too small: based on only" in s.score.note
        assert s.score.count > 0
    for s in found["many"].scores:
        assert not math.isnan(s.score.value)
        assert math.isnan(s.gap)
        assert s.note.startswith("the rest: too small")


def test_a_mean_is_taken_over_labels_that_both_sides_have(simulate) -> None:
    predictions = simulate(Kind.MULTICLASS, 600)
    sex = halves(predictions)
    women = rows(predictions, sex, "f")
    targets = predictions.targets.copy()
    rare = [i for i in women if targets[i, 2] == 1]
    targets[rare] = [1, 0, 0]
    found = subgroups(replace(predictions, targets=targets), {"sex": sex}, resamples=50)
    for group in found.groups:
        mean = group.find("auroc")
        labels = [group.find("auroc", name) for name in ("mass", "edema")]
        assert mean.score.note == "mean over 2 of 3 labels, without x"
        assert mean.score.value == pytest.approx(np.mean([s.score.value for s in labels]))
        assert mean.gap == pytest.approx(np.mean([s.gap for s in labels]))


def test_a_gap_within_patients_is_known_better_than_one_between(simulate) -> None:
    """Each patient has an image of either view, so what the patients share cancels out."""
    draw = np.random.default_rng(0)
    plain = simulate(Kind.BINARY, 600)
    sick = (draw.random(300) < 0.5).repeat(2)
    shared = draw.normal(0, 1.4, 300).repeat(2)
    logits = 2.0 * sick - 1 + shared + draw.normal(0, 0.3, 600)
    predictions = replace(
        plain,
        targets=sick[:, None].astype(np.float32),
        logits=logits[:, None].astype(np.float32),
    )
    width = {}
    for name, groups in (("within", ["a", "b"] * 300), ("between", halves(predictions))):
        found = subgroups(predictions, {name: groups}, resamples=200).groups[0].find("auroc")
        width[name] = found.high - found.low
    assert width["within"] < width["between"] / 2


def test_pseudonyms_change_nothing(simulate) -> None:
    predictions = simulate(Kind.BINARY)
    renamed = replace(predictions, groups=tuple(f"{hash(g):x}" for g in predictions.groups))
    sex = halves(predictions)
    one, other = (subgroups(p, {"sex": sex}, resamples=50) for p in (predictions, renamed))
    assert str(one) == str(other)


def test_as_many_resamples_as_patients_mix_up_no_noise(simulate) -> None:
    """Grades have a score that is resampled and others with an influence of each patient."""
    predictions = simulate(Kind.ORDINAL, 400)
    levels = [
        subgroups(predictions, {"sex": halves(predictions)}, resamples=n).level
        for n in (199, 200, 201)
    ]
    assert np.ptp(levels) < 0.003


def test_out_of_fold_each_decision_is_that_of_its_own_model_and_nothing_is_ranked(simulate) -> None:
    whole = simulate(Kind.BINARY, 240)
    fold = tuple(1 + at // 2 % 2 for at in range(240))
    shift = np.where(np.array(fold) == 1, 0.0, 3.0)[:, None].astype(np.float32)
    models = tuple(Readout.of_thresholds([1 / (1 + np.exp(-cut))]) for cut in (0.0, 3.0))
    joined = replace(whole, logits=whole.logits + shift, folds=fold, by_fold=models)
    sex = halves(whole)
    of_folds, of_one = (
        subgroups(p, {"sex": sex})
        for p in (joined, replace(whole, readout=Readout.of_thresholds([0.5])))
    )
    for found, alone in zip(of_folds.groups, of_one.groups, strict=True):
        names = {s.score.name for s in found.scores}
        assert names == {"sensitivity", "specificity", "calibration_intercept"}
        for name in ("sensitivity", "specificity"):
            own, other = found.find(name), alone.find(name)
            assert own.score == other.score, "the second model says 3 more and asks for 3 more"
            assert own.gap == other.gap


@pytest.mark.parametrize("kind", Kind)
def test_out_of_fold_no_kind_of_label_has_a_score_of_ranks(simulate, kind) -> None:
    whole = simulate(kind, 240)
    joined = replace(whole, folds=(1, 1, 2, 2) * 60, by_fold=(whole.readout,) * 2)
    found = subgroups(joined, {"sex": halves(whole)})
    assert {s.score.name for g in found.groups for s in g.scores} & RANKS == set()
    assert all(g.scores for g in found.groups)


def population(draw: np.random.Generator, simulate, gap: float = 0.0) -> tuple[Predictions, dict]:
    """200 patients of 2 images; 100 of them women, by whom logits are shifted."""
    sick, woman = draw.random(200) < 0.4, np.arange(200) % 2 == 0
    shared = draw.normal(0, 0.8, 200)
    at = np.repeat(np.arange(200), 2)
    logits = 2.0 * sick[at] - 1 + shared[at] + draw.normal(0, 0.6, 400) + gap * woman[at]
    predictions = replace(
        simulate(Kind.BINARY, 400),
        targets=sick[at, None].astype(np.float32),
        logits=logits[:, None].astype(np.float32),
    )
    sites = draw.choice(["a", "b", "c", "d"], 200)[at]
    return predictions, {"sex": ["f" if w else "m" for w in woman[at]], "site": list(sites)}


def test_where_no_group_differs_few_sets_raise_any_alarm(simulate) -> None:
    """Of 40 sets; docs/metrics.md has a longer simulation."""
    draw = np.random.default_rng(0)
    alarms = 0
    for _ in range(40):
        found = subgroups(*population(draw, simulate), resamples=200)
        assert 20 <= found.gaps <= 24
        assert 0.99 < found.level <= 1 - 0.05 / 24
        alarms += any(s.alarm for g in found.groups for s in g.scores)
    assert alarms <= binom.ppf(0.99, 40, 0.05)


def test_a_gap_is_shown_about_as_often_as_its_size_promises(simulate) -> None:
    """A shift of the logits that takes about 0.24 from the specificity of women."""
    draw = np.random.default_rng(1)
    wide, seen, smallest = [], [], []
    for _ in range(30):
        women = subgroups(*population(draw, simulate, 0.85), resamples=100).groups[0]
        s = women.find("specificity")
        wide.append(s.gap)
        seen.append(s.alarm)
        smallest.append(s.smallest)
    assert np.mean(wide) == pytest.approx(-np.mean(smallest), abs=0.03)
    assert 0.6 < np.mean(seen) < 0.97


def test_holms_p_of_a_gap_goes_with_its_interval_and_counts_all_gaps(simulate) -> None:
    predictions = simulate(Kind.BINARY, 400)
    sex = halves(predictions)
    worse = predictions.logits.copy()
    women = [i for i, s in enumerate(sex) if s == "f"]
    worse[women] = np.random.default_rng(1).normal(size=(len(women), 1))
    found = subgroups(replace(predictions, logits=worse), {"sex": sex}, resamples=200)
    told = [s for g in found.groups for s in g.scores if not math.isnan(s.low)]
    assert len(told) == found.gaps
    assert found.groups[0].find("auroc").p_holm < 0.001
    for s in told:
        assert 0 <= s.p_holm <= 1
        if s.p_holm < 0.04:
            assert s.alarm
        if s.alarm:
            assert s.p_holm < 0.06
    same = subgroups(predictions, {"sex": sex}, resamples=200)
    ps = [s.p_holm for g in same.groups for s in g.scores if not math.isnan(s.low)]
    assert min(ps) > 0.05
    assert "gap_p_holm" in same.groups[0].scores[0].to_json()
