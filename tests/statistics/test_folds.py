"""Scores of a cross-validation: averaged over folds, never of all folds in one table."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medcnn.data.labels import Kind
from medcnn.statistics.comparing import aligned
from medcnn.statistics.decisions import OperatingPoint, Readout
from medcnn.statistics.folds import cross_validated, out_of_fold
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.system.errors import DataError


def folded(simulate, kind=Kind.BINARY, n=240, folds=3, shift=4.0, **more) -> Predictions:
    """One table of several models; each fold's logits lie `shift` above those of the last."""
    whole = simulate(kind, n, **more)
    size = n // folds
    parts = []
    for f in range(folds):
        part = whole.only(range(f * size, (f + 1) * size))
        width = len(part.labels.outputs)
        threshold = 1 / (1 + math.exp(-shift * f))
        point = OperatingPoint(name="youden", thresholds=(threshold,) * width)
        readout = Readout() if part.labels.exclusive else Readout(points=(point,))
        parts.append(replace(part, logits=part.logits + np.float32(shift * f), readout=readout))
    return out_of_fold(parts, whole.image_ids, 1)


def test_the_score_is_the_mean_over_folds_and_not_that_of_one_table(simulate) -> None:
    oof = folded(simulate)
    by_hand = [roc_auc_score(p.targets[:, 0], p.logits[:, 0]) for _, p in oof.each_fold()]
    found = cross_validated([oof], resamples=50)
    auroc = found.evaluation.find("auroc")
    assert auroc.value == pytest.approx(np.mean(by_hand))
    assert found.by_fold["auroc"] == [pytest.approx(by_hand)]
    assert auroc.low < auroc.value < auroc.high
    # other scales of the folds make no difference, while one table of all would lose
    same = cross_validated([folded(simulate, shift=0.0)], resamples=50).evaluation.find("auroc")
    assert (same.value, same.low, same.high) == pytest.approx(
        (auroc.value, auroc.low, auroc.high), abs=1e-6
    )
    pooled = roc_auc_score(oof.targets[:, 0], oof.logits[:, 0])
    assert pooled < auroc.value - 0.1


def test_each_fold_is_decided_by_its_own_thresholds(simulate) -> None:
    oof = folded(simulate)
    plain = folded(simulate, shift=0.0)
    assert (oof.decisions == plain.decisions).all()
    accuracy = cross_validated([oof], resamples=20).evaluation.find("accuracy")
    assert accuracy.value == pytest.approx(
        np.mean([score(p, "accuracy") for _, p in oof.each_fold()])
    )


def test_whoever_evaluates_out_of_fold_predictions_gets_the_mean_over_folds(simulate) -> None:
    oof = folded(simulate, n=60)
    assert evaluate(oof, resamples=20) == cross_validated([oof], resamples=20).evaluation


def test_scores_that_noise_makes_larger_in_small_folds_are_left_out(simulate) -> None:
    names = {s.name for s in evaluate(folded(simulate, n=60), resamples=20).scores}
    assert {"auroc", "brier", "sensitivity"} <= names
    assert names.isdisjoint({"ece", "ece_equal_mass", "brier_reliability", "brier_resolution"})


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_label_has_overall_scores_and_those_of_labels(simulate, kind) -> None:
    oof = folded(simulate, kind, n=180, missing=0.05)
    found = cross_validated([oof], resamples=30)
    for name, rows in found.by_fold.items():
        overall = found.evaluation.find(name)
        assert overall.value == pytest.approx(np.nanmean(rows), abs=0.02), name
    if kind is Kind.MULTILABEL:
        own = [found.evaluation.find("auroc", label).value for label in oof.labels.outputs]
        assert found.evaluation.find("auroc").value == pytest.approx(np.mean(own))


def test_repeats_are_averaged_over_the_same_patients(simulate) -> None:
    one = folded(simulate, n=120)
    twice = cross_validated([one, replace(one, split="oof_2")], resamples=50)
    once = cross_validated([one], resamples=50).evaluation
    for both, alone in zip(twice.evaluation.scores, once.scores, strict=True):
        assert [both.value, both.low] == pytest.approx([alone.value, alone.low])
    assert twice.by_fold["auroc"][0] == twice.by_fold["auroc"][1]


def test_a_fold_without_a_class_is_left_out_of_that_mean_and_this_is_said(simulate) -> None:
    oof = folded(simulate, Kind.MULTILABEL, n=120)
    targets = oof.targets.copy()
    targets[np.array(oof.folds) == 2, 0] = 0
    found = evaluate(replace(oof, targets=targets), resamples=30)
    assert "mean over 2 of 3 folds" in found.find("auroc", oof.labels.outputs[0]).note
    assert found.find("auroc", oof.labels.outputs[1]).note == ""
    assert found.find("auroc").note == "mean over 3 of 3 labels"
    one = folded(simulate, n=120)
    targets = one.targets.copy()
    targets[np.array(one.folds) == 2] = 1
    found = evaluate(replace(one, targets=targets), resamples=30)
    assert "mean over 2 of 3 folds" in found.find("auroc").note


def test_too_few_patients_for_so_many_folds_give_no_interval(simulate) -> None:
    found = evaluate(folded(simulate, n=18, folds=3, images_per_group=2), resamples=30)
    assert re.search(r"based on only \d groups in 3 folds", found.find("auroc").note)
    assert math.isnan(found.find("auroc").low)


def test_out_of_fold_predictions_come_back_from_their_file_as_they_were(
    simulate, tmp_path: Path
) -> None:
    oof = folded(simulate, n=60)
    oof.write(tmp_path / "predictions_oof.csv")
    back = Predictions.read(tmp_path / "predictions_oof.csv")
    assert back.digest == oof.digest
    assert (back.folds, back.by_fold) == (oof.folds, oof.by_fold)
    assert (back.decisions == oof.decisions).all()
    again = replace(oof, folds=tuple(4 - f for f in oof.folds))
    assert again.digest != oof.digest


def test_an_image_in_two_folds_or_in_none_is_refused(simulate) -> None:
    whole = simulate(Kind.BINARY, 20)
    half = whole.only(range(10))
    with pytest.raises(DataError, match="10 different images in 20 rows, but the set has 20"):
        out_of_fold([half, half], whole.image_ids, 1)


def test_rows_are_in_the_order_of_the_manifest_whatever_fold_they_are_in(simulate) -> None:
    whole = simulate(Kind.BINARY, 20)
    whole = replace(whole, attributes={"sex": tuple("fm" * 10)}, looks=np.arange(80).reshape(20, 4))
    odd, even = whole.only(range(1, 20, 2)), whole.only(range(0, 20, 2))
    even = replace(even, attributes=even.attributes | {"age": ("40",) * 10})
    oof = out_of_fold([odd, even], whole.image_ids, 1)
    assert oof.attributes == {"sex": tuple("fm" * 10), "age": ("40", "") * 10}
    assert (oof.looks == whole.looks).all()
    assert oof.image_ids == whole.image_ids
    assert oof.folds == (2, 1) * 10
    assert (oof.logits == whole.logits).all()


def test_out_of_fold_predictions_are_not_compared_as_if_one_model_had_made_them(simulate) -> None:
    oof = folded(simulate, n=60)
    with pytest.raises(DataError, match="several models, one per fold"):
        aligned({"a": oof, "b": oof})
