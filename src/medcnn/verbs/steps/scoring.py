"""From a classifier and pixels to saved predictions, scores and the report: the same code for the
end of training, for `evaluate` and for `finetune`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data import splits
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality
from medcnn.data.matching import matched_targets
from medcnn.images.preprocessing import Preprocessing
from medcnn.images.skin_tone import typology_angle
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Classifier
from medcnn.models.inference import predict
from medcnn.models.no_result import refuse_without_result
from medcnn.pages.format import estimate, whose
from medcnn.pages.layout import MAIN
from medcnn.pages.pictures import worst_errors
from medcnn.pages.report import Table, write_results
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.evaluation import Evaluation, Score
from medcnn.statistics.groupings import TONE
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.system.distributed import ALONE, Ranks
from medcnn.system.files import without_nan, write_text
from medcnn.system.progress import WIDTH, log, working
from medcnn.system.run_folder import RunFolder

if TYPE_CHECKING:
    from medcnn.verbs.evaluate import EvaluateConfig
    from medcnn.verbs.probe import ProbeConfig
    from medcnn.verbs.train import TrainConfig

# Fixed, not the training batch: the last bits of a sum may depend on it, and a checkpoint must
# give the same numbers wherever it is evaluated.
BATCH_SIZE = 64
NO_MAPS: Mapping[str, Any] = {}
# Steps that leave the skin in the colour that the camera recorded.
SAME_COLOURS = frozenset({"hair_removal", "centre_crop"})


def predictions_of(
    checkpoint: Checkpoint,
    classifier: Classifier,
    store: PixelStore,
    manifest: Manifest,
    rows: NDArray[np.int64],
    *,
    split: str,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int = BATCH_SIZE,
    provenance: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
) -> Predictions:
    """Predictions of the checkpoint for `rows`; targets are matched to its classes by name.

    Raises:
        MedcnnError: some images have no finite result.
    """
    found = predict(
        classifier,
        store,
        manifest,
        rows,
        split=split,
        labels=checkpoint.labels,
        targets=matched_targets(checkpoint.labels, manifest),
        flips=checkpoint.flips,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        readout=checkpoint.readout,
        provenance={"manifest": manifest.fingerprint(), **(provenance or {})},
        ranks=ranks,
        familiar=checkpoint.familiar,
    )
    refuse_without_result(found, "the checkpoint")
    return found


def with_attributes(
    predictions: Predictions, manifest: Manifest, store: PixelStore, how: Preprocessing
) -> Predictions:
    """The predictions with what is known of each image, for subgroups: its attributes, and the
    colour of the skin in dermoscopic images whose colours are unchanged."""
    row_of = {record.image_id: row for row, record in enumerate(manifest.records)}
    rows = np.array([row_of[i] for i in predictions.image_ids], dtype=np.int64)
    known = [manifest.records[row].attributes for row in rows.tolist()]
    names = sorted({name for of in known for name in of})
    found = {name: tuple(of.get(name, "") for of in known) for name in names}
    changed = {step["name"] for step in how.steps} - SAME_COLOURS
    if manifest.modality is Modality.DERMOSCOPY and how.channels == 3 and not changed:
        tones = [
            typology_angle(image)
            for first in range(0, len(rows), BATCH_SIZE)
            for image in np.moveaxis(store.take(rows[first : first + BATCH_SIZE]), 1, -1)
        ]
        found[TONE] = tuple("" if math.isnan(tone) else f"{tone:.1f}" for tone in tones)
    return replace(predictions, attributes=found)


def attributes_of(manifest: Manifest) -> list[str]:
    """Attributes that can form subgroups."""
    tone = {TONE} if manifest.modality is Modality.DERMOSCOPY else set()
    return sorted({name for r in manifest.records for name in r.attributes} | tone)


def score_and_save(
    run: RunFolder, predictions: Sequence[Predictions], seed: int, noun: str
) -> dict[str, Evaluation]:
    """Evaluate each split, write its predictions, and print the main scores; `noun` names a
    group."""
    evaluations = {}
    for p in predictions:
        p.write(run.predictions(p.split))
        with working(f"scores of {p.split}"):
            evaluations[p.split] = evaluate(p, seed=seed)
    for split, evaluation in evaluations.items():
        log.info(f"{split}: {evaluation.images:,} images")
        for score in evaluation.scores:
            if score.overall and score.name in MAIN:
                log.info(f"  {score.name:<26} {score_text(score)}{_no_interval(score, noun)}")
        lazy = _lazy_accuracy(next(p for p in predictions if p.split == split))
        if 0 < len(lazy) <= WIDTH - 2:
            log.info(f"  {lazy}")
    return evaluations


def report(
    run: RunFolder,
    title: str,
    manifest: Manifest,
    store: PixelStore,
    predictions: Sequence[Predictions],
    evaluations: Mapping[str, Evaluation],
    config: TrainConfig | ProbeConfig | EvaluateConfig,
    *,
    history: Sequence[Mapping[str, float]] = (),
    tables: Sequence[Table] = (),
    maps: Mapping[str, Any] = NO_MAPS,
) -> None:
    """Write `metrics.json`, `report.html` and `MODEL_CARD.md`, and into `run.json` everything
    needed to write them again without images.

    Args:
        maps: from `gallery`.
    """
    row_of = {record.image_id: row for row, record in enumerate(manifest.records)}
    judged = predictions[0]

    def pixels(of: list[int]) -> NDArray[Any]:
        return store.take(np.array([row_of[judged.image_ids[i]] for i in of], dtype=np.int64))

    run.facts["report"] = {
        "title": title,
        "task": task_sentence(judged.labels),
        "source": manifest.source,
        "group_noun": manifest.group_noun,
        "pseudonymous": manifest.pseudonymous,
        "dataset": manifest.counts(),
        "excluded": dict(manifest.excluded),
        "rows_left_out": dict(manifest.rows_left_out),
        "unreadable": len(store.unreadable),
        "lost": lost_images(manifest, store),
        "leaks": len(splits.leaks(manifest)),
        "history": without_nan(history),
        "tables": [asdict(table) for table in tables],
        "prevalence": config.prevalence,
        "subgroups": config.subgroups,
        "errors": True,
    }
    write_text(run.errors, json.dumps(worst_errors(judged, pixels)) + "\n")
    run.maps.unlink(missing_ok=True)
    if maps:
        write_text(run.maps, json.dumps(maps) + "\n")
    write_results(run.path, run.facts, predictions, evaluations)
    log.info(f"report: {run.report}")


def score_text(score: Score) -> str:
    """`0.912 (0.874 to 0.943)`, or why there is none."""
    if math.isnan(score.value):
        return score.note
    value, interval = estimate(score.value, score.low, score.high)
    return f"{value} ({interval})" if interval else value


def _no_interval(score: Score, noun: str) -> str:
    """Why a score has no interval."""
    return f" (no interval: {whose(score.no_interval, noun)})" if score.no_interval else ""


def _lazy_accuracy(predictions: Predictions) -> str:
    """The accuracy of always giving the most frequent answer, for labels with a single answer."""
    labels, targets = predictions.labels, predictions.targets
    if labels.kind is Kind.MULTILABEL or np.isnan(targets).all():
        return ""
    shares = np.nanmean(targets, axis=0)
    if labels.kind is Kind.BINARY:
        shares = np.array([1 - shares[0], shares[0]])
    most = int(shares.argmax())
    return f"always answering {labels.names[most]} has an accuracy of {shares[most]:.3f}"


def lost_images(manifest: Manifest, store: PixelStore) -> dict[str, dict[str, int]]:
    """Split -> how many of its images could not be read, and how many are in quarantine."""
    none = {"unreadable": 0, "quarantined": 0}
    found = {split: dict(none) for split in manifest.counts()}
    for row in store.unreadable:
        split = found.setdefault(str(manifest.records[row].split or "all"), dict(none))
        split["quarantined" if store.decoded(row) else "unreadable"] += 1
    return found


def task_sentence(labels: LabelSpace) -> str:
    what = {
        Kind.BINARY: f"tells {labels.names[-1]} from {labels.names[0]}",
        Kind.MULTICLASS: f"names one of {len(labels.names)} classes",
        Kind.MULTILABEL: f"looks for {len(labels.names)} findings, each independently",
        Kind.ORDINAL: f"assigns one of {len(labels.names)} grades",
    }[labels.kind]
    return f"The model looks at one image and {what}."
