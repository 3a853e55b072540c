"""From the data settings to a manifest with splits, and from that to pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace

import numpy as np
from yaml import safe_load

from medcnn.audit.finding import image_name
from medcnn.config import READING, DataConfig
from medcnn.data import adapters, splits
from medcnn.data.manifest import Manifest
from medcnn.images import Frames
from medcnn.images.preprocessing import UNKNOWN, Preprocessing
from medcnn.pixels.opening import open_store
from medcnn.pixels.pixel_store import PixelStore
from medcnn.places import root_of, stands_in
from medcnn.system.errors import DataError, UsageError
from medcnn.system.paths import config_folder
from medcnn.system.privacy import pseudonym
from medcnn.system.progress import log, working
from medcnn.verbs import Given

# If data.size_px is null and no weights decide.
SCRATCH_PX = 48

# Settings that come with a checkpoint.
PREPROCESSING = tuple(f"data.{f.name}" for f in fields(Preprocessing) if f.name not in READING)


def leave_to_checkpoint(given: Given) -> list[str]:
    """Leave reading to the checkpoint, except for what the command or the data's YAML sets;
    returns the faults of a command that sets more."""
    data = given.settings["data"]
    base = safe_load((config_folder() / "base.yaml").read_text(encoding="utf-8"))["data"]
    unsaid = (k for k in READING if f"data.{k}" not in given.keys and data.get(k) == base[k])
    data.update(dict.fromkeys(unsaid))
    return [
        f"{key}: preprocessing comes from the checkpoint."
        for key in given.keys
        if key in PREPROCESSING
    ]


def manifest_of(
    data: DataConfig, seed: int, note: Callable[[str], None], allow: Sequence[str] = ()
) -> Manifest:
    """The images, their labels and their splits.

    Args:
        note: receives sentences for the user and the report.
        allow: as in `audit.allow`; `groups` allows patients in several splits.

    Raises:
        UsageError: no root was given, or it does not exist.
        DataError: the data are refused.
    """
    manifest = with_splits(labelled(data, note), data, seed, leaky="groups" in allow)
    if found := splits.leaks(manifest):
        note(
            f"{len(found)} {manifest.group_noun}s are in more than one split, which audit.allow "
            "permits: scores do not apply to new patients."
        )
    return described(manifest, note)


def with_splits(
    manifest: Manifest, data: DataConfig, seed: int, *, leaky: bool = False
) -> Manifest:
    """Raises LeakError or DataError if no valid splits exist."""
    shares = {"validation": data.validation_share, "test": data.test_share}
    fold = (data.fold, data.folds) if data.fold and data.folds else None
    dealt = splits.assign(
        manifest,
        **shares,
        seed=seed if data.split_seed is None else data.split_seed,
        leaky=leaky,
        fold=fold,
    )
    return splits.with_fewer(dealt, data.train_groups, seed)


def described(manifest: Manifest, note: Callable[[str], None]) -> Manifest:
    """Say what the manifest holds; returns it.

    Raises:
        UsageError: no image has a label, which only an audit can do without.
    """
    if np.isnan(manifest.targets()).all():
        raise UsageError(
            f"{manifest.source}: no image has a label; name its column: data.label=COLUMN. Only "
            "`medcnn audit` works without."
        )
    if not manifest.patients_known:
        note(
            f"{manifest.source} does not say which images belong to one patient: splits and "
            f"intervals are by {manifest.group_noun}, and a patient may be in two splits."
        )
    for split, row in manifest.counts().items():
        log.info(
            f"{split:>10}: {row['images']:,} images of {row['groups']:,} {manifest.group_noun}s"
        )
    for reason, count in manifest.excluded.items():
        log.info(f"  {count:,} left out: {reason}")
    return manifest


def labelled(data: DataConfig, note: Callable[[str], None], *, faulty: bool = False) -> Manifest:
    """The manifest as its adapter reads it, splits only where the set's author made them.

    Args:
        faulty: rows with faults stay in the manifest instead of having the set refused.
    """
    name = data.name
    if stands_in(data):
        note(
            f"no data.root was given: phantoms ({data.stand_in}) are drawn instead of {name}. They "
            "show how medcnn works and say nothing about patients."
        )
        name = "phantom"
        root, options = None, {"phantom": data.stand_in}
    else:
        root, options = root_of(data)
    # phantoms are drawn, and say so themselves
    with nullcontext() if name == "phantom" else working("reading tables and folders"):
        manifest = adapters.read(name, root, options, faulty=faulty)
    manifest = replace(
        manifest, modality=data.modality or manifest.modality, source=data.title or manifest.source
    )
    return _pseudonymised(manifest) if adapters.DATASETS[name].private else manifest


def _pseudonymised(manifest: Manifest) -> Manifest:
    noun = manifest.group_noun
    return manifest.with_records(
        replace(
            r,
            image_id=pseudonym(r.image_id, "image"),
            group=pseudonym(r.group, noun),
            origin=(r.image_id, r.own_group),
        )
        for r in manifest.records
    )


def preprocessing_of(data: DataConfig) -> Preprocessing:
    return Preprocessing(
        size_px=data.size_px or SCRATCH_PX,
        channels=data.channels,
        fit=data.fit,
        bits=data.bits,
        window=data.window or 0,
        frames=data.frames or Frames.ERROR,
        full_scale=data.full_scale or UNKNOWN,
        steps=data.steps,
    )


def read_as(
    trained: Preprocessing,
    asked: object,
    note: Callable[[str], None],
    names: Sequence[str] = READING,
) -> Preprocessing:
    """The preprocessing of a checkpoint, with what the command says of how files are read.

    Args:
        asked: holds `names`, None if the checkpoint decides.
        note: receives what differs from the training.
    """
    given = {name: getattr(asked, name) for name in names}
    changed = {k: v for k, v in given.items() if v is not None and v != getattr(trained, k)}
    if changed:
        now = ", ".join(f"data.{k}={v}" for k, v in changed.items())
        then = ", ".join(f"data.{k}={getattr(trained, k)}" for k in changed)
        note(f"files are read with {now}; the checkpoint was trained with {then}.")
    return replace(trained, **changed)


def pixels_of(
    manifest: Manifest,
    preprocessing: Preprocessing,
    data: DataConfig,
    note: Callable[[str], None],
    bad: Mapping[int, str] | None = None,
    *,
    max_bad: int = 0,
) -> PixelStore:
    """Decode, or take from the cache; refuse if more images are bad than allowed.

    Args:
        bad: row -> why the audit puts it in quarantine; images found unreadable here are added.
    """
    store = open_store(manifest, preprocessing, cache=data.cache, executor=data.executor)
    store = replace(store, unreadable={**store.unreadable, **(bad or {})})
    if not store.unreadable:
        return store
    lines = [f"{image_name(manifest, i)}: {why}" for i, why in sorted(store.unreadable.items())]
    many = f"{len(lines)} of {len(manifest.records)} images cannot be used"
    if len(lines) > max_bad:
        shown = "\n  ".join(lines[:20]) + ("\n  ..." if len(lines) > 20 else "")
        raise DataError(
            f"{many}, but audit.max_bad={max_bad} is the limit:\n  {shown}\n"
            f"Repair or remove them, or allow them with audit.max_bad={len(lines)}; then they are "
            "left out, counted and listed, never replaced."
        )
    note(f"{many} and are left out: {'; '.join(lines[:5])}{' ...' if len(lines) > 5 else ''}")
    return store
