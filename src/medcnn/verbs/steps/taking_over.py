"""A new hospital's classifier out of an old one, and the two side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from medcnn.data.manifest import Manifest, Split
from medcnn.models.checkpoint import Checkpoint, still_needed
from medcnn.models.classifier import Classifier, build_classifier
from medcnn.models.heads import output_layer
from medcnn.models.inference import autocast_dtype, pick_device, predict
from medcnn.models.no_result import NO_RESULT, WHY_NO_RESULT, without_result
from medcnn.pages.report import Table
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.system.errors import listed
from medcnn.system.progress import log
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.steps.scoring import one_vs_rest, score_text
from medcnn.verbs.steps.starting import plugins_of, without_places
from medcnn.verbs.steps.starting_weights import provenance_for
from medcnn.verbs.train import TrainConfig


def carried_over(
    config: TrainConfig,
    old: Checkpoint,
    old_classifier: Classifier,
    manifest: Manifest,
    run: RunFolder,
) -> tuple[Classifier, Checkpoint]:
    """The old body, and a head for the new classes: rows of classes with the same name are kept,
    the others start afresh."""
    torch.manual_seed(config.seed)
    classifier, _ = build_classifier(
        old.architecture, len(manifest.labels.outputs), old.normalisation
    )
    classifier.body.load_state_dict(old_classifier.body.state_dict())
    new_layers, old_layers = list(classifier.head), list(old_classifier.head)
    for new_layer, old_layer in zip(new_layers[:-1], old_layers[:-1], strict=True):
        new_layer.load_state_dict(old_layer.state_dict())
    into, source = output_layer(classifier.head), output_layer(old_classifier.head)
    kept = [n for n in manifest.labels.outputs if n in old.labels.outputs]
    with torch.no_grad():
        for name in kept:
            row, old_row = manifest.labels.outputs.index(name), old.labels.outputs.index(name)
            into.weight[row] = source.weight[old_row]
            into.bias[row] = source.bias[old_row]
    fresh = [n for n in manifest.labels.outputs if n not in kept]
    dropped = [n for n in old.labels.outputs if n not in kept]
    run.facts["head"] = {"kept": kept, "fresh": fresh, "dropped": dropped}
    for what, names in run.facts["head"].items():
        log.info(f"classes {what}: {', '.join(names) or 'none'}")
    if not kept:
        run.note(
            f"no class has the same name as one of the old model ({listed(dropped, 8)}), so the "
            f"whole head starts afresh. If some mean the same, say so: data.rename={{"
            f"{_word(fresh[0])}: {_word(dropped[0])}}} and the like keeps what it learnt of them."
        )
    return classifier, replace(
        old,
        labels=manifest.labels,
        modality=manifest.modality,
        flips="",
        readout=Readout(),
        training=without_places(config),
        provenance=provenance_for(run, manifest, old),
        plugins=plugins_of(config) + still_needed(old),
    )


def _word(name: str) -> str:
    """A name as a YAML mapping in a command takes it."""
    return name if name.isidentifier() else f"'{name}'"


def old_and_new(
    config: TrainConfig,
    old: Checkpoint,
    old_classifier: Classifier,
    manifest: Manifest,
    store: PixelStore,
    new_test: Predictions,
) -> list[Table]:
    """Scores of the old and the new model on the new test split, on the classes that both know."""
    shared = [n for n in manifest.labels.names if n in old.labels.names]
    if manifest.labels.kind is not old.labels.kind:
        shared = [n for n in shared if n in old.labels.outputs]
    columns = ("class", "score", "images", "with it", "old model", "new model")
    title = "Old and new model on the new test split"
    if not shared:
        nothing = "The old model knows none of these classes, so there is nothing to compare."
        return [Table(title=title, columns=columns, rows=(), caption=nothing)]
    device = pick_device(config.trainer.device)
    unknown = np.full((len(manifest.records), len(old.labels.outputs)), np.nan, np.float32)
    old_test = predict(
        old_classifier.to(device),
        store,
        manifest,
        manifest.rows(Split.TEST),
        split=Split.TEST,
        labels=old.labels,
        targets=unknown,
        flips=old.flips,
        device=device,
        dtype=autocast_dtype(config.trainer.precision, device),
    )
    if lost := int(without_result(old_test).sum()):
        nothing = f"The old model gives {NO_RESULT} for {lost} of these images. {WHY_NO_RESULT}"
        return [Table(title=title, columns=columns, rows=(), caption=nothing)]
    new_side = one_vs_rest(new_test, shared)
    old_side = replace(one_vs_rest(old_test, shared), targets=new_side.targets)
    before, after = (evaluate(side, seed=config.seed) for side in (old_side, new_side))
    rows = []
    for name in shared:
        for score in ("auroc", "average_precision"):
            was, now = before.find(score, name), after.find(score, name)
            log.info(f"  {name}: {score} old {score_text(was)}, new {score_text(now)}")
            rows.append((name, score, now.count, now.positives, score_text(was), score_text(now)))
    caption = "Each class that both models know, as a yes-or-no question of its own."
    return [Table(title=title, columns=columns, rows=tuple(rows), caption=caption)]
