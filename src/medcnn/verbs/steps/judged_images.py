"""Which images a checkpoint is evaluated on: those of its own data set, or others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

from medcnn.config import DataConfig, data_from_json
from medcnn.data import splits
from medcnn.data.adapters import DATASETS
from medcnn.data.manifest import Manifest, Split
from medcnn.models.checkpoint import Checkpoint
from medcnn.system.errors import CheckpointError, DataError, UsageError
from medcnn.system.paths import ELSEWHERE
from medcnn.system.plugins import require
from medcnn.system.run_folder import facts_at
from medcnn.system.run_places import places_of
from medcnn.verbs.steps.datasets import described, labelled, manifest_of

_FIELDS = frozenset(f.name for f in fields(DataConfig))


def own_data(path: Path, checkpoint: Checkpoint, moved: Mapping[str, str]) -> DataConfig:
    """The data set that the checkpoint was trained with. The checkpoint holds its settings; the
    location of the images comes from the run folder or the command (`data.root=`)."""
    if not {"data", "seed"} <= checkpoint.training.keys():
        raise CheckpointError(
            f"checkpoint={path} does not say which images it was trained with: name a set with "
            "data=."
        )
    stored = dict(checkpoint.training["data"])
    run_dir = path.resolve().parent.parent
    facts = facts_at(run_dir)
    if given := facts.get("config", {}).get("data"):
        if given.get("root") or given.get("path"):  # phantoms must not stand in for real images
            given = dict(given, stand_in=None)
        stored = dict(given, root=None, path=None)
        known = {
            key.removeprefix("data."): place
            for key, place in places_of(facts, run_dir).items()
            if key.startswith("data.")
        }
        moved = {**known, **beside_new_root(known, moved.get("root")), **moved}
    for key, place in moved.items():
        if key.startswith("options.") or key not in _FIELDS:
            option = key.removeprefix("options.")
            stored["options"] = {**stored.get("options", {}), option: place}
        else:
            stored[key] = place
    table = stored.get("options", {}).get("table")
    if isinstance(table, str) and table.startswith(f"{ELSEWHERE}/"):
        # users would put it beside the images
        stored["options"] = {**stored["options"], "table": table.removeprefix(f"{ELSEWHERE}/")}
    require(checkpoint.plugins, ["datasets"], f"checkpoint={path}")
    try:
        data = data_from_json(stored)
        DATASETS.bind(data.name, data.options)
    except Exception as error:  # anybody may have written these settings
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"checkpoint={path}: the description of its training data is not valid "
            f"({reason:.200}): name other data with data=."
        ) from error
    if data.root is None and data.path is None and data.stand_in is None and data.name != "phantom":
        raise UsageError(
            f"checkpoint={path} was trained on data={data.name}, but the location of those images "
            "is not known here: add data.root=FOLDER (or data.path=FILE), or name other data with "
            "data=."
        )
    return data


def beside_new_root(known: Mapping[str, str], root: str | None) -> dict[str, str]:
    """Tables that lie at the same way from a new root as from the old one, since whoever moves
    images moves them with their labels.

    Args:
        known: setting -> path of the training.
    """
    old = known.get("root")
    if not (root and old):
        return {}
    there = {
        key: os.path.abspath(os.path.join(root, os.path.relpath(place, old)))
        for key, place in known.items()
        if key.startswith("options.")
    }
    return {key: place for key, place in there.items() if os.path.exists(place)}


def chosen_split(
    split: str,
    checkpoint: Checkpoint,
    data: DataConfig,
    note: Callable[[str], None],
    *,
    own: bool,
    ensemble: bool = False,
) -> tuple[Manifest, str]:
    """The manifest and the split to look at; `own` means the images of the training. Members of an
    `ensemble` may have been trained with other splits of the same images. Folds of a
    cross-validation have only the splits in common that the author of the set made.

    `auto` is the test split of the images that the checkpoint was trained with and of sets that
    come with one; new data without splits are looked at as a whole.
    """
    folds = ensemble and checkpoint.training.get("data", {}).get("fold")
    if own and not folds:
        seed = int(checkpoint.training["seed"])
        manifest = manifest_of(data, seed, note, _allowed(checkpoint))
        if not ensemble and manifest.fingerprint() != checkpoint.provenance.get("manifest"):
            note(
                "these are not exactly the images, labels and splits that the checkpoint was "
                "trained with: some test images may have been trained on."
            )
        return manifest, "test" if split == "auto" else split
    manifest = labelled(data, note)
    if own:
        described(manifest, note)
    if not ensemble and (dealt := _as_in_training(manifest, checkpoint)) is not None:
        note("these are the images that the checkpoint was trained with, so its splits are used.")
        return dealt, "test" if split == "auto" else split
    given = {r.split for r in manifest.records}
    if split == "auto":
        return manifest, "test" if Split.TEST in given else "all"
    if split != "all" and Split(split) not in given:
        raise UsageError(
            f"split={split}: {manifest.source} has no such split; use split=all to evaluate "
            "all of its images."
        )
    return manifest, split


def _allowed(checkpoint: Checkpoint) -> list[str]:
    return list(checkpoint.training.get("audit", {}).get("allow", ()))


def _as_in_training(manifest: Manifest, checkpoint: Checkpoint) -> Manifest | None:
    """The manifest with the splits of the training, if these are exactly the same images."""
    shares = checkpoint.training.get("data", {})
    if not {"validation_share", "test_share"} <= shares.keys():
        return None
    number, of = shares.get("fold"), shares.get("folds")
    seed = int(checkpoint.training.get("seed", 0))
    try:
        dealt = splits.assign(
            manifest,
            validation=shares["validation_share"],
            test=shares["test_share"],
            seed=seed if shares.get("split_seed") is None else int(shares["split_seed"]),
            leaky="groups" in _allowed(checkpoint),
            fold=(int(number), max(2, int(of))) if number and of else None,
        )
        dealt = splits.with_fewer(dealt, shares.get("train_groups"), seed)
    except DataError:
        return None
    return dealt if dealt.fingerprint() == checkpoint.provenance.get("manifest") else None
