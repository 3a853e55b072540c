from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.strangeness import (
    COLUMNS,
    FAR,
    USUAL,
    VERDICTS,
    Bounds,
    fit_bounds,
    line_about,
    shared_bounds,
    shared_looks,
)


def drawn(patients: int, draw: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Looks of one to five images of each patient, alike within a patient."""
    images = draw.integers(1, 6, patients)
    own = draw.standard_normal((patients, len(COLUMNS)))
    of = np.repeat(np.arange(patients), images)
    return own[of] + 0.5 * draw.standard_normal((len(of), len(COLUMNS))), [f"p{i}" for i in of]


def fitted(looks: np.ndarray, groups: list[str], rate: float = 0.05) -> Bounds:
    found = fit_bounds(looks, groups, rate)
    assert found is not None
    return found


def test_false_alarms_on_images_of_new_patients_are_as_rare_as_stated() -> None:
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        bounds = fitted(*drawn(60, draw))
        looks, groups = drawn(200, draw)
        _, at, images = np.unique(groups, return_inverse=True, return_counts=True)
        own = bounds.beyond(looks) / images[at][:, None]
        shares.append(own.sum(axis=0) / len(images))
    mean, error = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(200)
    assert (mean[1:] <= 0.05 + 2 * error[1:]).all()
    assert (mean[1:] > 0.03).all()  # and not much rarer
    assert mean[0] < 0.001  # far beyond any image of validation


def test_few_patients_promise_what_they_can() -> None:
    looks, groups = drawn(9, np.random.default_rng(1))
    bounds = fitted(looks, groups, 0.01)
    assert set(bounds.rates.values()) == {0.1}
    assert [bounds.bounds[v] for v in VERDICTS[1:]] == looks[:, 1:3].max(axis=0).tolist()
    assert bounds.bounds[VERDICTS[0]] == looks[:, 0].max() + FAR
    assert fit_bounds(looks[:0], [], 0.05) is None


def test_the_most_serious_verdict_comes_first_and_nan_gets_none() -> None:
    bounds = Bounds(
        patients=9, rates=dict.fromkeys(VERDICTS, 0.1), bounds=dict.fromkeys(VERDICTS, 1)
    )
    looks = np.zeros((5, len(COLUMNS)))
    looks[0, :3], looks[1, 1:3], looks[2, 2], looks[4] = 2, 2, 2, np.nan
    assert bounds.verdicts(looks) == [*VERDICTS, USUAL, USUAL]


def test_members_of_an_ensemble_decide_by_their_majority() -> None:
    bounds = [
        Bounds(patients=9, rates=dict.fromkeys(VERDICTS, 0.1), bounds=dict.fromkeys(VERDICTS, b))
        for b in (0.0, 5.0, 10.0)
    ]
    looks = np.array([[6.0] * len(COLUMNS), [4.0] * len(COLUMNS)])
    together, shared = shared_looks([(looks.copy(), b) for b in bounds]), shared_bounds(bounds)
    assert shared.verdicts(together) == [VERDICTS[0], USUAL]
    assert shared.rates == pytest.approx(dict.fromkeys(VERDICTS, 0.2))
    assert (together[:, 3:] == looks[:, 3:]).all()


def watched(simulate, looks: np.ndarray, bounds: Bounds | None) -> Predictions:
    found = simulate(Kind.BINARY, len(looks), images_per_group=1)
    return replace(found, looks=looks, readout=replace(found.readout, unusual=bounds))


def test_a_table_of_predictions_keeps_how_strange_images_look(simulate, tmp_path) -> None:
    looks = np.random.default_rng(0).standard_normal((40, len(COLUMNS))).round(6)
    said = watched(simulate, looks, fitted(looks, [str(i) for i in range(40)], 0.2))
    said.write(tmp_path / "p.csv")
    again = Predictions.read(tmp_path / "p.csv")
    assert again.readout == said.readout
    assert (again.looks == looks).all()
    assert again.verdicts.tolist() == said.verdicts.tolist()
    assert "'-" not in (tmp_path / "p.csv").read_text()  # a number is no formula
    row = said.new_rows()[0]
    assert list(row) == said.new_columns
    assert row["looks"] in (USUAL, *VERDICTS)
    assert float(row["image:detail"]) == pytest.approx(looks[0, -1], abs=1e-6)
    plain = watched(simulate, looks, None)
    assert "looks" not in plain.new_columns


@pytest.mark.parametrize(("shift", "often"), [(0.0, False), (2.0, True)])
def test_a_split_shows_false_alarms_beside_the_stated_rate(simulate, shift, often) -> None:
    draw = np.random.default_rng(3)
    bounds = fitted(draw.standard_normal((200, 7)), [str(i) for i in range(200)])
    rows = evaluate_readout(watched(simulate, draw.standard_normal((200, 7)) + shift, bounds)).looks
    assert [row.verdict for row in rows] == list(VERDICTS)
    assert rows[0].rate == pytest.approx(0.01)
    assert rows[1].by_patient.low <= rows[1].by_patient.value <= rows[1].by_patient.high
    assert [row.too_often for row in rows[1:]] == [often, often]
    assert evaluate_readout(watched(simulate, np.zeros((9, 7)), None)).looks == ()


def test_images_like_those_of_validation_are_seldom_called_unlike(simulate) -> None:
    draw = np.random.default_rng(4)
    wrong = 0
    for _ in range(60):
        bounds = fitted(draw.standard_normal((100, 7)), [str(i) for i in range(100)])
        said = watched(simulate, draw.standard_normal((300, 7)), bounds)
        wrong += sum(row.too_often for row in evaluate_readout(said).looks[1:])
    assert wrong <= 6  # of 120


def test_a_line_names_what_is_not_usual_with_the_rate_of_mistakes() -> None:
    bounds = Bounds(
        patients=99,
        rates=dict(zip(VERDICTS, (0.01, 0.05, 0.05), strict=True)),
        bounds=dict.fromkeys(VERDICTS, 1.0),
    )
    line = line_about({"a.png": USUAL, "b.png": "wrong kind", "c.png": "unusual"}, bounds)
    assert "of 3 images" in line
    assert "1 wrong kind (‹b.png›; by mistake at most 1 %), 1 unusual" in line
    assert "other site" not in line
    assert "\n" not in line
    assert line_about({"a.png": USUAL}, bounds) == ""
