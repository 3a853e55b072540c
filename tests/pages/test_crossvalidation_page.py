"""What the page of a cross-validation says follows from its scores and folds."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.data.folds import LEFT_ALONE
from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest, Record
from medcnn.pages.crossvalidation_page import SAYS, Crossed, crossvalidation_page, table
from medcnn.places import fold_name
from medcnn.statistics.folds import CrossValidated, cross_validated, out_of_fold
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.subgroups import subgroups


@pytest.fixture
def crossed(simulate: Any) -> Crossed:
    return crossed_of(simulate(Kind.BINARY, 60))


def crossed_of(whole: Predictions) -> Crossed:
    half = len(whole.image_ids) // 2
    parts = [whole.only(range(half)), whole.only(range(half, 2 * half))]
    oof = out_of_fold(parts, whole.image_ids, 1)
    records = tuple(
        Record(image_id=i, path=i, group=g, target=tuple(t), fold=f)
        for i, g, t, f in zip(
            oof.image_ids, oof.groups, oof.targets.tolist(), oof.folds, strict=True
        )
    )
    manifest = Manifest(source="set", root=Path("."), labels=whole.labels, records=records)
    names = {(1, fold): fold_name(1, fold) for fold in (1, 2)}
    found = cross_validated([oof], resamples=50)
    return Crossed(backbone="lenet5", found=found, dealt={1: manifest}, names=names)


def unsure(crossed: Crossed) -> Crossed:
    scores = tuple(
        replace(
            s, low=math.nan, high=math.nan, note="interval not available: based on only 6 groups"
        )
        for s in crossed.found.evaluation.scores
    )
    evaluation = replace(crossed.found.evaluation, scores=scores)
    return replace(
        crossed, found=CrossValidated(evaluation=evaluation, by_fold=crossed.found.by_fold)
    )


def test_each_sentence_holds_where_its_facts_are_and_not_elsewhere(crossed: Crossed) -> None:
    assert SAYS["value"].words(crossed).endswith("each tested on patients that it never saw.")
    for known, page in ((7, "known"), (None, "perhaps known")):
        other = replace(crossed, known=known)
        assert "never saw" not in " ".join(s.words(other) for s in SAYS.values())
        assert SAYS[page].words(other)
        assert not SAYS[page].words(crossed)
    assert "7 tests of an image that they know" in SAYS["known"].words(replace(crossed, known=7))
    assert "the mean over 2 models" in SAYS["value"].words(crossed)
    by_fold = {**crossed.found.by_fold, crossed.main.name: [[0.8, math.nan]]}
    lacking = CrossValidated(evaluation=crossed.found.evaluation, by_fold=by_fold)
    assert "the mean over 1 model," in SAYS["value"].words(replace(crossed, found=lacking))
    assert "patients were resampled" in SAYS["interval"].words(crossed)
    for name in ("no interval", "repeats", "interval of images", "test"):
        assert SAYS[name].words(crossed) == ""
    assert "6 patients" in SAYS["no interval"].words(unsure(crossed))
    assert SAYS["interval"].words(unsure(crossed)) == ""
    alone = replace(crossed, dealt={1: replace(crossed.whole, group_noun="image")})
    assert "may be too narrow" in SAYS["interval of images"].words(alone)
    held = replace(crossed, dealt={1: replace(crossed.whole, excluded={LEFT_ALONE: 7})})
    assert "(7 images)" in SAYS["test"].words(held)
    for name in ("recipe", "pooled", "spread", "spread of folds", "left out", "research"):
        assert SAYS[name].words(crossed)


def test_models_with_one_answer_are_reported_and_others_are_not(crossed: Crossed) -> None:
    assert SAYS["one answer"].words(crossed) == ""
    mixed = replace(crossed, answers={"clear": 0.94, "melanoma": 0.06})
    assert SAYS["one answer"].words(mixed) == ""
    unlearnt = unsure(crossed)
    told = SAYS["one answer"].words(replace(unlearnt, answers={"clear": 0.97, "melanoma": 0.03}))
    assert told.startswith("The models answer clear for 97 of 100 images. So sensitivity and")
    assert told in " ".join(
        crossvalidation_page(replace(unlearnt, answers={"clear": 0.97}), []).split()
    )


def test_a_model_that_finds_a_rare_disease_is_not_said_to_have_learnt_little(simulate: Any) -> None:
    whole = simulate(Kind.BINARY, 600, images_per_group=1)
    sick = np.arange(600)[:, None] % 33 == 0
    rare = replace(
        whole,
        targets=sick.astype(np.float32),
        logits=np.where(sick, 4, -4) + 0.1 * whole.logits,
    )
    crossed = replace(crossed_of(rare), answers={"clear": 0.97, "melanoma": 0.03})
    assert crossed.main.low > 0.8
    assert SAYS["one answer"].words(crossed) == ""


def test_subgroups_are_told_where_there_are_some_and_from_which_repeat(simulate: Any) -> None:
    whole = simulate(Kind.BINARY, 240)
    crossed = crossed_of(whole)
    for name in ("groups", "groups of one repeat"):
        assert SAYS[name].words(crossed) == ""
    assert "Subgroups" not in crossvalidation_page(crossed, [])
    joined = replace(whole, folds=(1, 1, 2, 2) * 60, by_fold=(whole.readout,) * 2)
    sex = [("f", "m")[at // 4 % 2] for at in range(240)]
    grouped = replace(crossed, groups=subgroups(joined, {"sex": sex}))
    page = " ".join(crossvalidation_page(grouped, []).split())
    assert "whose test split has the patient" in SAYS["groups"].words(grouped)
    assert SAYS["groups of one repeat"].words(grouped) == ""
    twice = replace(grouped, dealt={1: crossed.whole, 2: crossed.whole})
    assert SAYS["groups of one repeat"].words(twice)
    assert "Subgroups, out of fold" in page
    assert SAYS["groups"].words(grouped) in page
    assert "A gap is the score of a group minus that of all other images." in page


def test_the_table_has_no_second_column_of_images(crossed: Crossed) -> None:
    assert table(crossed.whole)[0][:3] == ["fold", "patients", "images"]
    assert table(replace(crossed.whole, group_noun="image"))[0][:2] == ["fold", "images"]


def test_classes_are_in_the_order_of_their_grades(simulate: Any) -> None:
    whole = simulate(Kind.ORDINAL, 60)
    names = ("none", "mild", "severe", *whole.labels.names[3:])
    whole = replace(whole, labels=replace(whole.labels, names=names))
    page = crossvalidation_page(crossed_of(whole), [])
    rows = re.findall(r'<th scope="row">(none|mild|severe)</th>', page)
    assert list(dict.fromkeys(rows)) == ["none", "mild", "severe"]
