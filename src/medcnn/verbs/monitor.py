"""`monitor`: whether a month's predictions are like those on validation."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medcnn.system.errors import UsageError, at_once
from medcnn.system.settings import within
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.config import Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorConfig:
    reference: str
    predictions: str
    output: str
    patient: str | None
    alarm: float = within(0.001, 0.2)
    seed: Seed

    def contradictions(self) -> list[str]:
        try:
            found = re.compile(self.patient or "()")
        except re.error as error:
            return [f"patient={self.patient} is not a valid regular expression: {error}."]
        return [] if found.groups else [f"patient={self.patient} needs a group: '([^/]+)/'."]


def table_of(reference: str) -> Path:
    """The table itself, or that of validation if `reference` is a run folder."""
    path = Path(reference)
    return path / "predictions_validation.csv" if path.is_dir() else path


def check(config: MonitorConfig) -> None:
    from medcnn.places import refuse_other_pages

    at_once(
        lambda: _require("reference", config.reference, table_of(config.reference)),
        lambda: _require("predictions", config.predictions, Path(config.predictions)),
        lambda: refuse_other_pages(Path(config.output), "monitor", "monitor"),
    )


def _require(name: str, given: str, path: Path) -> None:
    if not path.is_file() or not path.with_suffix(".json").is_file():
        raise UsageError(
            f"{name}={given}: needs {path} and its .json, as written by predict or a training."
        )


def run(config: MonitorConfig, _: Command) -> Path:
    """Write `monitor.html` and `monitor.json` into a folder of their own, and say when to look.

    Raises:
        DataError: a table cannot be read, or `patient` matches none of its image ids.
        UsageError: the tables are of different models.
    """
    from medcnn.pages.monitor_page import Monitored, monitor_page, sentences
    from medcnn.statistics.monitoring import changes, prevalences, read_said
    from medcnn.system.files import write_json, write_text
    from medcnn.system.progress import log, working

    path = Path(config.predictions)
    other = table_of(config.reference)
    before = read_said(other, config.patient, own_groups=True)
    now = read_said(path, config.patient)
    reference = other.stem.removeprefix("predictions_")
    made = {before.checkpoint, now.checkpoint} - {""}
    if len(made) > 1 or before.labels != now.labels:
        raise UsageError(
            f"reference={config.reference} and predictions={config.predictions} were made by "
            "different checkpoints, so any difference might be one between the models. Name the "
            "run whose checkpoint made the predictions."
        )
    with working("comparing"):
        found = Monitored(
            title=f"{path.stem} compared with {reference}",
            reference=reference,
            images=(before.compared, now.compared),
            patients=(before.count, now.count),
            grouped=(before.grouped, now.grouped),
            same_model=bool(before.checkpoint and now.checkpoint),
            alarm=config.alarm,
            changes=changes(before, now, alarm=config.alarm, seed=config.seed),
            prevalences=prevalences(before, now, seed=config.seed),
        )
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": 1,
        "look": bool(found.enough and found.called),
        "reference": reference,
        "enough": found.enough,
        "alarm": config.alarm,
        "changes": [asdict(c) | {"look": c.calls(config.alarm)} for c in found.changes],
        "prevalences": [asdict(p) for p in found.prevalences],
    }
    write_json(output / "monitor.json", content)
    write_text(output / "monitor.html", monitor_page(found))
    for sentence in sentences(found):
        log.info(sentence)
    log.info(f"monitor: {output / 'monitor.html'}")
    return output


VERB = Verb(
    name="monitor",
    lines=("monitor runs/... march.csv: do the images of March look like validation?",),
    usage="REFERENCE PREDICTIONS [key=value ...]",
    examples=("monitor runs/demo march.csv output=monitor-march",),
    synonyms=("drift", "watch", "monitoring"),
    places=("reference", "predictions"),
    config=MonitorConfig,
    check=check,
    run=run,
)
