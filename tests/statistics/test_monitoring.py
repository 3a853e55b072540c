from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.monitoring import (
    FEWEST_PATIENTS,
    MATTERS,
    Change,
    Said,
    Size,
    _some,
    changes,
    prevalences,
    read_said,
)
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.strangeness import COLUMNS, VERDICTS, fit_bounds
from medcnn.system.errors import NO_IMAGE, DataError

LABELS = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))


def said(
    draw: np.random.Generator,
    patients: int = 60,
    *,
    shift: float = 0.0,
    ill: float = 0.3,
    wrong: float = 0.2,
    most_images: int = 5,
) -> Said:
    """Patients with one image or more, alike within a patient, and four questions about each."""
    of = np.repeat(np.arange(patients), draw.integers(1, most_images + 1, patients))
    own = draw.standard_normal((patients, 3))[of]
    numbers = own + 0.3 * draw.standard_normal(own.shape)
    truth = (draw.random(patients) < ill)[of].astype(float)
    called = np.where((draw.random(patients) < wrong)[of], 1 - truth, truth)
    return Said(
        labels=LABELS,
        answers={
            "first": (Size.SPREAD, numbers[:, 0] + shift),
            "near it": (Size.SPREAD, numbers[:, 0] + 0.1 * numbers[:, 1]),
            "other": (Size.SPREAD, numbers[:, 2]),
            "called": (Size.SHARE, called),
        },
        patients=of,
        grouped=True,
        decisions=called[:, None],
        targets=truth[:, None],
        checkpoint="a",
    )


def test_a_month_without_change_seldom_names_one_however_many_questions_and_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medcnn.statistics.monitoring.EXCHANGES", 400)
    draw = np.random.default_rng(0)
    alarms = sum(
        any(c.p <= 0.1 for c in changes(said(draw, 30), said(draw, 40), seed=i)) for i in range(100)
    )
    assert alarms <= 17  # 10 are promised; 17 or fewer in 99 of 100 such tests


def test_what_changed_is_named_and_what_did_not_is_not() -> None:
    draw = np.random.default_rng(1)
    found = {c.question: c for c in changes(said(draw, 150), said(draw, 150, shift=1.0))}
    first = found["first"]
    assert first.calls(0.05)
    assert first.p < 0.01
    assert first.now - first.before == pytest.approx(1, abs=0.3)
    assert first.distance > first.shows_from
    assert not found["other"].calls(0.05)


def test_the_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    draw = np.random.default_rng(2)
    before, now = said(draw, 40, most_images=1), said(draw, 55, most_images=1, shift=0.4)
    for change in changes(before, now):
        of = [s.answers[change.question][1] for s in (before, now)]
        assert change.distance == pytest.approx(ks_2samp(*of).statistic, abs=1e-9)
        assert change.before == pytest.approx(of[0].mean())


def test_a_patient_counts_once_however_many_images() -> None:
    draw = np.random.default_rng(3)
    before, now = said(draw, 40), said(draw, 40)
    order = np.concatenate(
        [np.arange(len(now.patients)), np.repeat(now.patients == 0, 1).nonzero()[0]]
    )
    twice = replace(
        now,
        patients=now.patients[order],
        answers={k: (size, v[order]) for k, (size, v) in now.answers.items()},
    )
    once, again = changes(before, now), changes(before, twice)
    assert [c.distance for c in once] == pytest.approx([c.distance for c in again])
    assert [c.p for c in once] == pytest.approx([c.p for c in again])


def test_a_question_that_one_table_cannot_answer_is_not_asked() -> None:
    draw = np.random.default_rng(4)
    before, now = said(draw), said(draw)
    fewer = {k: v for k, v in now.answers.items() if k != "other"}
    fewer["first"] = (Size.SPREAD, np.full(len(now.patients), np.nan))
    found = changes(before, replace(now, answers=fewer))
    assert [c.question for c in found] == ["near it", "called"]
    assert changes(before, replace(now, answers={})) == []


def test_many_images_are_drawn_by_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcnn.statistics.monitoring.MOST_IMAGES", 100)
    monkeypatch.setattr("medcnn.statistics.monitoring.EXCHANGES", 50)
    draw = np.random.default_rng(5)
    found = changes(said(draw, 500), said(draw, 500))
    assert all(30 < c.images <= 100 for c in found)


def test_a_change_of_every_patient_is_named_however_many_images_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medcnn.statistics.monitoring.MOST_IMAGES", 250)
    monkeypatch.setattr("medcnn.statistics.monitoring.EXCHANGES", 300)
    draw = np.random.default_rng(7)
    before, now = (said(draw, 30, most_images=100, shift=shift) for shift in (0, 3))
    found = {c.question: c for c in changes(before, now)}
    assert found["first"].calls(0.05)
    assert found["first"].images == now.compared == 250
    assert not found["other"].calls(0.05)


def test_of_many_images_each_patient_keeps_one_and_the_others_their_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medcnn.statistics.monitoring.MOST_IMAGES", 200)
    of = np.repeat(np.arange(102), [1] * 100 + [300, 900])
    many = replace(said(np.random.default_rng(8), 1), patients=of)
    left = np.bincount(of[_some(many, np.random.default_rng(0))], minlength=102)
    assert left[:100].tolist() == [1] * 100
    assert left[100:].tolist() == [25, 75]


@pytest.mark.parametrize(
    ("size", "distance", "calls"),
    [(size, least * share, share > 1) for size, least in MATTERS.items() for share in (0.9, 1.1)],
)
def test_what_is_too_small_to_matter_is_not_called(
    size: Size, distance: float, calls: bool
) -> None:
    change = Change(
        question="q", size=size, before=0, now=0, distance=distance, p=0.01, shows_from=0, images=9
    )
    assert change.calls(0.05) is calls
    assert not change.calls(0.001)


@pytest.mark.parametrize(("sick", "least", "most"), [(5, 0.45, 0.85), (200, 0.37, 0.41)])
def test_a_few_sick_patients_who_are_all_found_do_not_make_a_sensitivity_certain(
    sick: int, least: float, most: float
) -> None:
    def of(truth: list[int], called: list[int]) -> Said:
        given = (np.array(v, float)[:, None] for v in (called, truth))
        decisions, targets = given
        base = said(np.random.default_rng(0), 1)
        return replace(base, patients=np.arange(len(truth)), decisions=decisions, targets=targets)

    before = of([1] * sick + [0] * 200, [1] * (sick + 10) + [0] * 190)
    (found,) = prevalences(before, of([0] * 1000, [1] * 390 + [0] * 610))
    assert found.now == pytest.approx(0.34 / 0.95)
    assert found.low < 0.34
    assert least < found.high < most


def test_prevalence_is_found_from_how_often_a_label_is_called() -> None:
    draw = np.random.default_rng(6)
    inside = 0
    for _ in range(30):
        before = said(draw, 150, most_images=1)
        now = said(draw, 150, ill=0.6, most_images=1)
        (found,) = prevalences(before, replace(now, targets=None))
        assert found.now > found.before
        inside += found.low <= 0.6 <= found.high
    assert inside >= 25
    useless = said(draw, 250, wrong=0.5)
    assert prevalences(useless, useless) == []
    assert prevalences(replace(before, targets=None), now) == []


CLASSES = LabelSpace(kind=Kind.MULTICLASS, names=("nevus", "melanoma", "keratosis"))
CALLS = np.array([[0.94, 0.03, 0.03], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])


def classified(shares: list[float], images: int, draw: np.random.Generator) -> Said:
    """Images of a class each, called as `CALLS` says of its row."""
    truth = draw.choice(3, images, p=shares)
    called = (draw.random((images, 1)) > CALLS[truth].cumsum(axis=1)).sum(axis=1)
    base, each = said(draw, 1), np.arange(images)
    given = {"decisions": np.eye(3)[called], "targets": np.eye(3)[truth]}
    return replace(base, labels=CLASSES, patients=each, **given)


def test_prevalences_of_classes_hold_the_truth_where_only_the_mix_of_the_others_changed() -> None:
    """How often a melanoma is called by mistake depends on how many of the others are keratoses."""
    truth, held = [0.39, 0.11, 0.5], np.zeros(3)
    for seed in range(20):
        draw = np.random.default_rng(seed)
        before = classified([0.67, 0.11, 0.22], 600, draw)
        found = prevalences(before, classified(truth, 600, draw), seed=seed)
        assert [p.label for p in found] == [*CLASSES.names]
        held += [p.low <= share <= p.high for p, share in zip(found, truth, strict=True)]
    assert (held >= 16).all()  # 19 are expected; fewer than 16 in 1 of 130 such tests


def test_classes_have_no_prevalence_if_validation_lacks_one() -> None:
    draw = np.random.default_rng(0)
    now = classified([0.4, 0.2, 0.4], 300, draw)
    assert prevalences(classified([0.6, 0.0, 0.4], 300, draw), now) == []
    assert len(prevalences(classified([0.5, 0.1, 0.4], 300, draw), now)) == 3


def watched(simulate: Callable[..., Predictions], kind: Kind, seed: int) -> Predictions:
    found = simulate(kind, 60, seed=seed)
    looks = np.random.default_rng(seed).standard_normal((60, len(COLUMNS))).round(6)
    bounds = fit_bounds(looks, found.groups, 0.2)
    return replace(found, looks=looks, readout=replace(found.readout, unusual=bounds))


@pytest.mark.parametrize("kind", Kind)
def test_both_kinds_of_tables_are_read_alike(simulate, tmp_path: Path, kind: Kind) -> None:
    predictions = replace(watched(simulate, kind, 0), unreadable=(("lost", "no image"),))
    predictions.write(tmp_path / "split.csv")
    predictions.to_csv(tmp_path / "new.csv")
    header = (tmp_path / "split.json").read_text(encoding="utf-8")
    counted = header.replace('"unreadable": [', '"listed": [')[:-2] + ', "unreadable": 1}'
    (tmp_path / "new.json").write_text(counted, encoding="utf-8")
    split, new = read_said(tmp_path / "split.csv"), read_said(tmp_path / "new.csv")
    assert list(split.answers) == list(new.answers)
    assert {"certainty", f"looks of the {VERDICTS[0]}", "brightness"} < set(new.answers)
    for question, (size, values) in split.answers.items():
        assert new.answers[question][0] is size
        ours = np.sort(new.answers[question][1])
        assert np.sort(values) == pytest.approx(ours, abs=2e-6, nan_ok=True), question
    lost = new.answers["could not be read"][1]
    assert lost.sum() == 1
    assert len(lost) == 61
    assert split.count == len(set(predictions.groups)) + 1
    assert new.count == 61
    assert np.nansum(split.decisions) == predictions.decisions.sum()
    assert split.targets is not None
    assert new.targets is None


def test_patients_may_be_part_of_the_name(simulate, tmp_path: Path) -> None:
    found = watched(simulate, Kind.BINARY, 0)
    names = tuple(f"p{i // 3}/image{i}.png" for i in range(60))
    replace(found, image_ids=names).write(tmp_path / "a.csv")
    assert read_said(tmp_path / "a.csv", "^([^/]+)/").count == 20
    assert read_said(tmp_path / "a.csv", "^(p0)/").count == 58  # others are patients of their own
    with pytest.raises(DataError, match="matches no image id"):
        read_said(tmp_path / "a.csv", "nothing(like)it")


@pytest.mark.parametrize("images", [60, 0])
def test_what_is_no_image_is_neither_unreadable_nor_a_patient(
    simulate: Callable[..., Predictions], tmp_path: Path, images: int
) -> None:
    found = watched(simulate, Kind.BINARY, 0)
    found.write(tmp_path / "before.csv")
    report = f"{NO_IMAGE}: Basic Text SR Storage contains no pixel data"
    lost = (("ward/report", report), *((("ward/lost", "truncated"),) if images else ()))
    replace(found.only(range(images)), unreadable=lost).write(tmp_path / "now.csv")
    before, now = (read_said(tmp_path / f"{name}.csv") for name in ("before", "now"))
    assert len(now.patients) == (61 if images else 0)
    assert now.answers["could not be read"][1].sum() == (1 if images else 0)
    assert len(changes(before, now)) > 0 or not images
    assert len(prevalences(before, now)) > 0 or not images


def test_what_is_no_table_of_predictions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="is not a table of predictions"):
        read_said(tmp_path / "a.csv")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match="is not a table of predictions"):
        read_said(tmp_path / "a.csv")
    assert FEWEST_PATIENTS == 20
