"""One HTML file that says what was found, how sure that is, and where it came from.

It needs nothing but itself: no network, no font from elsewhere, one short script of our own that
moves a threshold; its Content-Security-Policy forbids a browser to run or fetch anything else. The
same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from medcnn.pages import drawings, layout
from medcnn.pages.checklist import filled, missing, told
from medcnn.pages.digits import because, number
from medcnn.pages.facts import Facts, facts_of
from medcnn.pages.flow import flow
from medcnn.pages.page import rendered, script
from medcnn.pages.statements import said
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
        excluded: reason -> what of the source was left out.
        rows_left_out: reason -> rows of its table that are no images.
        lost: split -> `unreadable` and `quarantined` images; None where nobody counted.
        notes: warnings that stand at the top.
        facts: what `run.json` says; statements and checklists are computed from it.
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
    rows_left_out: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, Mapping[str, int]] | None = None
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
    own = report.readouts.get(splits[0]) if splits else None
    labels = drawings.labels_of(predictions)
    drawn = {
        "cuts": layout.cuts(predictions, own) if predictions else [],
        "flow": flow(
            report.dataset,
            report.excluded,
            report.rows_left_out,
            report.lost,
            report.predictions,
            report.group_noun,
        ),
        "readout": layout.readout(own),
        "classes": drawings.classes(predictions, labels, evaluation)
        if predictions and evaluation
        else [],
        "confusion": drawings.confusions(predictions) if predictions else None,
        "cells": drawings.cells(predictions, labels) if predictions else [],
        "training": drawings.training(report.history, report.facts.get("best_epoch")),
        "dataset": layout.dataset(report.dataset, report.group_noun),
        "unreadable": layout.unreadable(report.predictions),
    }
    facts = report_facts(report, evaluation, predictions, drawn)
    checklist = filled(report.facts, facts) if report.facts else []
    footnotes, folded_footnotes = layout.Footnotes(), layout.Footnotes()
    code, code_hash = script("report.js")
    return rendered(
        "report.html.j2",
        report=report,
        script=code if drawn["cuts"] else "",
        script_hash=code_hash if drawn["cuts"] else "'none'",
        checklist=checklist,
        missing=missing(checklist),
        checklist_says=told(checklist),
        number=number,
        splits=splits,
        evaluation=evaluation,
        of_split=layout.split_words(evaluation.split) if evaluation else "",
        say=lambda *names: " ".join(filter(None, (said(name, facts) for name in names))),
        flatters=said("flatters", replace(facts, split="validation")),
        because=partial(because, noun=report.group_noun),
        sentences=summary(evaluation, facts) if evaluation else [],
        headlines=layout.headlines(evaluation) if evaluation else [],
        overall=layout.overall(report.evaluations, splits, footnotes),
        by_class=layout.by_class(evaluation, footnotes) if evaluation else None,
        every_score=layout.every_score(evaluation, folded_footnotes) if evaluation else [],
        footnotes=footnotes,
        folded_footnotes=folded_footnotes,
        most_unreadable=MOST_UNREADABLE,
        cell=layout.cell,
        **drawn,
    )


def report_facts(
    report: Report,
    evaluation: Evaluation | None,
    predictions: Predictions | None,
    drawn: Mapping[str, Any],
) -> Facts:
    """The facts of the page's first split."""
    readout = drawn["readout"] or {}
    parts = {
        "Scores": evaluation,
        "Operating points": readout.get("points") or readout.get("grades"),
        "Confusions": predictions,
        "Errors": report.errors,
        "Dataset": report.dataset,
        "Flow of images": drawn["flow"],
        "points": readout.get("points"),
        "grades": readout.get("grades"),
        "sets": readout.get("sets"),
        "referral": readout.get("referral"),
        "slider": drawn["cuts"],
        "curves": drawn["classes"],
        "confusion": drawn["confusion"] and drawn["confusion"]["rows"],
        "most confused": drawn["confusion"] and drawn["confusion"]["pairs"],
        "training": drawn["training"],
    }
    unreadable = len(drawn["unreadable"])
    known = scored_facts(report.facts, evaluation, predictions)
    return replace(
        known,
        sections=frozenset(name for name, there in parts.items() if there),
        group_noun=report.group_noun,
        epochs=known.epochs or len(report.history),
        own_prevalence=not report.prevalence_given,
        wanted=readout.get("wanted", ""),
        per=readout.get("per", ""),
        aurc=readout.get("aurc", ""),
        listed=min(unreadable, MOST_UNREADABLE),
        unlisted=max(0, unreadable - MOST_UNREADABLE),
    )


def scored_facts(
    run: Mapping[str, Any], evaluation: Evaluation | None, predictions: Predictions | None
) -> Facts:
    """What `run.json`, the scores of a split and its predictions tell."""
    facts = Facts(**facts_of(run, evaluation.split if evaluation else ""))
    if evaluation is None:
        return facts
    drawn = {"bootstrap", "inverted test"}
    more: dict[str, Any] = {
        "kind": evaluation.labels.kind,
        "intervals": sum(s.low == s.low for s in evaluation.scores),  # only nan is not itself
        "resamples": evaluation.resamples
        if any(s.method in drawn for s in evaluation.scores)
        else 0,
        "thresholds": evaluation.thresholds or (),
    }
    if predictions is not None:
        readout = predictions.readout
        names = {
            "thresholds": readout.points,
            "calibration": readout.calibration,
            "sets": readout.conformal,
            "referral": readout.referral,
        }
        more |= {
            "fitted": frozenset(name for name, there in names.items() if there),
            "threshold_chosen": predictions.thresholds is not None,
            "rule": readout.rule(predictions.labels),
            "calibration": readout.calibration.name.replace("_", " ")
            if readout.calibration
            else "",
        }
    return replace(facts, **more)
