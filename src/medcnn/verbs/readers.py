"""`readers`: a reader study, with and without a model, or a model against readers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from medcnn.system.errors import UsageError, at_once
from medcnn.system.settings import within
from medcnn.verbs import Command, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadersConfig:
    """The settings from `case` to `patient` name columns of the table."""

    table: str
    case: str
    reader: str
    condition: str
    truth: str
    score: str
    call: str
    patient: str
    ai: str | None
    margin: float | None = within(0.0001, 0.5)
    output: str


COLUMNS = ("case", "reader", "condition", "truth", "score", "call", "patient")
SCHEMA = 1


def check(config: ReadersConfig) -> None:
    from medcnn.places import refuse_other_pages

    at_once(
        lambda: _require_table(config.table),
        lambda: refuse_other_pages(Path(config.output), "readers", "readers"),
    )


def _require_table(table: str) -> None:
    if not Path(table).is_file():
        what = "a folder, not a file" if Path(table).is_dir() else "no such file"
        raise UsageError(f"table={table}: {what}.")


def run(config: ReadersConfig, _: Command) -> Path:
    """Write `readers.html` and `readers.json` into a folder of their own, and print the result.

    Raises:
        UsageError: no such column, or no such condition.
        DataError: the table contradicts itself, or lacks readings.
    """
    from medcnn.pages.comparison_page import table_lines
    from medcnn.pages.readers_page import readers_page
    from medcnn.statistics.readers import contrasts, each_reader, level
    from medcnn.system.files import write_json, write_text
    from medcnn.system.progress import log
    from medcnn.verbs.steps.readings import read_study

    names = {name: getattr(config, name) for name in COLUMNS}
    study = read_study(Path(config.table), names, config.ai)
    pairings = contrasts(study, config.margin)
    conditions = [*study.conditions, *([study.model] if study.model else [])]
    levels = {c: {e: level(study, e, c) for e in study.endpoints} for c in conditions}
    values = {c: {e: each_reader(study, e, c) for e in study.endpoints} for c in conditions}
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": SCHEMA,
        "cases": len(study.truth),
        "positive": int(study.truth.sum()),
        "patients": len(set(study.groups)),
        "model": config.ai,
        "margin": config.margin,
        "conditions": {
            c: {e: asdict(v) | {"readers": values[c][e]} for e, v in of.items()}
            for c, of in levels.items()
        },
        "differences": [
            {"conditions": [first, other]}
            | {**asdict(d), "difference": d.difference, "verdict": d.verdict}
            for (first, other), pairing in pairings.items()
            for d in pairing.differences
        ],
    }
    write_json(output / "readers.json", content)
    write_text(output / "readers.html", readers_page(study, pairings, levels, values))
    for (first, other), pairing in pairings.items():
        print("\n".join(table_lines(first, other, pairing, "patient")))
    log.info(f"readers: {output / 'readers.html'}")
    return output


VERB = Verb(
    name="readers",
    lines=("readers readings.csv ai=model: readers with a model, or against it",),
    usage="TABLE [key=value ...]",
    examples=("readers readings.csv", "readers readings.csv ai=model margin=0.05"),
    synonyms=("mrmc", "reader-study", "reader_study", "observers"),
    places=("table",),
    config=ReadersConfig,
    check=check,
    run=run,
)
