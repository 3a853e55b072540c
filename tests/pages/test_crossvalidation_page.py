"""What the page of a cross-validation says follows from its scores and folds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medcnn.data.folds import LEFT_ALONE
from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest, Record
from medcnn.pages.crossvalidation_page import SAYS, Crossed, table
from medcnn.places import fold_name
from medcnn.statistics.folds import CrossValidated, cross_validated, out_of_fold


@pytest.fixture
def crossed(simulate: Any) -> Crossed:
    whole = simulate(Kind.BINARY, 60)
    oof = out_of_fold([whole.only(range(30)), whole.only(range(30, 60))], whole.image_ids, 1)
    records = tuple(
        Record(image_id=i, path=i, group=g, target=(float(t),), fold=f)
        for i, g, t, f in zip(oof.image_ids, oof.groups, oof.targets[:, 0], oof.folds, strict=True)
    )
    manifest = Manifest(source="set", root=Path("."), labels=whole.labels, records=records)
    names = {(1, fold): fold_name(1, fold) for fold in (1, 2)}
    found = cross_validated([oof], resamples=50)
    return Crossed(backbone="lenet5", found=found, dealt={1: manifest}, names=names)


def unsure(crossed: Crossed) -> Crossed:
    scores = tuple(
        replace(s, low=math.nan, high=math.nan, note="interval not available: 6 groups")
        for s in crossed.found.evaluation.scores
    )
    evaluation = replace(crossed.found.evaluation, scores=scores)
    return replace(
        crossed, found=CrossValidated(evaluation=evaluation, by_fold=crossed.found.by_fold)
    )


def test_each_sentence_holds_where_its_facts_are_and_not_elsewhere(crossed: Crossed) -> None:
    assert SAYS["value"].words(crossed).endswith("each tested on patients that it never saw.")
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


def test_the_table_has_no_second_column_of_images(crossed: Crossed) -> None:
    assert table(crossed.whole)[0][:3] == ["fold", "patients", "images"]
    assert table(replace(crossed.whole, group_noun="image"))[0][:2] == ["fold", "images"]
