"""The folds of a cross-validation: trained one after the other, joined, scored, shown.

Each fold is an ordinary training with its own run folder, so a cross-validation that was stopped
resumes like a training, and finished folds are only read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from medcnn.config import to_json
from medcnn.data.folds import in_folds, rare_labels
from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest
from medcnn.data.splits import refuse_leaks
from medcnn.models.checkpoint import OTHER_KEY
from medcnn.pages.crossvalidation_page import SAYS, Crossed, crossvalidation_page, table_lines
from medcnn.pages.facts import say
from medcnn.pages.format import counted
from medcnn.places import CROSSVALIDATION, fold_name
from medcnn.statistics.evaluation import Evaluation, read_metrics, write_metrics
from medcnn.statistics.folds import cross_validated, out_of_fold
from medcnn.statistics.groupings import groupings
from medcnn.statistics.metrics.table import DEFAULT_SCORE
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.subgroups import subgroups
from medcnn.system.files import read_json, write_json, write_text
from medcnn.system.progress import hushed, log, working, wrapped
from medcnn.system.run_facts import without_free_settings
from medcnn.verbs.crossvalidate import CrossvalidateConfig
from medcnn.verbs.steps.auditing import audited_ahead
from medcnn.verbs.steps.datasets import labelled
from medcnn.verbs.steps.dry_run import rehearsed
from medcnn.verbs.steps.many_runs import digest, folder_of, opened, refuse_other_images
from medcnn.verbs.steps.starting_weights import KNOWS_TEST
from medcnn.verbs.train import TrainConfig, train

SCHEMA = 1
# Settings of a fold -> its config and the words of its command.
Make = Callable[[Mapping[str, Any]], tuple[TrainConfig, list[str]]]


def crossvalidated(config: CrossvalidateConfig, make: Make) -> Path:
    """Train the missing folds, then write predictions, scores and page; returns the folder.

    Raises:
        UsageError: the folder holds other results, or another process uses it.
        DataError: fewer patients than folds, the audit of a fold refuses the data, or the folder
            began with other data.
    """
    folder = folder_of(config.train, config.data, "crossvalidate", settings_of(config))
    if config.train.trainer.dry_run:
        models = config.folds * config.repeats
        log.info(f"a dry run of fold 1; there are {models} of that size")
        rehearsed(train, *made(config, make, folder, 1, 1))
        return folder
    begun = {"schema": SCHEMA, "folds": config.folds, "repeats": 0}
    with opened(folder, CROSSVALIDATION, "cross-validation", settings_of(config), begun) as note:
        whole = labelled(config.data, note)
        refuse_other_images(folder / CROSSVALIDATION, "*/*/predictions_test.csv", whole)
        if "groups" not in config.train.audit.allow:
            refuse_leaks(whole)
        repeats = range(1, config.repeats + 1)
        parts = {name: made(config, make, folder, *at)[0] for at, name in names_of(config).items()}
        audited_ahead(whole, parts, note)
        dealt = {r: in_folds(whole, config.folds, config.train.seed + r - 1) for r in repeats}
        for label, patients in rare_labels(dealt[1], config.folds).items():
            note(
                f"{label} occurs in {counted(patients, whole.group_noun)}, so it is not in all "
                f"{config.folds} folds; its scores are means over the folds that have it."
            )
        print(f"cross-validation: {folder}")
        print("\n".join(table_lines(dealt[1])), flush=True)
        tables = [tested(config, make, folder, r, dealt[r]) for r in repeats]
        runs = [folder / name for name in names_of(config).values()]
        note.of_all(runs, but=(KNOWS_TEST, OTHER_KEY))  # which `known_before` sums up
        conclude(config, folder, dealt, tables, note.said, whole.fingerprint())
    return folder


def settings_of(config: CrossvalidateConfig) -> dict[str, Any]:
    """The settings that define this cross-validation; the number of repeats may grow."""
    return {"train": without_free_settings(to_json(config.train)), "folds": config.folds}


def made(
    config: CrossvalidateConfig, make: Make, folder: Path, repeat: int, fold: int
) -> tuple[TrainConfig, list[str]]:
    return make(
        {
            "run_dir": str(folder / fold_name(repeat, fold)),
            "seed": config.train.seed + repeat - 1,
            "data.folds": config.folds,
            "data.fold": fold,
        }
    )


def names_of(config: CrossvalidateConfig) -> dict[tuple[int, int], str]:
    repeats, folds = range(1, config.repeats + 1), range(1, config.folds + 1)
    return {(r, f): fold_name(r, f) for r, f in product(repeats, folds)}


def known_before(runs: Iterable[Path]) -> int | None:
    """How many tests were of an image that a model knew from the weights it began with."""
    shared = []
    for run in runs:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        shared.append(facts.get("trained_before", {"shared_images": 0})["shared_images"])
    return None if None in shared else sum(shared)


def tested(
    config: CrossvalidateConfig, make: Make, folder: Path, repeat: int, dealt: Manifest
) -> Predictions:
    """The out-of-fold predictions of one repeat; trains the folds that are not finished."""
    parts = []
    for fold in range(1, config.folds + 1):
        settings, words = made(config, make, folder, repeat, fold)
        with hushed(logging.ERROR):  # the log.txt of each fold has the rest
            path = train(settings, words)
        parts.append(Predictions.read(path / "predictions_test.csv"))
        print(wrapped(f"{fold_name(repeat, fold)}: {_said(path)}"), flush=True)
    return out_of_fold(parts, [r.image_id for r in dealt.records], repeat)


def _said(path: Path) -> str:
    facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
    evaluations = read_metrics(path / "metrics.json")
    test = evaluations["test"]
    name = DEFAULT_SCORE[test.labels.kind]
    shown = f"{name} {test.find(name).value:.4f} of {test.images:,} images"
    return f"{shown}, best epoch {facts['best_epoch']}"


def conclude(
    config: CrossvalidateConfig,
    folder: Path,
    dealt: Mapping[int, Manifest],
    tables: list[Predictions],
    notes: list[str],
    fingerprint: str,
) -> None:
    """Write the out-of-fold predictions, `metrics.json`, `crossvalidation.json` and the page;
    `fingerprint` is that of the set before folds were dealt."""
    for table in tables:
        table.write(folder / f"predictions_{table.split}.csv")
    with working("scores over folds"):
        found = cross_validated(tables, seed=config.train.seed)
        first = tables[0]
        made = groupings(first.attributes, first.groups, config.train.subgroups)
        groups = subgroups(first, made, seed=config.train.seed)
    split = found.evaluation.split
    more = {"subgroups": {split: groups.to_json()}}
    write_metrics(folder / "metrics.json", {split: found.evaluation}, more)
    whole, file = dealt[1], folder / CROSSVALIDATION
    content = {
        "schema": SCHEMA,
        "settings": digest(settings_of(config)),
        "manifest": fingerprint,
        "folds": config.folds,
        "repeats": config.repeats,
        "source": whole.source,
        "group_noun": whole.group_noun,
        "excluded": dict(whole.excluded),
        "dealt": {str(r): manifest.fold_counts() for r, manifest in dealt.items()},
        "by_fold": dict(found.by_fold),
        "notes": notes,
        # at a fixed test split, by `evaluate`
        "test_looks": read_json(file).get("test_looks", []),
    }
    write_json(file, content)
    backbone = config.train.model.backbone if config.train.model else "model"
    crossed = Crossed(
        backbone=backbone,
        found=found,
        dealt=dealt,
        names=names_of(config),
        groups=groups,
        answers=answers_of(first),
        known=known_before(folder / name for name in names_of(config).values()),
    )
    write_text(folder / "crossvalidation.html", crossvalidation_page(crossed, notes))
    print()
    for line in score_lines(found.evaluation, crossed):
        print(line)
    if warned := say(SAYS, crossed, "known", "perhaps known"):
        print(wrapped(warned))
    print(f"page: {folder / 'crossvalidation.html'}")


def answers_of(table: Predictions) -> dict[str, float]:
    """Class -> share of the images that were assigned to it; empty for findings, which have no
    single answer."""
    labels, shares = table.labels, table.decisions.mean(axis=0).tolist()
    if labels.kind is Kind.MULTILABEL:
        return {}
    if labels.kind is Kind.BINARY:
        shares = [1 - shares[0], shares[0]]
    return dict(zip(labels.names, shares, strict=True))


def score_lines(evaluation: Evaluation, crossed: Crossed) -> Iterator[str]:
    from medcnn.pages.layout import MAIN
    from medcnn.verbs.steps.scoring import score_text

    for score in evaluation.scores:
        if score.overall and score.name in MAIN:
            low, high = crossed.spread(score.name)
            yield wrapped(f"{score.name:<26} {score_text(score)}, folds {low:.3f} to {high:.3f}")
