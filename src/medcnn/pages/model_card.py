"""`MODEL_CARD.md`: what a model is, in the headings of Mitchell et al. 2019 (FAT*), for whoever is
handed the checkpoint. What only a human knows is marked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from medcnn.pages import layout
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.points import ReadoutEvaluation
from medcnn.statistics.scores import Evaluation

TO_WRITE = "_To be written by those who answer for the model._"


def model_card(
    title: str,
    task: str,
    summary: list[str],
    evaluation: Evaluation | None,
    readout: ReadoutEvaluation | None,
    facts: Mapping[str, Any],
    checkpoint_sha256: str = "",
) -> str:
    """Markdown; texts from outside are escaped, so that they stay text.

    Args:
        facts: `run.json` of the run.
        checkpoint_sha256: of the checkpoint that made the predictions.
    """
    config = facts.get("config", {})
    told = facts.get("report", {})
    model = (config.get("model") or {}).get("backbone")
    lines = [
        f"# Model card: {escaped(title)}",
        "",
        "## Model",
        "",
        escaped(task),
        "",
        *_table(
            {
                "Network": model,
                "Weights it started from": facts.get("weights"),
                "Trained": facts.get("started"),
                "medcnn": facts.get("medcnn"),
                "SHA-256 of the checkpoint": checkpoint_sha256,
                "Licence of the model": None,
                "Contact": None,
            }
        ),
        "## Intended use",
        "",
        TO_WRITE,
        "",
        "It is a research tool and no medical device; it does not replace a physician.",
        "",
        "## Training data",
        "",
        *_table(
            {
                "Source": told.get("source"),
                **{
                    f"{name.capitalize()} images": f"{split.get('images', 0):,}"
                    for name, split in (told.get("dataset") or {}).items()
                },
                **{f"Left out: {k}": f"{v:,}" for k, v in (told.get("excluded") or {}).items()},
            }
        ),
        f"## Results{f' on {evaluation.split}' if evaluation else ''}",
        "",
        *(escaped(sentence) for sentence in summary),
        "",
    ]
    if evaluation:
        lines += ["| score | value | 95 % interval | images |", "|---|---|---|---|"]
        for s in evaluation.scores:
            if s.overall and s.name in layout.MAIN and not math.isnan(s.value):
                ends = escaped(s.note) if math.isnan(s.low) else f"{s.low:.3f} to {s.high:.3f}"
                title = escaped(METRICS[s.name].title)
                lines.append(f"| {title} | {s.value:.3f} | {ends} | {s.count:,} |")
        lines.append("")
    if readout and readout.points:
        lines += [
            "| operating point | class | threshold | found | missed | false alarms | cleared "
            "| sensitivity | specificity | prevalence | PPV | NPV |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
            *(
                _row(
                    row["point"],
                    row["label"],
                    _with_interval(row["threshold"]),
                    *row["counts"],
                    *map(_with_interval, row["shares"]),
                    row["prevalence"],
                    *map(_with_interval, row["values"]),
                )
                for row in layout.points(readout)
            ),
            "",
        ]
    for grades in layout.grades(readout) if readout else ():
        lines += [
            f"| by {grades['point']}: grade or higher | mean grade from | found | missed "
            "| false alarms | cleared | sensitivity | specificity | kappa |",
            "|---|---|---|---|---|---|---|---|---|",
            *(
                _row(
                    row["label"],
                    _with_interval(row["threshold"]),
                    *row["counts"],
                    *map(_with_interval, row["shares"]),
                    _with_interval(row["kappa"]),
                )
                for row in grades["cuts"]
            ),
            _row("all grades, quadratic", *[""] * 7, _with_interval(grades["kappa"])),
            "",
        ]
    lines += [
        "## Limits",
        "",
        *(f"- {escaped(note)}" for note in facts.get("notes", ())),
        "- The numbers describe the images counted here; another hospital, scanner or mix of "
        "patients can give others.",
        "",
        "Subgroups in which it was not tried, and known failures: " + TO_WRITE,
        "",
        "## Ethics",
        "",
        TO_WRITE,
        "",
    ]
    return "\n".join(lines)


def _table(rows: Mapping[str, Any]) -> list[str]:
    body = [
        f"| {escaped(name)} | {escaped(str(value)) if value not in (None, '') else TO_WRITE} |"
        for name, value in rows.items()
    ]
    return ["| | |", "|---|---|", *body, ""]


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _with_interval(found: Mapping[str, str]) -> str:
    more = found["interval"] or found["why"]
    return f"{found['value']} ({more})" if more else found["value"]


def escaped(text: str) -> str:
    """Markdown that shows `text` as it is."""
    for sign in "\\`*_{}[]<>#|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
