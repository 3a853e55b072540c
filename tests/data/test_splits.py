from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record, Split, parse_split
from medcnn.data.splits import assign, leaks, with_fewer
from medcnn.system.errors import DataError, LeakError

LABELS = LabelSpace(kind=Kind.MULTILABEL, names=("common", "rare"))


def hospital(patients: int = 200, seed: int = 0) -> Manifest:
    """Patients with 1 to 6 images; a tenth of them has the rare finding."""
    rng = np.random.default_rng(seed)
    records = []
    for p in range(patients):
        rare = float(rng.random() < 0.1)
        for i in range(rng.integers(1, 7)):
            target = (float(rng.random() < 0.4), rare)
            records.append(
                Record(image_id=f"{p}-{i}", path=f"{p}-{i}.png", group=f"p{p}", target=target)
            )
    return Manifest(source="hospital", root=Path("."), labels=LABELS, records=tuple(records))


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(8))
def test_split_never_puts_a_patient_on_both_sides(seed: int) -> None:
    """Row 75."""
    assert leaks(assign(hospital(seed=seed), validation=0.15, test=0.15, seed=seed)) == {}


@pytest.mark.parametrize("seed", range(4))
def test_shares_and_labels_are_near_what_was_asked_for(seed: int) -> None:
    done = assign(hospital(400, seed), validation=0.2, test=0.1, seed=seed)
    total = len(done.records)
    for split, share in ((Split.TRAIN, 0.7), (Split.VALIDATION, 0.2), (Split.TEST, 0.1)):
        rows = done.rows(split)
        assert len(rows) / total == pytest.approx(share, abs=0.06)
        assert done.targets()[rows, 1].mean() == pytest.approx(
            done.targets()[:, 1].mean(), abs=0.06
        )


def test_the_same_seed_gives_the_same_splits_in_any_order_of_rows() -> None:
    plain = assign(hospital(), validation=0.15, test=0.15, seed=1)
    turned = hospital().with_records(reversed(hospital().records))
    again = assign(turned, validation=0.15, test=0.15, seed=1)
    assert {r.image_id: r.split for r in plain.records} == {
        r.image_id: r.split for r in again.records
    }
    other = assign(hospital(), validation=0.15, test=0.15, seed=2)
    assert plain.fingerprint() != other.fingerprint()


def test_the_authors_test_split_is_kept_and_validation_taken_out_of_training() -> None:
    given = hospital().with_records(
        replace(r, split=Split.TEST if int(r.group[1:]) < 40 else Split.TRAIN)
        for r in hospital().records
    )
    done = assign(given, validation=0.15, test=0.15, seed=0)
    for before, after in zip(given.records, done.records, strict=True):
        assert (before.split is Split.TEST) == (after.split is Split.TEST)
    assert len(done.rows(Split.VALIDATION)) > 0
    assert leaks(done) == {}


@pytest.mark.fault
def test_a_patient_whom_the_author_put_on_two_sides_is_refused_by_name() -> None:
    """Row 75."""
    given = hospital().with_records(
        replace(r, split=(Split.TRAIN, Split.VALIDATION, Split.TEST)[i % 3])
        for i, r in enumerate(hospital().records)
    )
    with pytest.raises(LeakError, match=r"\d+ patients or lesions are in more than one .*‹p"):
        assign(given, validation=0.15, test=0.15, seed=0)


@pytest.mark.fault
def test_a_published_split_with_thirty_leaking_patients_is_refused(shared: Path) -> None:
    """Row 75."""
    with (shared / "nih_chestxray14_sample" / "leaky_split.csv").open() as file:
        rows = list(csv.DictReader(file))
    records = tuple(
        Record(
            image_id=r["image"],
            path=r["image"],
            group=r["patient_id"],
            target=(0.0, 0.0),
            split=parse_split(r["split"], "leaky_split.csv"),
        )
        for r in rows
    )
    leaky = Manifest(source="leaky_split", root=shared, labels=LABELS, records=records)
    with pytest.raises(LeakError, match="leaky_split: 30 patients"):
        assign(leaky, validation=0.15, test=0.15, seed=0)


def test_half_a_split_column_is_refused() -> None:
    first, *rest = hospital().records
    with pytest.raises(DataError, match="have no split"):
        assign(
            hospital().with_records([replace(first, split=Split.TEST), *rest]),
            validation=0.1,
            test=0.1,
            seed=0,
        )


def test_too_few_patients_are_refused_in_words() -> None:
    with pytest.raises(DataError, match="you need more patients"):
        assign(hospital(2), validation=0.1, test=0.1, seed=0)


def test_fewer_patients_are_among_the_more_and_show_the_labels_in_their_shares() -> None:
    shares = {"validation": 0.15, "test": 0.15, "seed": 3}
    whole = assign(hospital(400), **shares)
    inside: set[str] = {r.group for r in whole.records if r.split is Split.TRAIN}
    for size in (200, 50, 20):
        fewer = with_fewer(whole, size, 3)
        kept = {r.group for r in fewer.records if r.split is Split.TRAIN}
        assert len(kept) == size
        assert kept < inside
        rare = {r.group for r in fewer.records if r.split is Split.TRAIN and r.target[1]}
        assert len(rare) / size == pytest.approx(0.1, abs=0.06)
        assert len(fewer.records) + sum(fewer.excluded.values()) == len(whole.records)
        assert [r for r in fewer.records if r.split is not Split.TRAIN] == [
            r for r in whole.records if r.split is not Split.TRAIN
        ]
        inside = kept


def test_the_first_patients_show_every_label() -> None:
    few = with_fewer(assign(hospital(400), validation=0.15, test=0.15, seed=3), 3, 3)
    shown = np.nan_to_num(few.targets()[few.rows(Split.TRAIN)])
    assert shown.max(axis=0).tolist() == [1, 1]
    assert (shown.sum(axis=1) == 0).any()


def test_more_patients_than_there_are_leave_the_splits_as_they_are() -> None:
    whole = assign(hospital(), validation=0.15, test=0.15, seed=3)
    assert with_fewer(whole, 10_000, 3) == whole


def test_another_seed_takes_other_patients_of_the_same_split() -> None:
    whole = assign(hospital(400), validation=0.15, test=0.15, seed=3)
    taken = [{r.group for r in with_fewer(whole, 50, seed).records} for seed in (1, 2)]
    assert taken[0] != taken[1]
    tested = {r.group for r in whole.records if r.split is not Split.TRAIN}
    assert tested < taken[0] & taken[1]
