from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medcnn.evaluation.report import Report, Table, html, write_report
from medcnn.evaluation.scores import evaluate
from medcnn.labels import Kind
from medcnn.readout import Readout
from medcnn.readout.operating import fit_point

HOSTILE = ("<script>alert(1)</script>", "</style></svg><img src=x>", "{{ 7*7 }}日本語" + "e" * 300)
HISTORY = [
    {"epoch": e, "train/loss": 1 / e, "val/loss": 1.2 / e, "val/auroc": 1 - 0.4 / e, "lr": 1e-3}
    for e in range(1, 6)
]


@pytest.fixture(scope="module")
def report_of(simulate):
    def build(kind: Kind, **options) -> Report:
        validation = simulate(kind, split="validation", seed=1, **options)
        test = replace(
            simulate(kind, seed=2, **options),
            readout=Readout(
                points=(
                    fit_point({"name": "youden"}, validation.probabilities, validation.targets),
                )
            ),
            unreadable=(("img <7>", "truncated"),),
        )
        predictions = {"validation": validation, "test": test}
        counts = {"images": 120, "groups": 60}
        counts |= {f"label:{name}": 40 for name in test.labels.names}
        return Report(
            title="Melanoma <i>on</i> dermoscopy",
            task="Tells melanoma from other lesions.",
            predictions=predictions,
            evaluations={s: evaluate(p, resamples=30) for s, p in predictions.items()},
            history=HISTORY,
            dataset={"train": counts, "test": counts},
            excluded={"no label": 3},
            notes=["Trained from scratch & without weights."],
            tables=[Table(title="Before and after", columns=("a", "b"), rows=(("x", 0.123456),))],
            provenance={"seed": 7, "device": "<cpu>"},
            config_yaml="model: <b>",
        )

    return build


@pytest.fixture(scope="module")
def sources(report_of) -> dict[Kind, str]:
    return {kind: html(report_of(kind)) for kind in Kind}


class Page(HTMLParser):
    """Tags, attributes and visible text; knows which tags must be closed."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        assert not any(k.startswith("on") for k, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_gives_a_whole_page_that_asks_nothing_of_the_network(sources, kind) -> None:
    source = sources[kind]
    page = Page(source)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)|@import", source)
    assert "default-src 'none'" in source


@pytest.mark.parametrize("kind", Kind)
def test_the_test_split_comes_first_and_everything_has_its_section(sources, kind) -> None:
    text = Page(sources[kind]).text
    assert text.index("120 test images") < text.index("Scores")
    for heading in ("Before and after", "Curves, test split", "Confusions", "Training", "Dataset"):
        assert heading in text
    for content in ("img <7>", "truncated", "no label", "<cpu>", "model: <b>", "0.1235"):
        assert content in text
    assert "Trained from scratch & without weights." in text


@pytest.mark.parametrize("kind", [Kind.MULTICLASS, Kind.MULTILABEL])
def test_hostile_class_names_stay_text(report_of, kind) -> None:
    page = Page(html(report_of(kind, names=HOSTILE)))
    assert page.open == []
    assert not {"script", "img"} & set(page.tags)
    for name in HOSTILE:
        assert name in page.text


def test_the_page_says_where_the_thresholds_came_from(report_of, sources) -> None:
    assert "chosen on validation by youden" in sources[Kind.BINARY]
    report = report_of(Kind.BINARY)
    bare = replace(report.predictions["test"], readout=Readout())
    report = replace(
        report, predictions={"test": bare}, evaluations={"test": evaluate(bare, resamples=20)}
    )
    assert "No threshold was chosen" in html(report)


def test_the_same_report_gives_the_same_bytes_and_leaves_no_other_file(
    report_of, sources, tmp_path: Path
) -> None:
    write_report(tmp_path / "report.html", report_of(Kind.ORDINAL))
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert written == sources[Kind.ORDINAL]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_made_leaves_the_old_one(report_of, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    broken = replace(report_of(Kind.BINARY), title=None, tables=[None])
    with pytest.raises(Exception, match="None"):
        write_report(path, broken)
    assert path.read_text(encoding="utf-8") == "old"


def test_a_report_of_almost_nothing_is_still_a_page() -> None:
    page = Page(html(Report(title="Empty", task="Nothing yet.")))
    assert "nothing can be said about how good the model is" in page.text
    assert page.open == []


def test_scores_without_their_predictions_and_gaps_in_the_history_are_shown(report_of) -> None:
    report = replace(
        report_of(Kind.BINARY), predictions={}, history=[{"epoch": 1, "train/loss": float("nan")}]
    )
    text = Page(html(report)).text
    assert "Curves" not in text
    assert "Training" not in text
    assert "Sensitivity" in text


def test_a_class_that_does_not_occur_says_why_it_has_no_curve(report_of) -> None:
    report = report_of(Kind.MULTILABEL)
    test = report.predictions["test"]
    test.targets[:, 0] = 0
    report = replace(report, evaluations={"test": evaluate(test, resamples=20)})
    assert "curves are not available: no image is positive" in Page(html(report)).text


def test_many_images_do_not_make_a_large_page(simulate) -> None:
    predictions = simulate(Kind.MULTILABEL, 6000, names=("a", "b"))
    evaluation = evaluate(predictions, resamples=5)
    report = Report(
        title="Large",
        task="",
        predictions={"test": predictions},
        evaluations={"test": evaluation},
    )
    # fourteen classes must stay below 5 MB
    assert len(html(report).encode()) < 5_000_000 * 2 / 14
    assert np.isfinite(evaluation.find("auroc").value)
