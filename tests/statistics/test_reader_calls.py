"""Readers' calls, image by image, beside a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.intervals import resampling_weights
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.reader_calls import FEWEST_WITHOUT, RESAMPLES, Calls, point, study_rows
from medcnn.statistics.reader_points import beside, kept_points
from medcnn.system.errors import UsageError

Simulate = Callable[..., Predictions]


def model(
    truth: str, scores: list[float], simulate: Simulate, images_per_group: int = 1
) -> Predictions:
    """A binary model with these logits; `+`, `-` and `?` are the truth of each image."""
    found = simulate(Kind.BINARY, n=len(truth), images_per_group=images_per_group)
    value = {"+": 1.0, "-": 0.0, "?": np.nan}
    targets = np.array([[value[sign]] for sign in truth], np.float32)
    return replace(found, targets=targets, logits=np.array(scores, np.float32)[:, None])


def calls(said: str, reader: str = "reader 1") -> Calls:
    """`1` and `0` are the calls of images 0, 1, ...; `.` is an image that was not read."""
    read = {f"image {n}": sign == "1" for n, sign in enumerate(said) if sign != "."}
    return Calls(reader=reader, label="melanoma", calls=read)


def test_a_reader_is_a_point_and_the_model_is_asked_at_as_many_false_alarms(
    simulate: Simulate,
) -> None:
    predictions = model("++++----?", [5, 2, 0.5, 4, 3, 1, 0, -1, 9], simulate)
    found = point(calls("100110001"), predictions)
    assert (found.sensitivity, found.specificity) == (0.5, 0.75)
    assert (found.positives, found.negatives) == (4, 4), "the label of the last is not known"
    assert found.same_images
    one = beside_of(found)
    # one false alarm is allowed, that at 3: the model finds what is above 1
    assert (one.found, one.positives) == (3, 4)


def beside_of(found):  # type: ignore[no-untyped-def]
    (kept,) = kept_points([found.to_json()])
    assert kept == found, "run.json keeps all of it"
    return beside(None, kept)  # type: ignore[arg-type]


def test_images_that_a_reader_did_not_read_count_for_nobody(simulate: Simulate) -> None:
    predictions = model("++--+-+-", [5, 1, 2, 0, 9, 9, 3, 4], simulate)
    found = point(calls("1010..01"), predictions)
    assert (found.positives, found.negatives, beside_of(found).found) == (3, 3, 3)


def test_a_reader_who_calls_everything_is_equalled_by_a_model_that_does(
    simulate: Simulate,
) -> None:
    found = point(calls("111111"), model("+++---", [0, 1, 2, 3, 4, 5], simulate))
    assert (found.specificity, found.paired) == (0.0, (3, None))
    found = point(calls("1" * 60), model("+-" * 30, [0.0] * 60, simulate))
    assert (found.specificity, found.paired) == (0.0, (30, 1.0))


def test_there_is_no_p_of_few_patients_without_the_finding(simulate: Simulate) -> None:
    """The threshold of the model follows them: with 15, a reader of equal skill was worse at 5 % in
    up to 10 % of studies."""
    for without in (24, 26):
        truth = "+" * 60 + "-" * without
        found = point(calls("10" * (len(truth) // 2)), model(truth, [*range(len(truth))], simulate))
        assert found.paired is not None
        assert (found.paired[1] is None) is (without < FEWEST_WITHOUT)
        assert np.isnan(beside_of(found).p) == (without < FEWEST_WITHOUT)


def test_a_box_counts_patients_however_many_images_they_have(simulate: Simulate) -> None:
    """The reader is right about all images of a patient, or wrong about all."""
    boxes = []
    for each in (1, 5):
        truth, said = "+" * 20 * each + "-" * 30 * each, ""
        for called, patients in (("1", 15), ("0", 5), ("1", 6), ("0", 24)):
            said += called * patients * each
        scores = [float(n) for n in range(len(truth))]
        found = point(calls(said), model(truth, scores, simulate, images_per_group=each))
        (kept,) = kept_points([found.to_json()])
        assert kept.box == found.box
        boxes.append(np.ravel(found.box))
    assert boxes[1] == pytest.approx(boxes[0], abs=0.02)
    assert boxes[1][1] - boxes[1][0] > 0.3, "20 patients; of 100 images it would be 0.18"


def test_a_reader_of_few_patients_with_the_finding_has_no_box(simulate: Simulate) -> None:
    scores = [float(n) for n in range(40)]
    found = point(
        calls("10" * 20), model("+" * 12 + "-" * 28, scores, simulate, images_per_group=4)
    )
    assert found.positives == 12
    assert found.box is None


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("111...", "all of the images read show 'melanoma'; sensitivity and specificity need"),
        ("...100", "none of the images read show 'melanoma'; sensitivity and specificity need"),
        ("11..01", "the comparison would be based on only 4 groups"),
    ],
)
def test_readings_that_say_too_little_are_refused(simulate: Simulate, said: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"reader 1: .*{what}"):
        point(calls(said), model("+++---", [1, 2, 3, 4, 5, 6], simulate))


def test_p_is_the_share_of_resamples_of_patients_in_which_the_model_finds_no_more(
    simulate: Simulate,
) -> None:
    draw, truth = np.random.default_rng(0), "++--+-" * 15
    ill = np.array([sign == "+" for sign in truth])
    scores = np.round(draw.normal(1.2 * ill), 1)  # ties, too
    called = draw.normal(0.8 * ill) > 0.5
    predictions = model(truth, list(scores), simulate, images_per_group=3)
    found = point(calls("".join(map(str, called.astype(int)))), predictions)
    no_more = 0
    for weights in resampling_weights(predictions.groups, RESAMPLES, seed=0):
        rows = np.repeat(np.arange(90), weights)
        s, c, t = scores[rows], called[rows], ill[rows]
        best = max([0] + [(s >= at)[t].sum() for at in s if (s >= at)[~t].sum() <= c[~t].sum()])
        no_more += best <= c[t].sum()
    assert found.paired is not None
    assert found.paired[1] == pytest.approx((no_more + 1) / 1001)
    assert 0.01 < found.paired[1] < 0.9


def test_the_table_of_the_study_has_what_every_reader_read(simulate: Simulate) -> None:
    predictions = model("+-+?", [1, 1, -1, 1], simulate, images_per_group=2)
    rows = list(study_rows([calls("10.1"), calls("0111", "reader 2")], predictions))
    assert rows == [
        ["image 0", "reader 1", "readers", "1", "1", "patient 0"],
        ["image 0", "reader 2", "readers", "1", "0", "patient 0"],
        ["image 0", "model", "model", "1", "1", "patient 0"],
        ["image 1", "reader 1", "readers", "0", "0", "patient 0"],
        ["image 1", "reader 2", "readers", "0", "1", "patient 0"],
        ["image 1", "model", "model", "0", "1", "patient 0"],
    ]
