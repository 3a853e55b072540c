"""The pages of a run: `report.html`, one file with the results, their uncertainty and their origin,
and `MODEL_CARD.md` for people who receive the checkpoint.

The report is self-contained: no network, no external fonts, and one short script of our own that
moves a threshold. Its Content-Security-Policy forbids the browser to run or fetch anything else.
The same input gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medcnn.pages import figures, gallery, layout, reader_points
from medcnn.pages.checklist import filled, missing, summed_up
from medcnn.pages.facts import Facts, facts_of, say
from medcnn.pages.flow import flow
from medcnn.pages.format import estimate, hundredths, number, of_hundred, percent, short, whose
from medcnn.pages.model_card import card_values
from medcnn.pages.page import rendered, script
from medcnn.pages.pictures import address
from medcnn.pages.statements import STATEMENTS
from medcnn.pages.subgroups import alarms, sections, tables
from medcnn.pages.summary import summary
from medcnn.statistics.curves import every_label, four_cells
from medcnn.statistics.evaluation import Evaluation, write_metrics
from medcnn.statistics.groupings import groupings
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.operating import rule_words
from medcnn.statistics.patients import by_patient
from medcnn.statistics.points import ReadoutEvaluation, evaluate_readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.reader_points import Beside
from medcnn.statistics.scores import evaluate
from medcnn.statistics.subgroups import Subgroups, subgroups
from medcnn.system.files import write_text

MOST_UNREADABLE = 200
# Parts of run.json that are elsewhere on the page, or not known when it is written.
HIDDEN = frozenset({"config", "id", "notes", "exit", "ended", "wall_s", "report", "audit", "flips"})
HIDDEN |= {"trained_before", "accept", "new_hospital", "readers"}

FILTERS: dict[str, Callable[..., Any]] = {
    "estimate": lambda s: estimate(s.value, s.low, s.high),
    "valued": layout.valued,
    "share": partial(layout.valued, write=percent, unit=" %"),
    "few": partial(layout.valued, write=short),
    "threshold": layout.threshold,
    "bar": layout.bar,
    "title": lambda s: METRICS[s.name].title,
    "rule": rule_words,
    "four_cells": four_cells,
    "short": short,
    "hundredths": hundredths,
    "of_hundred": of_hundred,
    "cell": layout.cell,
    "address": address,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An additional table, such as old against new weights."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The content of the pages; empty parts are left out.

    Attributes:
        run: `run.json`, the basis of statements, checklists and provenance; its entry `report` was
            written by `verbs.scoring.report`.
        predictions, evaluations: by split.
        readouts: operating points, sets and referral, by split.
        subgroups: by split.
        patients: main scores by patient (or eye, ...), by split.
        errors: from `pictures.worst_errors`.
        maps: from `verbs.steps.gallery`.
    """

    title: str
    run: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    readouts: Mapping[str, ReadoutEvaluation] = field(default_factory=dict)
    subgroups: Mapping[str, Subgroups] = field(default_factory=dict)
    patients: Mapping[str, Evaluation] = field(default_factory=dict)
    errors: Sequence[Mapping[str, Any]] = ()
    maps: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stored(self) -> Mapping[str, Any]:
        return self.run.get("report") or {}


def write_results(
    folder: Path,
    run: Mapping[str, Any],
    predictions: Sequence[Predictions],
    evaluations: Mapping[str, Evaluation],
) -> None:
    """Write `metrics.json`, `report.html` and `MODEL_CARD.md` from the content of a run folder.

    Args:
        run: its `run.json`; anything missing there is left out of the pages.
    """
    stored = run.get("report") or {}
    readouts = {p.split: evaluate_readout(p, stored.get("prevalence")) for p in predictions}
    asked = stored.get("subgroups")
    groups = {p.split: subgroups(p, groupings(p.attributes, p.groups, asked)) for p in predictions}
    patients = {
        p.split: evaluate(together, names=layout.MAIN)
        for p in predictions
        if (together := by_patient(p)) is not None
    }
    more = {
        "readout": {split: judged.to_json() for split, judged in readouts.items()},
        "subgroups": {split: judged.to_json() for split, judged in groups.items()},
        "patients": {split: judged.to_json() for split, judged in patients.items()},
    }
    write_metrics(folder / "metrics.json", evaluations, more)
    errors, maps = folder / "errors.json", folder / "explanations.json"
    report = Report(
        title=stored.get("title", folder.resolve().name),
        run=run,
        predictions={p.split: p for p in predictions},
        evaluations=evaluations,
        readouts=readouts,
        subgroups=groups,
        patients=patients,
        errors=json.loads(errors.read_text(encoding="utf-8")) if errors.is_file() else (),
        maps=json.loads(maps.read_text(encoding="utf-8")) if maps.is_file() else {},
    )
    write_pages(folder, report)


def write_pages(folder: Path, report: Report) -> None:
    """Write both pages; an older file stays until the new one is complete."""
    values = content(report)
    write_text(folder / "report.html", rendered("report.html.j2", FILTERS, **values))
    write_text(folder / "MODEL_CARD.md", rendered("model_card.md.j2", FILTERS, **values))


def html(report: Report) -> str:
    return rendered("report.html.j2", FILTERS, **content(report))


def model_card(report: Report) -> str:
    return rendered("model_card.md.j2", FILTERS, **content(report))


def content(report: Report) -> dict[str, Any]:
    """The values of both templates."""
    stored, run = report.stored, report.run
    splits = sorted(report.evaluations, key=layout.split_rank)
    first = splits[0] if splits else ""
    evaluation, predictions = report.evaluations.get(first), report.predictions.get(first)
    own = report.readouts.get(first)
    noun = str(stored.get("group_noun") or "group")
    labels = every_label(predictions) if predictions else []
    beside = reader_points.compared(labels, run.get("readers") or ())
    history = [
        {key: math.nan if value is None else value for key, value in epoch.items()}
        for epoch in stored.get("history") or ()
    ]
    drawn = {
        "cuts": layout.cuts(predictions, own) if predictions else [],
        "flow": flow(stored, report.predictions, noun),
        "readout": own,
        "risk": figures.risk_coverage_chart(own.curve) if own and len(own.curve) > 2 else None,
        "classes": figures.classes(labels, evaluation, beside) if labels and evaluation else [],
        "beside": beside,
        "confusion": layout.confusions(predictions) if predictions else None,
        "benefits": [figures.benefit_chart(c) for c in own.benefit] if own else [],
        "patients": layout.beside(evaluation, report.patients.get(first)),
        "subgroups": tables(report.subgroups.get(first, Subgroups())),
        "training": figures.training(history, run.get("best_epoch")),
        "dataset": layout.dataset(stored.get("dataset") or {}, noun),
        "unreadable": [
            (split, *image)
            for split in sorted(report.predictions, key=layout.split_rank)
            for image in report.predictions[split].unreadable
        ],
    }
    facts = report_facts(report, evaluation, predictions, drawn)
    checklist = filled(run, facts) if run else []
    code, code_hash = script("report.js") if drawn["cuts"] else ("", "'none'")
    config = run.get("config")
    return {
        "title": report.title,
        "task": stored.get("task", ""),
        "noun": noun,
        "warnings": run.get("notes") or (),
        "tables": [Table(**table) for table in stored.get("tables") or ()],
        "errors": report.errors,
        "reader_rows": reader_points.rows(beside),
        "maps": gallery.grouped(report.maps),
        "map_checks": gallery.checked(report.maps),
        "excluded": stored.get("excluded") or {},
        "provenance": {k: v for k, v in run.items() if v is not None and k not in HIDDEN},
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if config else "",
        "script": code,
        "script_hash": code_hash,
        "checklist": checklist,
        "missing": missing(checklist),
        "checklist_says": summed_up(checklist),
        "splits": splits,
        "evaluation": evaluation,
        "of_split": layout.split_words(evaluation.split) if evaluation else "",
        "say": partial(say, STATEMENTS, facts),
        "flatters": say(STATEMENTS, replace(facts, split="validation"), "flatters"),
        "whose": partial(whose, noun=noun),
        "sentences": summary(evaluation, facts) if evaluation else [],
        "headlines": layout.headlines(evaluation) if evaluation else [],
        "overall": layout.overall([report.evaluations[split] for split in splits]),
        "by_class": layout.by_class(evaluation) if evaluation else {},
        "notes": layout.Notes(noun),
        "folded_notes": layout.Notes(noun),
        "metrics": METRICS,
        "labels": labels,
        "most_unreadable": MOST_UNREADABLE,
        **card_values(run, facts, predictions),
        **drawn,
    }


def report_facts(
    report: Report,
    evaluation: Evaluation | None,
    predictions: Predictions | None,
    drawn: Mapping[str, Any],
) -> Facts:
    """The facts of the page's first split."""
    readout: ReadoutEvaluation | None = drawn["readout"]
    names = ("points", "grades", "sets", "referral", "looks")
    judged = {name: getattr(readout, name, ()) for name in names}
    sets, worths = (readout.sets, readout.worths) if readout else ((), ())
    parts = {
        **judged,
        "Scores": evaluation,
        "Operating points": judged["points"] or judged["grades"],
        "Confusions": predictions,
        "Errors": report.errors,
        "maps": report.maps,
        "Dataset": drawn["dataset"],
        "Flow of images": drawn["flow"],
        "slider": drawn["cuts"],
        "patients": drawn["patients"],
        "benefit": drawn["benefits"],
        "curves": drawn["classes"],
        "confusion": drawn["confusion"] and drawn["confusion"]["rows"],
        "most confused": drawn["confusion"] and drawn["confusion"]["pairs"],
        "training": drawn["training"],
    }
    beside: list[Beside] = drawn["beside"]
    groups = report.subgroups.get(evaluation.split if evaluation else "", Subgroups())
    unreadable = len(drawn["unreadable"])
    return replace(
        scored_facts(report.run, evaluation, predictions),
        sections=frozenset(name for name, there in parts.items() if there) | sections(groups),
        useful=tuple((c.label, c.useful) for c in readout.benefit) if readout else (),
        costs=worths[0].costs if worths else None,
        gaps=groups.gaps,
        gap_level=f"{percent(groups.level)} %",
        alarms=alarms(groups),
        own_prevalence=report.stored.get("prevalence") is None,
        wanted=short(100 * sets[0].wanted, " %") if sets else "",
        per=sets[0].per if sets else "",
        readers=len(beside),
        readers_elsewhere=sum(not b.point.same_images for b in beside),
        readers_paired=sum(b.point.paired is not None for b in beside),
        readers_untested=sum(b.point.paired is not None and math.isnan(b.p) for b in beside),
        readers_partly=reader_points.partly(beside, [label for label, *_ in drawn["classes"]]),
        readers_boxed=any(b.point.box is not None for b in beside),
        several_each=predictions is not None
        and len(set(predictions.groups)) < len(predictions.groups),
        maps_by=gallery.METHODS.get(report.maps.get("method", ""), ""),
        maps_failed=gallery.failed(report.maps),
        aurc=number(readout.aurc, 4) if readout else "",
        unlike=tuple(row.verdict for row in judged["looks"] if row.too_often),
        looks_untested=tuple(r.verdict for r in judged["looks"] if math.isnan(r.by_patient.low)),
        listed=min(unreadable, MOST_UNREADABLE),
        unlisted=max(0, unreadable - MOST_UNREADABLE),
    )


def scored_facts(
    run: Mapping[str, Any], evaluation: Evaluation | None, predictions: Predictions | None
) -> Facts:
    """The facts in `run.json`, the scores of a split and its predictions."""
    facts = Facts(**facts_of(run, evaluation.split if evaluation else ""))
    if evaluation is None:
        return facts
    by_drawing = any(s.method in ("bootstrap", "inverted test") for s in evaluation.scores)
    facts = replace(
        facts,
        kind=evaluation.labels.kind,
        intervals=sum(not math.isnan(s.low) for s in evaluation.scores),
        resamples=evaluation.resamples if by_drawing else 0,
        thresholds=evaluation.thresholds or (),
    )
    if predictions is None:
        return facts
    readout = predictions.readout
    fitted = {
        "thresholds": readout.points,
        "calibration": readout.calibration,
        "sets": readout.conformal,
        "referral": readout.referral,
    }
    calibration = readout.calibration
    return replace(
        facts,
        together=readout.patients,
        flat=_flat(predictions),
        fitted=frozenset(name for name, there in fitted.items() if there),
        threshold_chosen=predictions.thresholds is not None,
        rule=readout.rule(predictions.labels),
        calibration=calibration.name.replace("_", " ") if calibration else "",
    )


def _flat(predictions: Predictions) -> frozenset[str]:
    """Labels whose probability is the same for all assessed images."""
    found = set()
    for k, name in enumerate(predictions.labels.outputs):
        own = predictions.probabilities[~np.isnan(predictions.targets[:, k]), k]
        if len(own) and np.ptp(own) == 0:
            found.add(name)
    return frozenset(found)
