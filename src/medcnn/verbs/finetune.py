"""`finetune`: a checkpoint goes on with a new hospital's data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medcnn.system.errors import UsageError
from medcnn.verbs import Command, Given, Verb
from medcnn.verbs.train import TrainConfig, check


def prepare(given: Given) -> None:
    """Raises UsageError for settings that it cannot follow, all at once."""
    from medcnn.verbs.steps.datasets import leave_to_checkpoint

    faults = leave_to_checkpoint(given)
    faults += [
        f"{group}={given.groups[group]}: the {group} comes from the checkpoint."
        for group in ("model", "pooling", "head")
        if given.groups.get(group)
    ]
    if given.groups.get("data") is None:
        faults.append("finetune needs data=NAME: the new hospital's images.")
    if faults:
        raise UsageError("\n".join(faults))


def run(config: TrainConfig, command: Command) -> Path:
    from medcnn.verbs.steps.dry_run import rehearsed

    return rehearsed(finetune, config, command.words)


def finetune(config: TrainConfig, words: list[str]) -> Path:
    """Go on from a checkpoint with a new hospital's data; returns the run folder."""
    import numpy as np

    from medcnn.models import checkpoint as checkpoints
    from medcnn.models.appearance import Watcher
    from medcnn.statistics.decisions import check_readout
    from medcnn.verbs.steps import sitting
    from medcnn.verbs.steps.auditing import allowed_pixels, audited
    from medcnn.verbs.steps.datasets import read_as
    from medcnn.verbs.steps.deciding import decided
    from medcnn.verbs.steps.starting_weights import note_what_it_knows
    from medcnn.verbs.steps.taking_over import carried_over, old_and_new

    assert config.checkpoint is not None, "finetune.yaml requires a checkpoint"
    path = Path(config.checkpoint)
    with sitting.begun(config, words) as run:
        if run is None:
            return sitting.run_folder_of(config)
        config = decided(config, run)
        old, tensors = checkpoints.read(path)
        checkpoints.refuse_not_finite(tensors, str(path))
        sha = checkpoints.provenance_of(path)["checkpoint_sha256"]
        old = replace(
            old,
            preprocessing=read_as(old.preprocessing, config.data, run.note),
            provenance={**old.provenance, "checkpoint_sha256": sha},
        )
        run.ranks.told(
            lambda: sitting.refuse_changed(run, "checkpoint_sha256", sha, "checkpoint weights")
        )
        manifest, bad, _ = run.ranks.told(lambda: audited(config, run, old.preprocessing))
        check_readout(config.readout, manifest.labels, sitting.attributes_of(manifest))
        note_what_it_knows(old, manifest, run)
        run.facts["backbone"] = old.architecture.backbone
        with run.ranks.one_a_machine_first():
            store = allowed_pixels(manifest, old.preprocessing, config, run, bad)
        watcher = Watcher(old.appearance)
        watcher.look(
            store, [r.image_id for r in manifest.records], np.arange(len(manifest.records))
        )
        if line := watcher.line():
            run.note(line)
        old_classifier = checkpoints.restore(old, tensors, str(path))
        classifier, described = carried_over(config, old, old_classifier, manifest, run)
        best, predictions, history = sitting.fitted(
            config, run, manifest, store, classifier, described
        )
        if not run.ranks.leads:
            return run.path
        tables = old_and_new(config, old, old_classifier, manifest, store, predictions[0])
        title = f"{best.architecture.backbone} fine-tuned on {manifest.source}"
        sitting.conclude(config, run, title, manifest, store, predictions, history, tables)
    return run.path


VERB = Verb(
    name="finetune",
    lines=("finetune best.safetensors data=my_hospital --config-dir my-configs",),
    usage="CHECKPOINT data=NAME [key=value ...]",
    examples=("finetune best.safetensors data=my_hospital --config-dir my-configs",),
    synonyms=("tune", "fine-tune", "fine_tune", "finetuning", "transfer"),
    places=("checkpoint",),
    config=TrainConfig,
    prepare=prepare,
    check=check,
    run=run,
    resumes=True,
    shared=True,
)
