"""`MODEL_CARD.md`: what a model is, in the headings of Mitchell et al. 2019 (FAT*), for whoever is
handed the checkpoint. What only a human knows is marked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medcnn.pages import layout
from medcnn.pages.digits import because, number, span
from medcnn.pages.facts import Facts, Made
from medcnn.pages.flow import used
from medcnn.pages.statements import said
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
    run: Mapping[str, Any],
    facts: Facts,
    checkpoint_sha256: str = "",
) -> str:
    """Markdown; texts from outside are escaped, so that they stay text.

    Args:
        run: `run.json` of the run.
        facts: of the split that is judged, from which statements are computed.
        checkpoint_sha256: of the checkpoint that made the predictions.
    """
    there = {"Model": True, "Results": evaluation}
    facts = replace(facts, sections=frozenset(name for name, found in there.items() if found))
    lines = [
        f"# Model card: {escaped(title)}",
        "",
        "## Model",
        "",
        escaped(task),
        "",
        *_table(
            {
                **_made(run, facts),
                "SHA-256 of the checkpoint": checkpoint_sha256,
                "Licence of the model": None,
                "Contact": None,
            }
        ),
        "## Intended use",
        "",
        TO_WRITE,
        "",
        said("card: use", facts),
        "",
        *_data(run, facts),
        f"## Results{f' on {evaluation.split}' if evaluation else ''}",
        "",
        *(escaped(sentence) for sentence in summary),
        "",
    ]
    if evaluation:
        lines += ["| score | value | 95 % interval | images |", "|---|---|---|---|"]
        for s in evaluation.scores:
            if s.overall and s.name in layout.MAIN and not math.isnan(s.value):
                why = escaped(s.note)
                ends = why if math.isnan(s.low) else span(s.low, s.high)
                title = escaped(METRICS[s.name].title)
                lines.append(f"| {title} | {number(s.value)} | {ends} | {s.count:,} |")
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
    lines = [because(line, facts.group_noun) for line in lines]
    lines += [
        "## Limits",
        "",
        *(f"- {escaped(note)}" for note in run.get("notes", ())),
        *(f"- {text}" for text in [said("card: limits", facts)] if text),
        "",
        "Subgroups in which it was not tried, and known failures: " + TO_WRITE,
        "",
        "## Ethics",
        "",
        TO_WRITE,
        "",
    ]
    return "\n".join(lines)


def _made(run: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """What the network is and where it comes from; an evaluation knows it from the checkpoint."""
    config, origin = run.get("config") or {}, run.get("trained_on") or {}
    if facts.made is Made.EVALUATED:
        return {
            "Network": origin.get("backbone"),
            "Weights it started from": origin.get("weights"),
            "Trained": origin.get("started"),
            "Evaluated": run.get("started"),
            "medcnn": run.get("medcnn"),
        }
    return {
        "Network": (config.get("model") or {}).get("backbone") or run.get("backbone"),
        "Weights it started from": run.get("weights"),
        "Trained": run.get("started"),
        "medcnn": run.get("medcnn"),
    }


def _data(run: Mapping[str, Any], facts: Facts) -> list[str]:
    """What it was trained on, and of an evaluation on what it was judged."""
    told, origin = run.get("report") or {}, run.get("trained_on") or {}
    counted, listed = used(told), told.get("dataset") or {}
    described = {
        "Source": told.get("source"),
        **{
            f"{name.capitalize()} images": f"{counted.get(name, split.get('images', 0)):,}"
            for name, split in listed.items()
        },
        **{f"Left out: {k}": f"{v:,}" for k, v in (told.get("excluded") or {}).items()},
        **{f"Rows left out: {k}": f"{v:,}" for k, v in (told.get("rows_left_out") or {}).items()},
    }
    words = [w for w in (said("card: pseudonyms", facts), said("card: no pseudonyms", facts)) if w]
    told_words = [*words, ""] if words else []
    if facts.made is not Made.EVALUATED:
        return ["## Training data", "", *_table(described), *told_words]
    trained = {"Source": origin.get("source")}
    return [
        *("## Training data", "", *_table(trained)),
        *("## Evaluation data", "", *_table(described), *told_words),
    ]


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
