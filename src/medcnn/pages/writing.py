"""What is written of predictions and their scores: `metrics.json`, `report.html`, `MODEL_CARD.md`.

Apart from `verbs.scoring` because none of it needs torch, whose import takes longer than a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcnn.pages.report import Report, write_pages
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import Evaluation, write_metrics


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
    told = facts.get("report") or {}
    readouts = {p.split: evaluate_readout(p, told.get("prevalence")) for p in predictions}
    stored = {split: readout.to_json() for split, readout in readouts.items()}
    write_metrics(folder / "metrics.json", evaluations, {"readout": stored})
    errors = folder / "errors.json"
    report = Report(
        title=told.get("title", folder.resolve().name),
        run=facts,
        predictions={p.split: p for p in predictions},
        evaluations=dict(evaluations),
        readouts=readouts,
        errors=json.loads(errors.read_text(encoding="utf-8")) if errors.is_file() else (),
    )
    write_pages(folder, report)
