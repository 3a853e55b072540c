"""Fine-tuning from start to finish: read the old model, train, compare, and say which is better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medcnn.data.manifest import Manifest
from medcnn.data.matching import renamed
from medcnn.models import checkpoint as checkpoints
from medcnn.models.appearance import Watcher
from medcnn.models.checkpoint import Checkpoint
from medcnn.statistics.acceptance import check_acceptance
from medcnn.system.run_folder import RunFolder
from medcnn.training.setting import Setting
from medcnn.verbs.finetune import FinetuneConfig
from medcnn.verbs.steps import sitting
from medcnn.verbs.steps.arms import OldModel, probed
from medcnn.verbs.steps.auditing import audited
from medcnn.verbs.steps.blending import blend, fresh_rows
from medcnn.verbs.steps.datasets import pixels_of, read_as
from medcnn.verbs.steps.hospital import decided
from medcnn.verbs.steps.old_images import OldImages, old_images
from medcnn.verbs.steps.rule import record
from medcnn.verbs.steps.starting_weights import note_what_it_knows
from medcnn.verbs.steps.taking_over import carried_over


def going_on(config: FinetuneConfig, words: list[str], run: RunFolder) -> None:
    """Train the checkpoint of `config` further; leaves report and page in the run folder."""
    path, ranks = Path(config.checkpoint or ""), run.ranks
    old = read_old(config, run, path)
    manifest, bad, _ = ranks.from_leader(lambda: audited(config, run, old.described.preprocessing))
    old = replace(
        old,
        described=replace(
            old.described, labels=renamed(old.classes, config.data.names, manifest.labels)
        ),
    )
    sitting.check_asked(config, manifest)
    if config.accept:
        check_acceptance(config.accept, manifest.labels, values_of(manifest))
    note_what_it_knows(old.described, manifest, run)
    run.facts["backbone"] = old.described.architecture.backbone
    with ranks.one_a_machine_first():
        how, most = old.described.preprocessing, config.audit.max_bad
        store = pixels_of(manifest, how, config.data, run.note, bad, max_bad=most)
    watcher = Watcher(old.described.appearance)
    watcher.look(store, [r.image_id for r in manifest.records], np.arange(len(manifest.records)))
    if line := watcher.line():
        run.note(line)
    classifier, described = carried_over(config, old.described, old.classifier, manifest, run)
    start = {k: v.clone() for k, v in classifier.state_dict().items()}
    fresh = [manifest.labels.outputs.index(n) for n in run.facts["head"]["fresh"]]
    rows = fresh_rows(classifier, fresh)
    rehearsing = config.trainer.dry_run
    there: list[OldImages | str] = []
    if not rehearsing:
        ranks.from_leader(lambda: there.append(old_images(path, as_it_was(old), config.old_data)))
        ranks.from_leader(lambda: record(run, config.accept, manifest.fingerprint()))

    def before_test(setting: Setting) -> None:
        if config.wise_ft is not None:
            blend(run, setting, start, rows, config.wise_ft)
        if not rehearsing and config.transfer.name != "linear_probe":
            probed(config, words, old, manifest, store, run)

    best, predictions, history = sitting.fitted(
        config, run, manifest, store, classifier, described, before_test=before_test
    )
    if ranks.leads:
        tables = []
        if not rehearsing:
            tables = decided(config, run, old, there[0], manifest, store, watcher, predictions)
        title = f"{best.architecture.backbone} fine-tuned on {manifest.source}"
        content = manifest, store, predictions, history, tables
        sitting.conclude(config, run, title, *content, how=best.preprocessing)


def read_old(config: FinetuneConfig, run: RunFolder, path: Path) -> OldModel:
    """The old model, its files read as the command says."""
    old, tensors = checkpoints.read(path)
    checkpoints.refuse_not_finite(tensors, str(path))
    sha = checkpoints.provenance_of(path)["checkpoint_sha256"]
    run.ranks.from_leader(
        lambda: sitting.refuse_changed(run, "checkpoint_sha256", sha, "checkpoint weights")
    )
    described = replace(
        old,
        preprocessing=read_as(old.preprocessing, config.data, run.note),
        provenance={**old.provenance, "checkpoint_sha256": sha},
    )
    classifier = checkpoints.restore(old, tensors, str(path))
    return OldModel(
        described=described, trained_as=old.preprocessing, classifier=classifier, classes=old.labels
    )


def as_it_was(old: OldModel) -> Checkpoint:
    """The description of the old model as its training left it."""
    return replace(old.described, labels=old.classes, preprocessing=old.trained_as)


def values_of(manifest: Manifest) -> dict[str, list[str]]:
    """Attribute -> the different values that the images have."""
    names = sorted({name for r in manifest.records for name in r.attributes})
    return {n: sorted({r.attributes.get(n, "") for r in manifest.records}) for n in names}
