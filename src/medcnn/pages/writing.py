"""What is written of predictions and their scores: `metrics.json`, `report.html`, `MODEL_CARD.md`.

Apart from `judging` because none of it needs torch, whose import takes longer than a page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medcnn.pages.model_card import model_card
from medcnn.pages.report import Report, Table, scored_facts, write_report
from medcnn.pages.summary import summary
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import Evaluation, write_metrics
from medcnn.system.files import write_text

# Facts that stand elsewhere on the page, or are not known while it is written.
HIDDEN = (
    "config",
    "id",
    "notes",
    "exit",
    "ended",
    "wall_s",
    "report",
    "audit",
    "trained_before",
    "flips",
)


def write_results(
    folder: Path,
    facts: Mapping[str, Any],
    predictions: Sequence[Predictions],
    evaluations: Mapping[str, Evaluation],
) -> None:
    """`metrics.json`, `report.html` and `MODEL_CARD.md` of what stands in a run folder.

    Args:
        facts: its `run.json`; what is missing there is left out of the pages.
    """
    told = facts.get("report", {})
    prevalence = told.get("prevalence")
    readouts = {p.split: evaluate_readout(p, prevalence) for p in predictions}
    stored = {split: readout.to_json() for split, readout in readouts.items()}
    write_metrics(folder / "metrics.json", evaluations, {"readout": stored})
    errors = folder / "errors.json"
    title, task = told.get("title", folder.resolve().name), told.get("task", "")
    config = facts.get("config")
    shown = {k: v for k, v in facts.items() if v is not None and k not in HIDDEN}
    write_report(
        folder / "report.html",
        Report(
            title=title,
            task=task,
            predictions={p.split: p for p in predictions},
            evaluations=dict(evaluations),
            prevalence_given=prevalence is not None,
            readouts=readouts,
            history=[
                {key: math.nan if value is None else value for key, value in epoch.items()}
                for epoch in told.get("history", ())
            ],
            dataset=told.get("dataset", {}),
            excluded=told.get("excluded", {}),
            rows_left_out=told.get("rows_left_out", {}),
            lost=told.get("lost"),
            notes=facts.get("notes", ()),
            tables=[Table(**table) for table in told.get("tables", ())],
            facts=facts,
            provenance=shown,
            errors=json.loads(errors.read_text(encoding="utf-8")) if errors.is_file() else (),
            config_yaml=yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            if config
            else "",
            group_noun=told.get("group_noun", "group"),
        ),
    )
    split = next(iter(evaluations), None)
    evaluation = evaluations[split] if split else None
    known = scored_facts(facts, evaluation, predictions[0])
    sentences = summary(evaluation, known) if evaluation else []
    readout = readouts[split] if split else None
    sha256 = str(predictions[0].provenance.get("checkpoint_sha256", ""))
    card = model_card(title, task, sentences, evaluation, readout, facts, known, sha256)
    write_text(folder / "MODEL_CARD.md", card)
