"""`report`: rebuilds the pages of a finished run from its predictions alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import DataError, UsageError, at_once, listed
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.config import Prevalence, Seed, Subgroups
    from medcnn.statistics.predictions import Predictions
    from medcnn.statistics.reader_calls import Calls
    from medcnn.statistics.reader_points import ReaderPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    run: str
    seed: Seed
    prevalence: Prevalence
    subgroups: Subgroups
    plan: str | None
    readers: str | None


def check(config: ReportConfig) -> None:
    from medcnn.places import CROSSVALIDATION, require_predictions

    if (Path(config.run) / CROSSVALIDATION).is_file():
        raise UsageError(
            f"run={config.run} is a cross-validation. To write crossvalidation.html again, run the "
            "command that made it; each of its folds has a report."
        )
    plan, readers = config.plan, config.readers
    at_once(
        lambda: require_predictions(Path(config.run)),
        lambda: plan is None or _plan(Path(plan)),
        lambda: readers is None or _readers(Path(readers)),
        lambda: _require_facts(config),
    )


def _readers(path: Path) -> list[ReaderPoint] | list[Calls]:
    from medcnn.verbs.steps.reader_files import read_readers

    return read_readers(path)


def _require_facts(config: ReportConfig) -> None:
    kept = [name for name in ("plan", "readers") if getattr(config, name) is not None]
    if kept and Path(config.run).is_dir() and not (Path(config.run) / "run.json").is_file():
        raise UsageError(f"run={config.run} has no run.json to keep {listed(kept)} in.")


def _plan(path: Path) -> dict[str, Any]:
    """The file of `medcnn plan`. Raises UsageError."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        return {key: plan[key] for key in ("made", "settings", "patients", "needs")}
    except OSError:
        raise UsageError(f"plan={path}: no such file; name a plan.json of medcnn plan.") from None
    except (ValueError, LookupError, TypeError):
        raise UsageError(f"plan={path} is not a plan.json of medcnn plan.") from None


def run(config: ReportConfig, _: Command) -> Path:
    """Write `report.html`, `MODEL_CARD.md` and `metrics.json` of a run folder again. A plan is kept
    in `run.json`, and from then on answers the checklists' item on sample size.

    Scores come from `metrics.json` if it holds the digest of these predictions; otherwise they are
    computed again.

    Raises:
        UsageError: no such folder, or no predictions in it; readers of other images or classes.
        DataError: the table of readers contradicts itself.
    """
    from medcnn.pages.layout import split_rank
    from medcnn.pages.report import write_results
    from medcnn.places import require_predictions
    from medcnn.statistics.evaluation import read_metrics
    from medcnn.statistics.groupings import attributed, check_subgroups
    from medcnn.statistics.metrics.table import METRICS
    from medcnn.statistics.predictions import Predictions
    from medcnn.statistics.scores import evaluate
    from medcnn.system.progress import log, working

    folder = Path(config.run)
    paths = sorted(
        require_predictions(folder), key=lambda p: split_rank(p.stem.removeprefix("predictions_"))
    )
    predictions = [attributed(Predictions.read(path), folder) for path in paths]
    at_once(*(partial(check_subgroups, config.subgroups, list(p.attributes)) for p in predictions))
    facts = _facts(config, folder, predictions[0])
    if config.prevalence is not None:
        facts["report"] = {**facts.get("report", {}), "prevalence": config.prevalence}
    if config.subgroups is not None:
        facts["report"] = {**facts.get("report", {}), "subgroups": config.subgroups}
    try:
        evaluations = read_metrics(folder / "metrics.json")
        fits = {s: e.predictions for s, e in evaluations.items()} == {
            p.split: p.digest for p in predictions
        }
    except DataError:
        fits = False
    if not fits:
        log.info("metrics.json does not belong to these predictions: scores are computed again")
        evaluations = {}
        for p in predictions:
            with working(f"scores of {p.split}"):
                evaluations[p.split] = evaluate(p, seed=config.seed)
    if unknown := sorted({s.name for e in evaluations.values() for s in e.scores} - set(METRICS)):
        log.warning(f"left out, as no installed package defines these scores: {', '.join(unknown)}")
    ordered = {
        p.split: replace(e, scores=tuple(s for s in e.scores if s.name in METRICS))
        for p in predictions
        for e in [evaluations[p.split]]
    }
    write_results(folder, facts, predictions, ordered)
    log.info(f"report: {folder / 'report.html'}")
    return folder


def _facts(config: ReportConfig, folder: Path, judged: Predictions) -> dict[str, Any]:
    """`run.json`, which keeps a plan and readers from now on; `judged` gives readers their p."""
    from medcnn.system.files import write_text
    from medcnn.verbs.steps.reader_files import points_on

    facts: dict[str, Any] = {}
    if (folder / "run.json").is_file():
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if config.plan is not None:
        facts["plan"] = _plan(Path(config.plan))
    if config.readers is not None:
        points = points_on(_readers(Path(config.readers)), judged, folder)
        facts["readers"] = [p.to_json() for p in points]
    if config.plan is not None or config.readers is not None:
        write_text(folder / "run.json", json.dumps(facts, indent=2) + "\n")
    return facts


VERB = Verb(
    name="report",
    lines=("report runs/...: rebuild the report from the run's predictions alone",),
    usage="RUN [key=value ...]",
    examples=("report runs/demo",),
    places=("run",),
    config=ReportConfig,
    check=check,
    run=run,
)
