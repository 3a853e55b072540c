"""Run folders as members of a family: what was trained, its scores and its cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcnn.models.backbones import with_drop_path
from medcnn.models.classifier import Architecture
from medcnn.pages.anatomy import Anatomy
from medcnn.pages.family import Member
from medcnn.statistics.evaluation import Evaluation, read_metrics
from medcnn.statistics.metrics.table import METRICS
from medcnn.system.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A requested network: by its settings, or as the network of some runs.

    Attributes:
        outputs: of its last layer.
        runs: the run folders and their contents.
    """

    name: str
    architecture: Architecture
    outputs: int
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    path: Path
    facts: dict[str, Any]
    evaluation: Evaluation
    score: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "score", next(iter(self.facts["validation"]), ""))

    @property
    def source(self) -> str:
        return str((self.facts.get("report") or {}).get("source"))


def is_run(word: str) -> bool:
    return (Path(word).expanduser() / "run.json").is_file()


def of_runs(words: Sequence[str]) -> list[Asked]:
    """The networks of run folders; runs that differ only in the seed count as one.

    Raises:
        UsageError: a run that is not a finished training, or runs of several sets or scores.
    """
    runs, faults = [], []
    for word in words:
        folder = Path(word).expanduser()
        try:
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            evaluation = read_metrics(folder / "metrics.json")["test"]
            if not facts["config"]["model"] or not facts["validation"]:
                raise KeyError("model")
            runs.append(Run(path=folder, facts=facts, evaluation=evaluation))
        except (OSError, ValueError, KeyError, TypeError, UsageError):
            faults.append(f"{folder}: not a finished run of medcnn train with scores on test.")
    kinds = {(run.source, run.score) for run in runs}
    if len(kinds) > 1:
        said = "; ".join(sorted(f"{score} on {source}" for source, score in kinds))
        faults.append(f"runs in one table need the same data set and score; found {said}.")
    if faults:
        raise UsageError("\n".join(faults))
    networks: dict[str, list[Run]] = {}
    for run in runs:
        networks.setdefault(json.dumps(_recipe(run), sort_keys=True), []).append(run)
    names = [_architecture(same[0]).backbone for same in networks.values()]
    return [
        Asked(
            # one name for several recipes would be ambiguous
            name=name if names.count(name) == 1 else same[0].path.name,
            architecture=_architecture(same[0]),
            outputs=len(same[0].evaluation.labels.outputs),
            runs=tuple(same),
        )
        for name, same in zip(names, networks.values(), strict=True)
    ]


def _recipe(run: Run) -> dict[str, Any]:
    return {k: v for k, v in run.facts["config"].items() if k not in ("seed", "run_dir")}


def _architecture(run: Run) -> Architecture:
    config = run.facts["config"]
    model, head, pooling = config["model"], config["head"], config.get("pooling") or {}
    return Architecture(
        backbone=model["backbone"],
        options=with_drop_path(model["options"], model.get("drop_path")),
        head=head["name"],
        head_options=head["options"],
        channels=config["data"]["channels"],
        size_px=config["data"]["size_px"],
        pooling=pooling.get("name", "auto"),
        pooling_options=pooling.get("options", {}),
    )


def member(of: Asked, anatomy: Anatomy) -> Member:
    """The scores of a network's runs, and their cost."""
    scores = []
    for run in of.runs:
        found = [s for s in run.evaluation.scores if s.name == run.score and s.overall]
        scores += [(s.value, s.low, s.high) for s in found[:1]]
    speeds = [(run.facts.get("speed") or {}).get("perf/images_per_s") for run in of.runs]
    peaks = [(run.facts.get("memory") or {}).get("peak_bytes") for run in of.runs]
    return Member(
        anatomy=anatomy,
        scores=tuple(scores),
        images_per_s=tuple(filter(None, speeds)),
        peak_bytes=tuple(filter(None, peaks)),
    )


def title_of(of: Asked) -> str:
    """Of the score of its runs."""
    return METRICS[of.runs[0].score].title
