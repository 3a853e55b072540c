"""The models that a new hospital can choose from: the old model as it is, the old model
recalibrated, a probe, and the fine-tuned model, as predictions of the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.config import Choice
from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest, Split
from medcnn.data.matching import matched_targets
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import checkpoint as checkpoints
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Classifier
from medcnn.models.inference import autocast_dtype, pick_device, predict
from medcnn.models.no_result import without_result
from medcnn.pages.hospital_facts import OLD, PROBE, RECALIBRATED, TUNED
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.common_classes import common_labels, in_common
from medcnn.statistics.decisions import Readout, ReadoutConfig, fit_readout
from medcnn.statistics.predictions import Predictions
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.steps import sitting
from medcnn.verbs.steps.old_images import OldImages
from medcnn.verbs.steps.taking_over import carried_over
from medcnn.verbs.train import TrainConfig

FOLDERS = {OLD: "old", RECALIBRATED: "recalibrated", PROBE: "probe"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OldModel:
    """Attributes:
    described: with its classes as the new hospital names them, and files read as they are here.
    trained_as: how files were read in its training.
    classes: its classes as it calls them itself, in the same order.
    """

    described: Checkpoint
    trained_as: Preprocessing
    classifier: Classifier
    classes: LabelSpace


def said_by(
    config: TrainConfig,
    described: Checkpoint,
    classifier: Classifier,
    manifest: Manifest,
    store: PixelStore,
    rows: NDArray[np.int64],
    split: str,
    targets: NDArray[np.float32] | None = None,
) -> Predictions:
    """What a model says of `rows`, in its own classes; `targets` are for these classes [N, K]."""
    device = pick_device(config.trainer.device)
    unknown = np.full((len(manifest.records), len(described.labels.outputs)), np.nan, np.float32)
    return predict(
        classifier.to(device).eval(),
        store,
        manifest,
        rows,
        split=split,
        labels=described.labels,
        targets=unknown if targets is None else targets,
        flips=described.flips,
        device=device,
        dtype=autocast_dtype(config.trainer.precision, device),
        readout=described.readout,
    )


def probed(
    config: TrainConfig,
    words: list[str],
    old: OldModel,
    manifest: Manifest,
    store: PixelStore,
    run: RunFolder,
) -> None:
    """Train only the head, in a run folder inside that of the run."""
    only_head = replace(
        config,
        transfer=Choice(name="linear_probe", options={}),
        optimizer=replace(config.optimizer, l2_sp=0.0),
    )
    with sitting.opened(only_head, words, probe_folder(run), run.ranks) as own:
        if own.finished:
            return
        for name in ("hardware", "seed", "weights_licence", "trained_before"):
            if name in run.facts:
                own.facts[name] = run.facts[name]
        classifier, described = carried_over(
            only_head, old.described, old.classifier, manifest, own
        )
        _, predictions, _ = sitting.fitted(only_head, own, manifest, store, classifier, described)
        if own.ranks.leads:
            for p in predictions:
                p.write(own.predictions(p.split))


def probe_folder(run: RunFolder) -> Path:
    return run.path / "arms" / FOLDERS[PROBE]


def recalibrated(
    config: ReadoutConfig, test: Predictions, validation: Predictions, *, asked: bool
) -> Predictions:
    """The old model with probabilities and thresholds fitted again on the new validation split.
    Without a calibration setting it is Platt's: another prevalence needs an intercept."""
    method = "platt" if asked or config.calibration == "none" else config.calibration
    rules = tuple(rule for rule in config.operating_points if rule["name"] != "kappa" or not asked)
    fitted = fit_readout(
        replace(config, calibration=method, operating_points=rules, conformal=None),
        validation.labels,
        validation.logits,
        validation.targets,
        validation.groups,
    )
    return replace(test, readout=fitted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Predictions by arm, all of the same images and classes, the old model's first.

    Attributes:
        asked: classes that exclude each other are asked one by one, since the two share only some.
        lost: images for which the old model has no finite result; it is compared with none then.
    """

    arms: Mapping[str, Predictions]
    asked: bool
    lost: int = 0


def on_new_test(
    config: TrainConfig,
    old: OldModel,
    manifest: Manifest,
    store: PixelStore,
    tuned: Sequence[Predictions],
    run: RunFolder,
) -> Compared | None:
    """The arms on the new test split; None if the old and new models share no class.

    Args:
        tuned: what the fine-tuned model says of test and validation.
    """
    common, asked = common_labels(old.described.labels, manifest.labels)
    if common is None:
        return None
    new = [in_common(p, common, asked=asked) for p in tuned]
    before = []
    for side, split in zip(new, (Split.TEST, Split.VALIDATION), strict=True):
        rows = manifest.rows(split)
        found = said_by(config, old.described, old.classifier, manifest, store, rows, split)
        if lost := int(without_result(found).sum()):
            return Compared(arms={}, asked=asked, lost=lost)
        before.append(replace(in_common(found, common, asked=asked), targets=side.targets))
    arms = {OLD: before[0], RECALIBRATED: recalibrated(config.readout, *before, asked=asked)}
    if (probe := probe_folder(run) / "predictions_test.csv").is_file():
        arms[PROBE] = in_common(Predictions.read(probe), common, asked=asked)
    for name, predictions in arms.items():
        if name != PROBE:
            folder = run.path / "arms" / FOLDERS[name]
            folder.mkdir(parents=True, exist_ok=True)
            predictions.write(folder / "predictions_test.csv")
    return Compared(arms={**arms, TUNED: new[0]}, asked=asked)


def old_on_all(
    config: TrainConfig,
    old: OldModel,
    manifest: Manifest,
    store: PixelStore,
    common: LabelSpace,
    *,
    asked: bool,
) -> Predictions:
    """The old model on every image here, on the classes `common`."""
    rows = np.arange(len(manifest.records))
    found = said_by(config, old.described, old.classifier, manifest, store, rows, "all")
    truth = replace(
        found,
        labels=manifest.labels,
        targets=manifest.targets()[store.readable(rows)],
        logits=np.zeros((len(found.image_ids), len(manifest.labels.outputs)), np.float32),
        readout=Readout(),
        categories=(),
    )
    targets = in_common(truth, common, asked=asked).targets
    return replace(in_common(found, common, asked=asked), targets=targets)


def on_old_test(
    config: TrainConfig, old: OldModel, run: RunFolder, images: OldImages
) -> Compared | None:
    """Old and fine-tuned model on the test split of the old training."""
    best, tensors = checkpoints.read(run.best)
    common, asked = common_labels(old.described.labels, best.labels)
    if common is None:
        return None
    manifest, rows = images.manifest, images.manifest.rows(Split.TEST)
    own = said_by(
        *(config, old.described, old.classifier, manifest, images.store, rows, "test"),
        targets=matched_targets(old.classes, manifest),
    )
    if lost := int(without_result(own).sum()):
        return Compared(arms={}, asked=asked, lost=lost)
    before = in_common(own, common, asked=asked)
    classifier = checkpoints.restore(best, tensors, str(run.best))
    now = said_by(config, best, classifier, manifest, images.store, rows, "test")
    after = replace(in_common(now, common, asked=asked), targets=before.targets)
    return Compared(arms={OLD: before, TUNED: after}, asked=asked)
