"""Folds: by patient, every image once, and every label shared out as evenly as patients allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from medcnn.data.folds import LEFT_ALONE, deal, images_showing, in_folds, rare_labels
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record, Split
from medcnn.data.splits import assign, leaks
from medcnn.system.errors import DataError

GRADES = LabelSpace(kind=Kind.ORDINAL, names=("none", "mild", "moderate", "severe"))
FINDINGS = LabelSpace(kind=Kind.MULTILABEL, names=("common", "rare", "rarest"))


def graded(patients: int = 150, seed: int = 0) -> Manifest:
    """Patients with 1 to 60 images, most with few; the worst grades are rare."""
    rng = np.random.default_rng(seed)
    records = []
    for p in range(patients):
        grade = int(rng.choice(4, p=[0.6, 0.25, 0.11, 0.04]))
        for i in range(min(60, int(rng.pareto(1.2)) + 1)):
            here = max(0, grade - int(rng.random() < 0.2))
            target = tuple(float(g == here) for g in range(4))
            records.append(
                Record(image_id=f"{p}-{i}", path=f"{p}-{i}.png", group=f"p{p:03d}", target=target)
            )
    return Manifest(source="graded", root=Path("."), labels=GRADES, records=tuple(records))


def found(patients: int = 120, seed: int = 0) -> Manifest:
    """Findings that stand alone, some of them not assessed."""
    rng = np.random.default_rng(seed)
    chances = np.array([0.5, 0.1, 0.06])
    records = []
    for p in range(patients):
        has = rng.random(3) < chances
        for i in range(int(rng.integers(1, 9))):
            target = np.where(rng.random(3) < 0.1, np.nan, has & (rng.random(3) < 0.7))
            records.append(
                Record(
                    image_id=f"{p}-{i}",
                    path=f"{p}-{i}.png",
                    group=f"p{p:03d}",
                    target=tuple(map(float, target)),
                )
            )
    return Manifest(source="found", root=Path("."), labels=FINDINGS, records=tuple(records))


def deviation(manifest: Manifest, fold: np.ndarray, folds: int) -> float:
    """Sum of squares of what each fold holds too much or too little of each label and of images,
    as shares of their totals."""
    target = np.nan_to_num(manifest.targets()) > 0.5
    totals = np.hstack([target, np.ones((len(target), 1), bool)])
    held = np.stack([totals[fold == f].sum(axis=0) for f in range(folds)])
    return float(((held / totals.sum(axis=0) - 1 / folds) ** 2).sum())


def fold_of(manifest: Manifest) -> dict[str, int | None]:
    return {r.image_id: r.fold for r in manifest.records}


@pytest.mark.parametrize("make", [graded, found])
@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_folds_cover_each_image_once_and_no_patient_is_in_two(make, folds: int) -> None:
    before = make(seed=folds)
    done = in_folds(before, folds, seed=1)
    assert [r.image_id for r in done.records] == [r.image_id for r in before.records]
    where: dict[str, set[int | None]] = {}
    for r in done.records:
        where.setdefault(r.group, set()).add(r.fold)
    assert all(len(at) == 1 for at in where.values())
    assert {f for at in where.values() for f in at} == set(range(1, folds + 1))


def test_two_folds_of_six_patients_by_hand() -> None:
    """The one rare patient of many images is dealt first; the two others with the rare label make
    up for it in the other fold, and the patients without it fill up what is left."""
    rare, other = (1.0, 0.0), (0.0, 1.0)
    images = {"a": [rare] * 4, "b": [rare] * 2, "c": [rare] * 2, "d": [other] * 6}
    images |= {"e": [other] * 3, "f": [other] * 3}
    labels = LabelSpace(kind=Kind.MULTICLASS, names=("rare", "other"))
    records = tuple(
        Record(image_id=f"{group}{i}", path=f"{group}{i}.png", group=group, target=target)
        for group, targets in images.items()
        for i, target in enumerate(targets)
    )
    manifest = Manifest(source="hand", root=Path("."), labels=labels, records=records)
    done = in_folds(manifest, 2, seed=0)
    fold = {r.group: r.fold for r in done.records}
    assert fold["a"] != fold["b"] == fold["c"]
    assert fold["d"] != fold["e"] == fold["f"]
    half = {"label:rare": 4, "label:other": 6, "images": 10}
    for counted in done.fold_counts().values():
        assert {k: v for k, v in counted.items() if k != "groups"} == half


@pytest.mark.parametrize("seed", range(6))
def test_balance_is_no_worse_than_that_of_scikit_learn(seed: int) -> None:
    manifest = graded(seed=seed)
    grade = manifest.targets().argmax(axis=1)
    groups = [r.group for r in manifest.records]
    theirs = np.zeros(len(grade), int)
    # unshuffled, since shuffled folds were dealt to other groups until late 2025 (issue 32478)
    for f, (_, rows) in enumerate(StratifiedGroupKFold(5).split(grade, grade, groups)):
        theirs[rows] = f
    ours = np.array([r.fold for r in in_folds(manifest, 5, seed=0).records]) - 1
    assert deviation(manifest, ours, 5) <= 1.01 * deviation(manifest, theirs, 5)


def test_the_same_seed_gives_the_same_folds_in_any_order_of_rows_and_another_one_others() -> None:
    plain = in_folds(found(), 5, seed=3)
    turned = found().with_records(reversed(found().records))
    assert fold_of(in_folds(turned, 5, seed=3)) == fold_of(plain)
    assert fold_of(in_folds(found(), 5, seed=4)) != fold_of(plain)


def test_there_is_no_empty_fold_even_where_one_patient_has_most_images() -> None:
    showing = np.array([[1000, 0], [1, 0], [0, 1], [1, 0]])
    assert sorted(deal(showing, 4)) == [0, 1, 2, 3]


def test_a_label_that_is_not_assessed_counts_for_none() -> None:
    target = np.array([[1, np.nan], [np.nan, np.nan], [1, 1]], np.float32)
    shown = images_showing(target, np.array([0, 0, 1]), 2)
    assert shown.tolist() == [[1, 0, 1], [1, 1, 0]]


def test_fewer_patients_than_folds_are_refused_and_rare_labels_named() -> None:
    with pytest.raises(DataError, match="folds=5 needs at least 5 patients, and there are 3"):
        in_folds(graded(3), 5, seed=0)
    few = found(30)
    assert all(n < 10 for n in rare_labels(few, 10).values())
    assert "common" not in rare_labels(few, 10)


def test_either_class_of_a_binary_set_can_be_rare() -> None:
    labels = LabelSpace(kind=Kind.BINARY, names=("healthy", "ill"))
    records = [replace(r, target=(float(k > 1),)) for k, r in enumerate(found(30).records)]
    assert set(rare_labels(replace(found(30), labels=labels, records=tuple(records)), 5)) == {
        "healthy"
    }


def test_each_fold_is_the_test_split_once_and_validation_comes_out_of_the_others() -> None:
    everyone: Counter[str] = Counter()
    for number in range(1, 6):
        done = assign(graded(), validation=0.15, test=0.15, seed=2, fold=(number, 5))
        test = [r for r in done.records if r.split is Split.TEST]
        assert {r.fold for r in test} == {number}
        assert leaks(done) == {}
        assert len(done.rows(Split.VALIDATION)) > 0
        everyone.update(r.image_id for r in test)
    assert set(everyone.values()) == {1}
    assert len(everyone) == len(graded().records)


def test_a_fixed_test_split_stays_outside_and_a_fixed_validation_split_is_dealt() -> None:
    def split(r: Record) -> Split:
        number = int(r.group[1:])
        return Split.TEST if number < 30 else Split.VALIDATION if number < 60 else Split.TRAIN

    given = graded().with_records(replace(r, split=split(r)) for r in graded().records)
    done = assign(given, validation=0.15, test=0.15, seed=0, fold=(1, 3))
    assert min(int(r.group[1:]) for r in done.records) == 30
    assert done.excluded == {LEFT_ALONE: len(given.records) - len(done.records)}


def test_the_fold_of_each_image_is_kept_in_the_manifest(tmp_path: Path) -> None:
    done = assign(graded(), validation=0.15, test=0.15, seed=0, fold=(2, 3))
    done.write(tmp_path / "manifest.csv")
    assert fold_of(Manifest.read(tmp_path / "manifest.csv", Path("."))) == fold_of(done)
    # without folds, the table and the fingerprint are what they were
    plain = assign(graded(), validation=0.15, test=0.15, seed=0)
    plain.write(tmp_path / "plain.csv")
    assert (
        (tmp_path / "plain.csv")
        .read_text()
        .splitlines()[0]
        .startswith("image_id,path,group,split,line")
    )
