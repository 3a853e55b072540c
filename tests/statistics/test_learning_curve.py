"""A learning curve is recovered from its runs, and says no more than they show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.intervals import Floats
from medcnn.statistics.learning_curve import LearningCurve, Reach, learning_curve, resampled
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError

PATIENTS = 1000
SIZES = np.geomspace(PATIENTS / 32, PATIENTS, 6).round()


def truth(n: Floats | float, plateau: float = 0.9, power: float = 0.5) -> Floats:
    return np.asarray(plateau - np.asarray(n, dtype=float) ** -power)


def runs(
    rng: np.random.Generator, *, spread: float = 0.008, chance: float = 0.0, seeds: int = 3
) -> LearningCurve:
    """Of models whose score depends on the patients trained on (`spread` of one run of all), by
    chance or through nested means; the patients tested have a standard deviation of 0.01."""
    influence = rng.normal(size=PATIENTS)
    own = spread * (SIZES / PATIENTS) ** -0.5
    columns = []
    for _ in range(seeds):
        order = influence[rng.permutation(PATIENTS)]
        means = np.array([order[: int(n)].mean() * math.sqrt(n) for n in SIZES])
        alone = rng.normal(size=len(SIZES))
        columns.append(own * ((1 - chance) ** 0.5 * means + chance**0.5 * alone))
    scores = truth(SIZES)[:, None] + np.stack(columns, axis=1) + 0.01 * rng.normal()
    test = np.full((len(SIZES), len(SIZES)), 1e-4)
    return LearningCurve(sizes=SIZES, patients=PATIENTS, scores=scores, test=test)


def exact(plateau: float = 0.9, power: float = 0.5, noise: float = 1e-5) -> LearningCurve:
    draw = np.random.default_rng(0)
    scores = truth(SIZES, plateau, power)[:, None] + noise * draw.normal(size=(len(SIZES), 3))
    return LearningCurve(
        sizes=SIZES, patients=PATIENTS, scores=scores, test=1e-10 * np.eye(len(SIZES))
    )


@pytest.mark.parametrize(("plateau", "power"), [(0.9, 0.5), (0.8, 1.0), (0.98, 0.25)])
def test_without_noise_plateau_power_and_number_are_recovered(plateau: float, power: float) -> None:
    curve = exact(plateau, power)
    assert curve.plateau == pytest.approx(plateau, abs=0.01)
    assert curve.power == pytest.approx(power, abs=0.01)
    needed = curve.needed(float(truth(2000, plateau, power)))
    assert needed.reach is Reach.FOUND
    assert needed.patients == pytest.approx(2000, rel=0.03)
    assert needed.low / 1.02 <= needed.patients <= needed.high * 1.02


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_intervals_of_the_number_and_the_band_hold_in_simulations(chance: float) -> None:
    rng = np.random.default_rng(5)
    n, held, within = 2.0 * PATIENTS, 0, 0
    for _ in range(60):
        curve = runs(rng, chance=chance)
        needed = curve.needed(float(truth(n)))
        held += needed.low / 1.01 <= n <= needed.high * 1.01
        low, high = curve.band(np.array([n]))
        within += bool(low[0] <= truth(n) + 0.008 / 2**0.5 * rng.normal() <= high[0])
    assert min(held, within) >= 54  # 60 x 0.95 less two standard deviations


def test_a_score_above_the_plateau_is_not_reached_and_nothing_is_said_beyond_four_times() -> None:
    curve = exact()
    above = curve.needed(0.92)
    assert (above.reach, above.patients != above.patients) == (Reach.NEVER, True)
    assert math.isnan(above.low)
    beyond = curve.needed(float(truth(5 * PATIENTS)))
    assert beyond.reach is Reach.BEYOND
    assert math.isnan(beyond.patients)
    inside = curve.needed(float(truth(3.9 * PATIENTS)))
    assert inside.reach is Reach.FOUND
    assert curve.needed(float(truth(10))).reach is Reach.BELOW


def test_where_more_labels_change_nothing_no_number_is_promised() -> None:
    flat = LearningCurve(
        sizes=SIZES,
        patients=PATIENTS,
        scores=0.7 + 0.01 * np.random.default_rng(1).normal(size=(6, 3)),
        test=np.full((6, 6), 1e-4),
    )
    assert flat.needed(0.8).reach is Reach.NEVER
    assert flat.at(PATIENTS) == pytest.approx(0.7, abs=0.02)


def test_the_prediction_band_is_wider_than_the_interval_and_grows_beyond_the_data() -> None:
    curve = runs(np.random.default_rng(2))
    at = np.array([PATIENTS, 4.0 * PATIENTS])
    (low, high), (least, most) = curve.interval(at), curve.band(at)
    assert (least < low).all()
    assert (most > high).all()
    assert (high - low)[1] > (high - low)[0]
    assert (low < curve.at(at)).all()
    assert (curve.at(at) < high).all()


def test_runs_that_follow_no_power_law_are_called_so() -> None:
    assert not runs(np.random.default_rng(4)).poor
    wave = exact(noise=1e-4)
    bent = wave.scores + np.array([0.05, -0.05, 0.05, -0.05, 0.05, -0.05])[:, None]
    assert LearningCurve(
        sizes=SIZES, patients=PATIENTS, scores=bent, test=np.full((6, 6), 1e-8)
    ).poor


def test_of_all_patients_runs_of_a_probe_are_one_run() -> None:
    curve = runs(np.random.default_rng(3), chance=0.5)
    same = curve.scores.copy()
    same[-1] = same[-1, 0]
    again = LearningCurve(sizes=SIZES, patients=PATIENTS, scores=same, test=curve.test)
    assert curve.alone.tolist() == [3] * 6
    assert again.alone.tolist() == [3] * 5 + [1]


def test_scores_are_those_of_the_tables_and_resampled_by_patient(simulate) -> None:
    of = [[simulate(Kind.BINARY, 60, seed=s + n) for s in range(3)] for n in range(5)]
    curve = learning_curve([10, 20, 40, 80, 160], of, "auroc", patients=160, resamples=100)
    assert curve.scores[2, 1] == pytest.approx(score(of[2][1], "auroc"))
    assert curve.test.shape == (5, 5)
    assert (np.linalg.eigvalsh(curve.test) > -1e-12).all()


def test_labels_with_a_single_case_are_refused_instead_of_a_spread_of_two_resamples() -> None:
    labels = LabelSpace(kind=Kind.MULTILABEL, names=tuple(f"finding {k}" for k in range(14)))
    names = tuple(str(k) for k in range(40))
    targets = np.zeros((40, 14), dtype=np.float32)
    targets[np.arange(14), np.arange(14)] = 1
    noise = np.random.default_rng(0).normal(size=(40, 14)).astype(np.float32)
    one = Predictions(
        labels=labels, split="test", image_ids=names, groups=names, targets=targets, logits=noise
    )
    with pytest.raises(DataError, match=r"defined in only \d% of resamples"):
        resampled([[one]] * 5, "auroc")
