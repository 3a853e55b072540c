"""`evaluate`: what a checkpoint is worth on the images it was made with, or on any others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medcnn.config import (
    READING,
    DataConfig,
    EvaluateConfig,
    data_from_json,
    settings_digest,
    to_json,
)
from medcnn.data import splits
from medcnn.data.adapters import DATASETS
from medcnn.data.manifest import Manifest, Split
from medcnn.data.matching import matched_targets
from medcnn.models import checkpoint as checkpoints
from medcnn.models.appearance import Watcher
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.inference import autocast_dtype, pick_device
from medcnn.pages.facts import known_start
from medcnn.system.errors import CheckpointError, DataError, UsageError
from medcnn.system.paths import ELSEWHERE
from medcnn.system.plugins import require
from medcnn.system.progress import log
from medcnn.system.run_folder import free_folder, open_run, places_of
from medcnn.verbs.auditing import bad_images
from medcnn.verbs.datasets import labelled, manifest_of, pixels_of, read_as
from medcnn.verbs.scoring import predictions_of, report, score_and_save

_FIELDS = frozenset(f.name for f in fields(DataConfig))


def evaluate_checkpoint(config: EvaluateConfig, command: list[str]) -> Path:
    """Predictions, scores and report of a checkpoint on a split; returns their folder."""
    path = Path(config.checkpoint)
    checkpoint, _ = checkpoints.read(path)
    data = config.data or own_data(path, checkpoint, config.moved)
    if config.threads:
        torch.set_num_threads(config.threads)
    settings = to_json(replace(config, data=data))
    name = f"evaluate-{data.called()}-{config.split}-{settings_digest(settings)}"
    folder = Path(config.run_dir) if config.run_dir else free_folder(Path("runs") / name)
    with open_run(folder, settings, command, resumable=False) as run:
        device = pick_device(config.device)
        _, classifier = checkpoints.load(path, device)
        manifest, split = chosen_split(config, checkpoint, data, run.note)
        asked = READING if config.data else [name for name in READING if name in config.moved]
        how = read_as(checkpoint.preprocessing, data, run.note, asked)
        matched_targets(checkpoint.labels, manifest)  # refuse before hours of decoding
        store = pixels_of(
            manifest,
            how,
            data,
            run.note,
            bad_images(manifest, how, data),
            max_bad=allowed_bad(config, checkpoint),
        )
        log.info(f"run folder: {folder}")  # which stays from here on
        rows = np.arange(len(manifest.records)) if split == "all" else manifest.rows(Split(split))
        predictions = predictions_of(
            checkpoint,
            classifier,
            store,
            manifest,
            rows,
            split=split,
            device=device,
            dtype=autocast_dtype(checkpoint.precision(config.precision), device),
            batch_size=config.batch_size,
            provenance=checkpoints.provenance_of(path),
        )
        watcher = Watcher(checkpoint.appearance)
        watcher.look(store, [r.image_id for r in manifest.records], rows)
        if line := watcher.line():
            run.note(line)
        if checkpoint.other_key(manifest):
            run.note(checkpoints.OTHER_KEY)
        seen = int(checkpoint.trained_on(manifest)[rows].sum())
        if seen:
            run.note(
                f"{seen} of these {len(rows)} images carry the id of an image that the checkpoint "
                "was trained or chosen with: these scores flatter it."
            )
        origin = path.resolve().parent.parent
        own = manifest.fingerprint() == checkpoint.provenance.get("manifest")
        if own and split in ("test", "all") and (origin / "run.json").is_file():
            run.looks_at_test(origin)
        run.facts["manifest"] = manifest.fingerprint()
        run.facts["checkpoint"] = checkpoints.provenance_of(path)
        run.facts["flips"] = checkpoint.flips
        run.facts["trained_on"] = origin_of(checkpoint) | {
            "shared_images": None if checkpoint.other_key(manifest) else seen
        }
        evaluations = score_and_save(run, [predictions], config.seed, manifest.group_noun)
        title = f"{checkpoint.architecture.backbone} evaluated on {manifest.source}"
        report(
            run, title, manifest, store, [predictions], evaluations, prevalence=config.prevalence
        )
    return folder


def origin_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What pages may say of the training of a checkpoint; older ones know less of it."""
    made, training = checkpoint.provenance, checkpoint.training
    audit = training.get("audit", {})
    return {
        "source": made.get("source"),
        "manifest": made.get("manifest"),
        "backbone": checkpoint.architecture.backbone,
        "head": checkpoint.architecture.head,
        "weights": made.get("weights"),
        "weights_licence": made.get("weights_licence"),
        "started": made.get("started"),
        "epochs": training.get("trainer", {}).get("epochs"),
        "known_start": known_start(training) and made.get("fine_tuned") is False,
        "audit": {
            "allow": audit.get("allow"),
            "copies": audit.get("copies"),
            "warned": made.get("audit_warned"),
        },
    }


def own_data(path: Path, checkpoint: Checkpoint, moved: Mapping[str, str]) -> DataConfig:
    """The data that the checkpoint was trained with: its settings travel in the checkpoint, where
    the images lay is known to the run folder, or comes from the command (`data.root=`)."""
    if not {"data", "seed"} <= checkpoint.training.keys():
        raise CheckpointError(
            f"checkpoint={path} does not say which images it was trained with: name some with "
            "data=."
        )
    stored = dict(checkpoint.training["data"])
    run_dir = path.resolve().parent.parent
    if (run_dir / "run.json").is_file():
        facts = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
        stored = dict(facts["config"]["data"], root=None, path=None)
        known = {
            key.removeprefix("data."): place
            for key, place in places_of(facts, run_dir).items()
            if key.startswith("data.")
        }
        moved = {**known, **moved}
    for key, place in moved.items():
        if key.startswith("options.") or key not in _FIELDS:
            option = key.removeprefix("options.")
            stored["options"] = {**stored.get("options", {}), option: place}
        else:
            stored[key] = place
    table = stored.get("options", {}).get("table")
    if isinstance(table, str) and table.startswith(f"{ELSEWHERE}/"):
        # beside the images is where one would put it
        stored["options"] = {**stored["options"], "table": table.removeprefix(f"{ELSEWHERE}/")}
    require(checkpoint.plugins, ["datasets"], f"checkpoint={path}")
    try:
        data = data_from_json(stored)
        DATASETS.bind(data.name, data.options)
    except Exception as error:  # anybody may have written these settings
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"checkpoint={path}: the data that it was trained with are not described as medcnn "
            f"does it ({reason:.200}): name other data with data=."
        ) from error
    if data.root is None and data.path is None and data.stand_in is None and data.name != "phantom":
        raise UsageError(
            f"checkpoint={path} was trained on data={data.name}, and where those images lie is not "
            "known here: add data.root=FOLDER (or data.path=FILE), or name other data with data=."
        )
    return data


def allowed_bad(config: EvaluateConfig, checkpoint: Checkpoint) -> int:
    """`max_bad`, else as many as were allowed in training where its own images are meant."""
    if config.max_bad is not None:
        return config.max_bad
    training = checkpoint.training if config.data is None else {}
    earlier = training.get("data", {}).get("max_unreadable", 0)
    return int(training.get("audit", {}).get("max_bad", earlier))


def chosen_split(
    config: EvaluateConfig, checkpoint: Checkpoint, data: DataConfig, note: Callable[[str], None]
) -> tuple[Manifest, str]:
    """The manifest and the split to look at.

    `auto` is the test split of the images that the checkpoint was trained with and of sets that
    come with one; new data without splits are looked at as a whole.
    """
    if config.data is None:
        seed = int(checkpoint.training["seed"])
        manifest = manifest_of(data, seed, note, _allowed(checkpoint))
        if manifest.fingerprint() != checkpoint.provenance.get("manifest"):
            note(
                "these are not exactly the images, labels and splits that the checkpoint was "
                "trained with: some test images may have been trained on."
            )
        return manifest, "test" if config.split == "auto" else config.split
    manifest = labelled(data, note)
    if (own := _as_in_training(manifest, checkpoint)) is not None:
        note("these are the images that the checkpoint was trained with, so its splits are used.")
        return own, "test" if config.split == "auto" else config.split
    given = {r.split for r in manifest.records}
    if config.split == "auto":
        return manifest, "test" if Split.TEST in given else "all"
    if config.split != "all" and Split(config.split) not in given:
        raise UsageError(
            f"split={config.split}: {manifest.source} comes with no such split; split=all looks at "
            "all of its images."
        )
    return manifest, config.split


def _allowed(checkpoint: Checkpoint) -> list[str]:
    return list(checkpoint.training.get("audit", {}).get("allow", ()))


def _as_in_training(manifest: Manifest, checkpoint: Checkpoint) -> Manifest | None:
    """The manifest with the splits of the training, where these are the very same images."""
    shares = checkpoint.training.get("data", {})
    if not {"validation_share", "test_share"} <= shares.keys():
        return None
    try:
        dealt = splits.assign(
            manifest,
            validation=shares["validation_share"],
            test=shares["test_share"],
            seed=int(checkpoint.training.get("seed", 0)),
            leaky="groups" in _allowed(checkpoint),
        )
    except DataError:
        return None
    return dealt if dealt.fingerprint() == checkpoint.provenance.get("manifest") else None
