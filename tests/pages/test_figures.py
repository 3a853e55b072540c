from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.pages import figures, layout
from medcnn.statistics.benefit import BenefitCurve, BenefitPoint
from medcnn.statistics.curves import one_label, precision_recall, roc
from medcnn.statistics.estimates import Estimate

HOSTILE = ("<script>alert(1)</script>", "日本語 $x_1$ & \" ' `", "]]></svg>", "e" * 300)
DRAWN = [figures.roc_chart, figures.precision_recall_chart, figures.reliability_chart]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def titles(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("title")]


@pytest.mark.parametrize("draw", DRAWN)
def test_a_curve_is_well_formed_names_its_axes_and_is_the_same_every_time(simulate, draw) -> None:
    label = one_label(simulate(Kind.BINARY), 0)
    chart = draw(label)
    assert len([t for t in texts(chart.svg) if t[:1].isalpha() or "specificity" in t]) >= 2
    assert chart == draw(label)
    assert titles(chart.svg), "a pointer finds values"
    assert all(len(row) == len(chart.head) for row in chart.rows)


@pytest.mark.parametrize("draw", DRAWN)
def test_a_curve_takes_its_colours_from_the_page_and_is_small(simulate, draw) -> None:
    svg = draw(one_label(simulate(Kind.BINARY, 4000), 0)).svg
    assert not re.search(r"#|rgb|style=|color", svg)
    assert len(svg) < 5_000


def test_the_numbers_behind_a_roc_curve_are_those_of_the_curve(simulate) -> None:
    label = one_label(simulate(Kind.BINARY), 0)
    false, true = roc(label)
    for specificity, sensitivity in figures.roc_chart(label).rows:
        at = 1 - float(specificity)
        assert float(sensitivity) == pytest.approx(true[false <= at + 1e-9].max(), abs=5e-4)
    recall, precision = precision_recall(label)
    for wanted, found in figures.precision_recall_chart(label).rows:
        at = int(np.argmax(recall >= float(wanted) - 1e-9))
        assert float(found) == pytest.approx(precision[at], abs=5e-4)


@pytest.mark.parametrize("draw", DRAWN)
def test_hostile_class_names_stay_text(simulate, draw) -> None:
    for name in HOSTILE:
        tree = ET.fromstring(draw(replace(one_label(simulate(Kind.BINARY), 0), name=name)).svg)
        assert name in tree.attrib["aria-label"]
        assert {e.tag for e in tree.iter()} <= {"svg", "g", "path", "text", "circle", "title"}


def test_a_history_leaves_gaps_out_and_draws_the_learning_rate_in_plain_numbers() -> None:
    nan = float("nan")
    chart = figures.history_chart("lr", [1, 2, 3], {"lr": [1e-3, nan, 1e-5]}, "rate", log=True)
    assert {"0.001", "0.0001", "1e−05"} <= set(texts(chart.svg))
    assert len(titles(chart.svg)) == 2
    assert chart.rows == (("1", "0.001"), ("2", ""), ("3", "1e-05"))


def test_validation_loss_is_drawn_beside_that_of_training() -> None:
    """The two are told apart by their names, not by colour alone."""
    history = [{"epoch": e, "train/loss": 1 / e, "val/loss": 1.2 / e} for e in range(1, 6)]
    (chart,) = figures.training(history)
    assert chart.head == ("Epoch", "training", "validation")
    assert {"training", "validation"} <= set(texts(chart.svg))
    assert chart.svg.count('class="l1"') == chart.svg.count('class="l2"') == 1


def test_one_epoch_is_a_history_too() -> None:
    chart = figures.history_chart("Loss", [1], {"training": [0.5]}, "Loss", chosen=1)
    ET.fromstring(chart.svg)
    assert chart.rows == (("1", "0.5"),)


@pytest.mark.fault
def test_of_many_classes_the_commonest_confusions_are_listed(simulate) -> None:
    """Row B14: what is drawn grows with classes, never with their square."""
    predictions = simulate(Kind.MULTICLASS, 400, names=[f"c{i}" for i in range(60)])
    found = layout.confusions(predictions)
    assert found["rows"] == []
    assert 0 < len(found["pairs"]) <= layout.MOST_CONFUSIONS
    counts = [int(count) for _, _, count, _ in found["pairs"]]
    assert counts == sorted(counts, reverse=True)


def test_the_confusion_matrix_holds_each_count_and_its_share_of_the_row(simulate) -> None:
    predictions = simulate(Kind.MULTICLASS)
    found = layout.confusions(predictions)
    total = sum(int(c["count"]) for row in found["rows"] for c in row["cells"])
    assert total == len(predictions.image_ids)
    for i, row in enumerate(found["rows"]):
        assert [c["right"] for c in row["cells"]] == [i == j for j in range(3)]
        assert sum(c["share"] for c in row["cells"]) == pytest.approx(100, abs=2)


def test_a_net_benefit_just_below_nothing_is_not_minus_zero() -> None:
    model = Estimate(value=-0.0002, low=-0.0004, high=0.0003, count=9, groups=9)
    point = BenefitPoint(threshold=figures.MARKED[0], model=model, over_all=model, all=-0.0)
    chart = figures.benefit_chart(BenefitCurve(label="x", prevalence=0.2, points=(point,)))
    assert chart.rows[0][1:] == ("-0.0002", "-0.0004 to 0.0003", "0.000")
    assert titles(chart.svg)[-1].endswith("net benefit -0.0002")


def test_scores_and_figures_load_nothing_heavy_until_they_draw() -> None:
    heavy = ["torch", "timm", "torchvision", "hydra", "sklearn", "matplotlib", "jinja2", "scipy"]
    code = (
        "import sys, medcnn.pages.report, medcnn.statistics.decisions;"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
