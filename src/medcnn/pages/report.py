"""One HTML file that says what was found, how sure that is, and where it came from.

It needs nothing but itself: no network, no font from elsewhere, one short script of our own that
moves a threshold; its Content-Security-Policy forbids a browser to run or fetch anything else. The
same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcnn.pages import layout
from medcnn.pages.checklist import filled, missing
from medcnn.pages.page import rendered, script
from medcnn.pages.summary import summary
from medcnn.statistics.points import ReadoutEvaluation
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import Evaluation
from medcnn.system.files import write_text

MOST_UNREADABLE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A further table, such as old against new weights."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the page shows; whatever is empty leaves its section out.

    Attributes:
        task: one sentence: what is told from what.
        predictions: by split.
        evaluations: by split.
        readouts: operating points, sets and referral, by split.
        history: one dict per epoch: `epoch`, `train/loss`, `val/<score>`, `lr`, any missing.
        dataset: as `Manifest.counts()`: split -> `images`, `groups`, `label:<name>` -> number.
        excluded: reason -> images of the source that were left out.
        notes: warnings that stand at the top.
        facts: what `run.json` says; the checklists are filled from it.
        provenance: what of it the page shows as what made this, flat.
        errors: what `gallery.worst_errors` gave.
        group_noun: what a group is: `patient`, `lesion`, or `image` where nothing is known.
    """

    title: str
    task: str
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    readouts: Mapping[str, ReadoutEvaluation] = field(default_factory=dict)
    prevalence_given: bool = False
    history: Sequence[Mapping[str, float]] = ()
    dataset: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    errors: Sequence[Mapping[str, Any]] = ()
    config_yaml: str = ""
    group_noun: str = "patient"


def write_report(path: Path, report: Report) -> None:
    """Write the page to `path`; an older page stays whole until the new one is complete."""
    write_text(path, html(report))


def html(report: Report) -> str:
    splits = sorted(report.evaluations, key=layout.split_rank)
    evaluation = report.evaluations[splits[0]] if splits else None
    predictions = report.predictions.get(splits[0]) if splits else None
    footnotes, folded_footnotes = layout.Footnotes(), layout.Footnotes()
    code, code_hash = script("report.js")
    own = report.readouts.get(splits[0]) if splits else None
    cuts = layout.cuts(predictions, own) if predictions else []
    flow = layout.flow(report.dataset, report.excluded, report.predictions, report.group_noun)
    sections = {
        "Scores": evaluation,
        "Operating points": own and (own.points or own.grades),
        "Confusions": predictions,
        "Errors": report.errors,
        "Dataset": report.dataset,
        "Flow of images": flow,
    }
    there = [name for name, content in sections.items() if content]
    checklist = filled(report.facts, there) if report.facts else []
    return rendered(
        "report.html.j2",
        report=report,
        script=code if cuts else "",
        script_hash=code_hash if cuts else "'none'",
        cuts=cuts,
        flow=flow,
        checklist=checklist,
        missing=missing(checklist),
        splits=splits,
        evaluation=evaluation,
        rule=predictions.readout.rule(predictions.labels) if predictions else "",
        of_split=layout.split_words(evaluation.split) if evaluation else "",
        predictions=predictions,
        certainty=layout.certainty_words(evaluation.labels) if evaluation else "",
        sentences=summary(evaluation, report.group_noun) if evaluation else [],
        headlines=layout.headlines(evaluation) if evaluation else [],
        overall=layout.overall(report.evaluations, splits, footnotes),
        by_class=layout.by_class(evaluation, footnotes) if evaluation else None,
        every_score=layout.every_score(evaluation, folded_footnotes) if evaluation else [],
        footnotes=footnotes,
        folded_footnotes=folded_footnotes,
        readout=layout.readout(own),
        classes=layout.classes(predictions, evaluation) if predictions and evaluation else [],
        confusion=layout.confusion_figure(predictions) if predictions else None,
        cells=layout.cells(predictions) if predictions else [],
        training=layout.training(report.history, report.facts.get("best_epoch")),
        dataset=layout.dataset(report.dataset, report.group_noun),
        unreadable=layout.unreadable(report.predictions),
        most_unreadable=MOST_UNREADABLE,
        cell=layout.cell,
    )
