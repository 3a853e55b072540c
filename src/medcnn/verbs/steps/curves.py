"""The runs of a learning curve: trained or probed one after the other, scored, fitted, shown.

A training is an ordinary run folder, and a probe leaves its predictions, so a learning curve that
was stopped continues where it was.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.config import to_json
from medcnn.data import splits
from medcnn.data.manifest import Manifest, Split
from medcnn.models.features import PLAIN
from medcnn.models.weights import at_hand
from medcnn.pages.curve_page import Arm, Curves, curve_page, sentences_of
from medcnn.statistics.decisions import Readout
from medcnn.statistics.learning_curve import LearningCurve, learning_curve, resampled
from medcnn.statistics.metrics.table import metric_for, score
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError
from medcnn.system.files import write_json, write_text
from medcnn.system.progress import hushed, working, wrapped
from medcnn.system.run_facts import without_free_settings
from medcnn.system.run_folder import RunFolder
from medcnn.training.probes import PROBES, chosen
from medcnn.verbs.learning_curve import FEWEST_SIZES, PROBE, LearningCurveConfig, Same
from medcnn.verbs.probe import Method, ProbeConfig
from medcnn.verbs.steps.auditing import audited_ahead
from medcnn.verbs.steps.datasets import labelled, with_splits
from medcnn.verbs.steps.deciding import FROM_SCRATCH, PRETRAINED
from medcnn.verbs.steps.dry_run import rehearsed
from medcnn.verbs.steps.many_runs import digest, folder_of, opened, refuse_other_images
from medcnn.verbs.steps.probing import examples, frozen, said
from medcnn.verbs.steps.sitting import read_out
from medcnn.verbs.train import TrainConfig, train

SCHEMA = 1
CURVE = "learning_curve.json"
FEWEST_PATIENTS = 10
# Settings of a run -> its config and the words of its command.
Make = Callable[[Mapping[str, Any]], tuple[TrainConfig, list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A model to be made: `patients` of the training split, in the order of `seed`."""

    arm: str
    patients: int
    seed: int
    manifest: Manifest

    @property
    def name(self) -> str:
        return f"{self.arm}/{self.patients}-patients/seed-{self.seed}"

    @property
    def images(self) -> int:
        return len(self.manifest.rows(Split.TRAIN))


def measured(config: LearningCurveConfig, make: Make) -> Path:
    """Make the missing models, then write tables and page; returns the folder.

    Raises:
        UsageError: other results lie in the folder, or another process works there.
        DataError: too few patients, or the audit refuses the data.
    """
    config = with_size(config)
    folder = folder_of(config.train, config.data, "learning-curve", settings_of(config))
    with opened(folder, CURVE, "learning curve", settings_of(config), {"schema": SCHEMA}) as note:
        manifest = labelled(config.data, note)
        leaky = "groups" in config.train.audit.allow
        whole = with_splits(manifest, config.data, config.train.seed, leaky=leaky)
        metric_for(config.score, whole.labels.kind)
        sizes = sizes_of(config, whole)
        seeds = [config.train.seed + s for s in range(config.seeds)]
        taken = {(n, s): splits.with_fewer(whole, n, s) for n in sizes for s in seeds}
        refuse_other_images(folder / CURVE, "*/*/*/predictions_test.csv", whole)
        refuse_few_tested(config, whole)
        audited_ahead(manifest, {"all sizes": all_of(config)}, note)
        print(f"learning curve: {folder}", flush=True)
        arms: dict[str, list[list[Predictions]]] = {}
        for arm in config.arms:
            points = [
                [Point(arm=arm, patients=n, seed=s, manifest=taken[n, s]) for s in seeds]
                for n in sizes
            ]
            if config.train.trainer.dry_run and arm != PROBE:
                rehearsed(train, *made(config, make, folder, points[-1][0], whole))
                return folder
            model = probed(config, folder) if arm == PROBE else trained(config, make, folder, whole)
            arms[arm] = [
                [_announced(config, point, model(point)) for point in of_size] for of_size in points
            ]
            if arm != PROBE:
                note.of_all(folder / p.name for of_size in points for p in of_size)
        images = {n: len(taken[n, seeds[0]].rows(Split.TRAIN)) for n in sizes}
        conclude(config, folder, whole, images, arms, note.said)
    return folder


def with_size(config: LearningCurveConfig) -> LearningCurveConfig:
    """One size of images for all arms, if none is given: that of pretrained weights if any arm
    has them."""
    train, model = config.train, config.train.model
    if train.data.size_px is not None or model is None:
        return config
    pretrained = at_hand(model.backbone, model.weights)
    size_px = (PRETRAINED if pretrained else FROM_SCRATCH).size_px
    return replace(config, train=replace(train, data=replace(train.data, size_px=size_px)))


def settings_of(config: LearningCurveConfig) -> dict[str, Any]:
    """The settings that define this curve; arms, seeds and targets may be added later."""
    kept = {"sizes": config.sizes, "same": config.same, "c": list(config.c)}
    return {"train": without_free_settings(to_json(config.train)), **kept}


def sizes_of(config: LearningCurveConfig, whole: Manifest) -> list[int]:
    """Numbers of patients, rising. Raises DataError."""
    groups = len({r.group for r in whole.records if r.split is Split.TRAIN})
    if not isinstance(config.sizes, int):
        if config.sizes[-1] > groups:
            raise DataError(
                f"sizes: {config.sizes[-1]:,} is more than the {groups:,} {whole.group_noun}s of "
                "the training split."
            )
        return list(config.sizes)
    least = max(FEWEST_PATIENTS, 2 * len(whole.labels.outputs), groups / 2 ** (config.sizes - 1))
    sizes = np.unique(np.geomspace(min(least, groups), groups, config.sizes).round().astype(int))
    if len(sizes) < max(FEWEST_SIZES, config.sizes):
        raise DataError(
            f"{whole.source} has {groups:,} {whole.group_noun}s to train on, too few for "
            f"{config.sizes} sizes from {least:.0f} on."
        )
    return [int(n) for n in sizes]


def refuse_few_tested(config: LearningCurveConfig, whole: Manifest) -> None:
    """Raises DataError before anything is trained if even a perfect model's score would be
    undefined in many resamples of the test split."""
    records = [r for r in whole.records if r.split is Split.TEST]
    targets = np.array([r.target for r in records], dtype=np.float32)
    perfect = Predictions(
        labels=whole.labels,
        split=Split.TEST,
        image_ids=tuple(r.image_id for r in records),
        groups=tuple(r.group for r in records),
        targets=targets,
        logits=np.where(targets > 0.5, 9, -9).astype(np.float32),
    )
    resampled([[perfect]], config.score, seed=config.train.seed)


def refuse_mixed(arms: Mapping[str, list[list[Predictions]]]) -> None:
    """Raises DataError unless all models were tested on the same images with the same labels."""
    runs = [(name, p) for name, sizes in arms.items() for of in sizes for p in of]
    (name, first), *others = runs
    for other, p in others:
        if p.image_ids != first.image_ids or not np.array_equal(
            p.targets, first.targets, equal_nan=True
        ):
            raise DataError(
                f"The models of {other} and {name} were not all tested on the same images with "
                "the same labels, so no curve can be drawn through them. Set another run_dir to "
                "start again."
            )


def all_of(config: LearningCurveConfig) -> TrainConfig:
    """The settings of a training on every patient, whose splits hold those of all others."""
    train = config.train
    return replace(train, data=replace(train.data, split_seed=train.seed, train_groups=None))


def made(
    config: LearningCurveConfig, make: Make, folder: Path, point: Point, whole: Manifest
) -> tuple[TrainConfig, list[str]]:
    trainer = config.train.trainer
    epochs, batch = trainer.epochs, trainer.batch_size
    if config.same is Same.STEPS:
        steps = epochs * math.ceil(len(whole.rows(Split.TRAIN)) / batch)
        epochs = max(1, round(steps / math.ceil(point.images / batch)))
    return make(
        {
            "run_dir": str(folder / point.name),
            "seed": point.seed,
            "transfer": point.arm,
            "trainer.epochs": epochs,
            "data.split_seed": config.train.seed,
            "data.train_groups": point.patients,
            "data.size_px": config.data.size_px,
        }
    )


def trained(
    config: LearningCurveConfig, make: Make, folder: Path, whole: Manifest
) -> Callable[[Point], Predictions]:
    """Trains the model of a point, or continues its training."""

    def train_one(point: Point) -> Predictions:
        settings, words = made(config, make, folder, point, whole)
        with hushed(logging.ERROR):  # the log.txt of each run has the rest
            path = train(settings, words)
        return Predictions.read(path / "predictions_test.csv")

    return train_one


def probed(config: LearningCurveConfig, folder: Path) -> Callable[[Point], Predictions]:
    """Fits the probe of a point; the features of all images are computed once, when needed."""
    fitting = cache(lambda: _fitting(config, folder))

    def fit_one(point: Point) -> Predictions:
        file = folder / point.name / "predictions_test.csv"
        if not _is_done(file):
            fit = fitting()
            file.parent.mkdir(parents=True, exist_ok=True)
            fit(point).write(file)
        return Predictions.read(file)

    return fit_one


def _is_done(file: Path) -> bool:
    """The header is written last: without it, the table was left half done. Earlier versions
    decided at 0.5, where trainings decide as validation says."""
    try:
        header = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        return file.is_file() and bool(header["provenance"]["probe"].get("decides"))
    except (OSError, ValueError, LookupError):
        return False


def _fitting(config: LearningCurveConfig, folder: Path) -> Callable[[Point], Predictions]:
    """Fits a probe to the images of a point, and says what it says of the test split."""
    run = RunFolder(folder / PROBE, {"notes": [], "hardware": {}}, finished=False)
    run.path.mkdir(exist_ok=True)
    with hushed(logging.ERROR):
        body = frozen(_probe_config(config), run).body
    body.features(PLAIN, np.arange(len(body.manifest.records)))  # once, not size by size
    validation = examples(body, body.manifest.rows(Split.VALIDATION))
    row_of = {r.image_id: row for row, r in enumerate(body.manifest.records)}
    labels = body.manifest.labels
    known: dict[bytes, Predictions] = {}  # all patients are the same for every seed

    def fit(point: Point) -> Predictions:
        taken = (r.image_id for r in point.manifest.records if r.split is Split.TRAIN)
        rows = np.array([row_of[i] for i in taken], dtype=np.int64)
        if (key := rows.tobytes()) not in known:
            training = examples(body, rows)
            best = chosen(PROBES[Method.LOGISTIC], config.c, labels, training, validation)
            head = best.module.to(body.device)
            plain = said(head, body, Split.VALIDATION, Readout(), {})
            readout = read_out(_probe_config(config), body.manifest, plain).readout
            about = {"c": best.value, "patients": point.patients, "decides": "by validation"}
            known[key] = said(head, body, Split.TEST, readout, {"probe": about})
        return known[key]

    return fit


def _probe_config(config: LearningCurveConfig) -> ProbeConfig:
    train = config.train
    assert train.model, "a learning curve begins with a network"
    assert train.pooling, "and train.yaml has a pooling"
    return ProbeConfig(
        seed=train.seed,
        run_dir=None,
        method=Method.LOGISTIC,
        c=config.c,
        k=(1,),
        data=train.data,
        audit=train.audit,
        model=train.model,
        pooling=train.pooling,
        readout=train.readout,
        subgroups=(),
        prevalence=None,
        device=train.trainer.device,
        precision=train.trainer.precision,
        threads=train.trainer.threads,
    )


def _announced(config: LearningCurveConfig, point: Point, predictions: Predictions) -> Predictions:
    value = score(predictions, config.score)
    print(wrapped(f"{point.name}: {config.score} {value:.4f}"), flush=True)
    return predictions


def conclude(
    config: LearningCurveConfig,
    folder: Path,
    whole: Manifest,
    images: Mapping[int, int],
    runs: Mapping[str, list[list[Predictions]]],
    notes: list[str],
) -> None:
    """Write `learning_curve.csv`, `.json` and the page."""
    refuse_mixed(runs)
    groups = len({r.group for r in whole.records if r.split is Split.TRAIN})
    arms = []
    with working("fitting"):
        for name, of in runs.items():
            curve = learning_curve(
                list(images), of, config.score, patients=groups, seed=config.train.seed
            )
            arms.append(Arm(name=name, curve=curve, asked=config.targets))
    tested = next(iter(runs.values()))[0][0]
    found = Curves(
        arms=tuple(arms),
        score=config.score,
        backbone=config.train.model.backbone if config.train.model else "model",
        source=whole.source,
        group_noun=whole.group_noun if whole.grouped else "image",
        images=images,
        tested=len(tested.image_ids),
        tested_groups=len(set(tested.groups)),
        same=str(config.same),
    )
    write_text(folder / "learning_curve.csv", _table(config, found))
    content = {
        "schema": SCHEMA,
        "settings": digest(settings_of(config)),
        "manifest": whole.fingerprint(),
        "score": config.score,
        "patients": groups,
        "images": {str(n): count for n, count in images.items()},
        "arms": {arm.name: _json(arm) for arm in arms},
        "sentences": sentences_of(found),
        "notes": notes,
    }
    write_json(folder / CURVE, content)
    write_text(folder / "learning_curve.html", curve_page(found, notes))
    print()
    for sentence in sentences_of(found):
        print(wrapped(sentence))
    print(f"page: {folder / 'learning_curve.html'}")


def _table(config: LearningCurveConfig, found: Curves) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["arm", f"{found.group_noun}s", "images", "seed", config.score])
    for arm in found.arms:
        for at, (n, count) in enumerate(found.images.items()):
            for s, value in enumerate(arm.curve.scores[at].tolist()):
                table.writerow([arm.name, n, count, config.train.seed + s, f"{value:.6g}"])
    return text.getvalue()


def _json(arm: Arm) -> dict[str, Any]:
    curve: LearningCurve = arm.curve
    low, high = curve.band(curve.sizes)
    return {
        "scores": curve.scores.tolist(),
        "plateau": curve.plateau,
        "power": curve.power,
        "misfit": curve.misfit,
        "curve": curve.at(curve.sizes).tolist(),
        "prediction_band": np.stack([low, high], axis=1).tolist(),
        "needed": [asdict(n) for n in arm.needed],
    }
