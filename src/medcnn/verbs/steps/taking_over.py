"""A classifier for a new hospital, made from an old one."""

from __future__ import annotations

from dataclasses import replace

import torch

from medcnn.data.manifest import Manifest
from medcnn.models.checkpoint import Checkpoint, still_needed
from medcnn.models.classifier import Classifier, build_classifier
from medcnn.models.heads import keep_rows, output_layer
from medcnn.statistics.decisions import Readout
from medcnn.system.errors import listed
from medcnn.system.progress import log
from medcnn.system.run_folder import RunFolder
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
    """The old body, and a head for the new classes. Rows of classes with the same name are kept;
    the others start from random weights."""
    torch.manual_seed(config.seed)
    classifier, _ = build_classifier(
        old.architecture, len(manifest.labels.outputs), old.normalisation
    )
    classifier.body.load_state_dict(old_classifier.body.state_dict())
    new_layers, old_layers = list(classifier.head), list(old_classifier.head)
    for new_layer, old_layer in zip(new_layers[:-1], old_layers[:-1], strict=True):
        new_layer.load_state_dict(old_layer.state_dict())
    ours, theirs = manifest.labels.outputs, old.labels.outputs
    kept = [n for n in ours if n in theirs]
    rows = {ours.index(n): theirs.index(n) for n in kept}
    keep_rows(output_layer(classifier.head), output_layer(old_classifier.head), rows)
    fresh = [n for n in ours if n not in kept]
    dropped = [n for n in theirs if n not in kept]
    run.facts["head"] = {"kept": kept, "fresh": fresh, "dropped": dropped}
    for what, names in run.facts["head"].items():
        log.info(f"classes {what}: {', '.join(names) or 'none'}")
    if not kept:
        run.note(
            f"no class has the same name as one of the old model ({listed(dropped, 8)}), so the "
            "whole head starts from random weights. If some mean the same, say so, such as with "
            f"data.names={{{_word(dropped[0])}: {_word(fresh[0])}}}; this keeps what it learned."
        )
    return classifier, replace(
        old,
        labels=manifest.labels,
        modality=manifest.modality,
        flips="",
        readout=Readout(),
        familiar=None,
        training=without_places(config),
        provenance=provenance_for(run, manifest, old),
        plugins=plugins_of(config) + still_needed(old),
    )


def _word(name: str) -> str:
    """A name, quoted if a YAML mapping on the command line needs it."""
    return name if name.isidentifier() else f"'{name}'"
