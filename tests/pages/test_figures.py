from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.pages import figures
from medcnn.statistics.curves import one_label

HOSTILE = ("<script>alert(1)</script>", "日本語 $x_1$ & \" ' `", "]]></svg>", "e" * 300)
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = [figures.roc_figure, figures.precision_recall_figure, figures.reliability_figure]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("draw", DRAWN)
def test_a_curve_is_well_formed_names_its_axes_and_is_the_same_every_time(simulate, draw) -> None:
    label = one_label(simulate(Kind.BINARY), 0)
    svg = draw(label)
    assert len([text for text in texts(svg) if text[:1].isalpha() or "specificity" in text]) >= 2
    assert svg == draw(label)


@pytest.mark.parametrize("draw", DRAWN)
def test_a_curve_takes_its_colours_from_the_page_and_keeps_nothing_of_its_own(
    simulate, draw
) -> None:
    svg = draw(one_label(simulate(Kind.BINARY), 0))
    assert "var(--blue)" in svg
    assert "var(--ink)" in svg
    assert "#" not in svg.replace('"#', "").replace("(#", "")
    assert "<metadata" not in svg
    assert '<g id="' not in svg


def test_hostile_class_names_stay_text() -> None:
    svg = figures.confusion_svg(np.arange(16).reshape(4, 4), HOSTILE)
    found = texts(svg)
    assert HOSTILE[1] in found
    assert HOSTILE[2] in found
    assert found.count("e" * 21 + "…") == 2
    assert not list(ET.fromstring(svg).iter(f"{SVG}script"))


def test_the_confusion_figure_can_be_drawn_elsewhere() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figures.confusion_figure(np.array([[5, 1], [0, 0]]), ("a", "b"))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba()).std() > 0


def test_a_history_leaves_gaps_out_and_draws_the_learning_rate_in_plain_numbers() -> None:
    svg = figures.history_figure([1, 2, 3], {"lr": [1e-3, float("nan"), 1e-5]}, "rate", log=True)
    assert "0.001" in texts(svg)
    assert not any("$" in text for text in texts(svg))


def test_drawing_leaves_no_trace_in_the_settings_of_matplotlib(simulate) -> None:
    before = dict(mpl.rcParams)
    figures.roc_figure(one_label(simulate(Kind.BINARY), 0))
    assert dict(mpl.rcParams) == before


def test_scores_and_figures_load_nothing_heavy_until_they_draw() -> None:
    heavy = ["torch", "timm", "torchvision", "hydra", "sklearn", "matplotlib", "jinja2", "scipy"]
    code = (
        "import sys, medcnn.pages.report, medcnn.statistics.decisions;"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
