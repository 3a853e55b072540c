"""The parts of `probe`: features, the choice on validation, and what is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medcnn.data.manifest import Split
from medcnn.images import Preprocessing
from medcnn.models import checkpoint as checkpoints
from medcnn.models.appearance import appearance_of
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture
from medcnn.models.features import PLAIN, FrozenBody
from medcnn.models.inference import autocast_dtype, pick_device, predict
from medcnn.models.no_result import refuse_without_result
from medcnn.models.weights import at_hand
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions
from medcnn.system.plugins import used
from medcnn.system.progress import log, working
from medcnn.system.run_folder import RunFolder
from medcnn.training.probes import PROBES, Chosen, Examples, chosen
from medcnn.verbs.probe import Method, ProbeConfig
from medcnn.verbs.steps import sitting
from medcnn.verbs.steps.auditing import audited_set
from medcnn.verbs.steps.datasets import pixels_of, preprocessing_of
from medcnn.verbs.steps.deciding import FROM_SCRATCH, PRETRAINED
from medcnn.verbs.steps.familiar import learnt, looks_of
from medcnn.verbs.steps.starting import started, without_places
from medcnn.verbs.steps.starting_weights import provenance_for

SETTING = {Method.LOGISTIC: "c", Method.KNN: "k"}
WORDS = {Method.LOGISTIC: "penalty", Method.KNN: "number of neighbours"}
NO_CHECKPOINT = (
    "nearest neighbours have no checkpoint: it would contain the features of every training image. "
    "method=logistic writes one."
)


def probed(config: ProbeConfig, run: RunFolder) -> None:
    """From settings to a finished run folder."""
    made = frozen(config, run)
    config, body = made.config, made.body
    manifest, store = body.manifest, body.store
    run.facts |= {"manifest": manifest.fingerprint(), "pixels": store.fingerprint(), "flips": ""}
    manifest.write(run.manifest)
    found = _fitted(config, run, body)
    training = without_places(config) | {"trainer": {"precision": config.precision}}
    described = Checkpoint(
        labels=manifest.labels,
        preprocessing=made.how,
        architecture=made.architecture,
        normalisation=body.classifier.normalisation,
        modality=manifest.modality,
        flips="",
        readout=Readout(),
        training=training,
        provenance=provenance_for(run, manifest, made.checkpoint) | {"probe": run.facts["probe"]},
        appearance=appearance_of(store, manifest.rows(Split.TRAIN)),
        plugins=used(
            [
                ("datasets", config.data.name),
                ("backbones", config.model.backbone),
                ("poolings", config.pooling.name),
                *(("steps", step["name"]) for step in config.data.steps),
            ]
        ),
    )
    predictions = _judged(config, run, body, found.module.to(body.device), described)
    title = f"{config.method} probe of {config.model.backbone} on {manifest.source}"
    sitting.conclude(config, run, title, manifest, store, predictions, [], how=made.how)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """An unchanging body, and audited images for it.

    Attributes:
        config: with its open settings decided.
        how: the preprocessing.
        checkpoint: the medcnn checkpoint that the weights come from, if any.
    """

    config: ProbeConfig
    body: FrozenBody
    how: Preprocessing
    architecture: Architecture
    checkpoint: Checkpoint | None


def frozen(config: ProbeConfig, run: RunFolder) -> Frozen:
    """Audit, decode, and load the weights."""
    device = pick_device(config.device)
    run.facts["hardware"] |= {"device": device.type, "threads": torch.get_num_threads()}
    run.facts["seed"] = config.seed
    if config.data.size_px is None:
        pretrained = at_hand(config.model.backbone, config.model.weights)
        size_px = (PRETRAINED if pretrained else FROM_SCRATCH).size_px
        config = replace(config, data=replace(config.data, size_px=size_px))
    settings = config.data, config.audit, config.seed
    manifest, bad, how = audited_set(*settings, run, preprocessing_of(config.data))
    sitting.check_asked(config, manifest)
    limit = config.audit.max_bad
    store = pixels_of(manifest, how, config.data, run.note, bad, max_bad=limit)
    architecture = Architecture(
        backbone=config.model.backbone,
        options=dict(config.model.options),
        head="linear",
        head_options={"dropout": 0.0},
        pooling=config.pooling.name,
        pooling_options=dict(config.pooling.options),
        channels=config.data.channels,
        size_px=how.size_px,
    )
    classifier, _, origin = started(config.model, architecture, config.seed, manifest, run)
    body = FrozenBody(
        classifier.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        store,
        manifest,
        preprocessing=how,
        cache=config.data.cache,
        device=device,
        dtype=autocast_dtype(config.precision, device),
    )
    return Frozen(
        config=config, body=body, how=how, architecture=architecture, checkpoint=origin.checkpoint
    )


def _fitted(config: ProbeConfig, run: RunFolder, body: FrozenBody) -> Chosen:
    training, validation = (
        examples(body, body.manifest.rows(split)) for split in (Split.TRAIN, Split.VALIDATION)
    )
    name, labels = SETTING[config.method], body.manifest.labels
    with working(f"fitting {len(config.values)} times"):
        found = chosen(PROBES[config.method], config.values, labels, training, validation)
    losses = {f"{value:g}": round(loss, 6) for value, loss in found.losses.items()}
    run.facts["probe"] = {
        "method": str(config.method),
        name: found.value,
        "log_loss": losses,
        "chose": WORDS[config.method] if len(losses) > 1 else "",
    }
    log.info(
        f"{name}={found.value:g} has the lowest validation log loss, "
        f"{losses[f'{found.value:g}']} "
        f"by {body.manifest.group_noun} ({', '.join(f'{v}: {x:.4g}' for v, x in losses.items())})"
    )
    ends = {min(config.values), max(config.values)}
    if config.method is Method.LOGISTIC and len(losses) > 1 and found.value in ends:
        run.note(f"c={found.value:g} is the first or last of the values tried: add some beyond it")
    return found


def examples(body: FrozenBody, rows: NDArray[np.int64]) -> Examples:
    rows = body.store.readable(rows)
    return Examples(
        features=body.features(PLAIN, rows).take(rows),
        targets=body.manifest.targets()[rows],
        groups=[body.manifest.records[row].group for row in rows.tolist()],
    )


def _judged(
    config: ProbeConfig, run: RunFolder, body: FrozenBody, head: nn.Module, described: Checkpoint
) -> list[Predictions]:
    """Of test and validation. What is fitted on validation is saved before test is opened."""
    manifest, familiar = body.manifest, None

    def features_at(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return body.features(PLAIN, rows).take(rows)

    if config.readout.unusual is not None:
        familiar = learnt(body.classifier, manifest, body.store, features_at)

    def look(split: Split, readout: Readout, origin: dict[str, Any]) -> Predictions:
        predictions = said(head, body, split, readout, origin)
        if familiar is None:
            return predictions
        rows = manifest.rows(split)
        return replace(predictions, looks=looks_of(familiar, body.store, rows, features_at))

    validation = sitting.read_out(config, manifest, look(Split.VALIDATION, Readout(), {}))
    origin: dict[str, Any] = {}
    if isinstance(head, nn.Sequential):
        body.classifier.head = head
        described = replace(described, readout=validation.readout, familiar=familiar)
        checkpoints.save(run.best, body.classifier, described)
        origin = checkpoints.provenance_of(run.best)
    else:
        log.info(NO_CHECKPOINT)
    validation = replace(validation, provenance={**validation.provenance, **origin})
    run.looks_at_test()
    return [look(Split.TEST, validation.readout, origin), validation]


def said(
    head: nn.Module, body: FrozenBody, split: Split, readout: Readout, origin: dict[str, Any]
) -> Predictions:
    """What the probe says of a split. Raises MedcnnError if an image has no finite result."""
    rows = body.manifest.rows(split)
    predictions = predict(
        head,
        body.features(PLAIN, rows),
        body.manifest,
        rows,
        split=split,
        device=body.device,
        dtype=torch.float32,
        readout=readout,
        provenance={"manifest": body.manifest.fingerprint(), **origin},
    )
    refuse_without_result(predictions, "the probe")
    return predictions
