"""`trainer.dry_run=true`: two batches of everything, to see whether it works and what it costs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch

from medcnn.audit.finding import counted
from medcnn.data.manifest import Manifest, Split
from medcnn.models.checkpoint import load
from medcnn.models.inference import pick_device
from medcnn.system.errors import UsageError
from medcnn.system.launched import one_of_several
from medcnn.system.memory import peak_bytes
from medcnn.system.progress import hushed, log
from medcnn.training.transfer import TRANSFERS, Stage
from medcnn.verbs.steps.datasets import SCRATCH_PX
from medcnn.verbs.steps.sitting import run_folder_of
from medcnn.verbs.train import TrainConfig

LOOKED_AT = 8
# What a CPU can train a resnet18 on in a second or two: 4 images of 224 px, 49 of 64 px.
CPU_PIXELS = 4 * 224**2


Config = TypeVar("Config", bound=TrainConfig)
Run = Callable[[Config, list[str]], Path]


def rehearsed(run: Run[Config], config: Config, words: list[str]) -> Path:
    """Do `run`, or only rehearse it if the config says so; returns its folder."""
    if not config.trainer.dry_run:
        return run(config, words)
    run_folder = run_folder_of(config)
    rehearse(run, run_folder, config, words)
    return run_folder


def rehearse(run: Run[Config], run_folder: Path, config: Config, words: list[str]) -> None:
    """Do `run` on a few images, next to where its folder would be, and print what it took.

    Each of two epochs trains on one batch, or a part of it on a CPU. The second epoch measures the
    speed, since the first is slower. Only the pixels of these images remain, in the cache.

    Raises:
        UsageError: no folder can be made there.
    """
    if one_of_several():
        raise UsageError("trainer.dry_run=true runs in one process: run it without torchrun.")
    beside = next(p for p in run_folder.absolute().parents if p.is_dir())
    few = replace(config.trainer, epochs=2, patience=None, save_every_s=0, keep_state=True)
    try:
        folder = TemporaryDirectory(prefix=".dry-run-", dir=beside)
    except OSError as error:
        raise UsageError(f"run_dir={run_folder} cannot be written: {error.strerror}.") from error
    log.info(f"dry run: two batches of each step, in a temporary folder inside {beside}")
    with folder, hushed(logging.WARNING):  # scores of so few images would only mislead
        path = run(replace(config, run_dir=str(Path(folder.name) / "run"), trainer=few), words)
        facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
        size_px = facts["config"]["data"]["size_px"]
        config = replace(config, data=replace(config.data, size_px=size_px))
        sizes = {p.name: p.stat().st_size for p in (path / "checkpoints").iterdir()}
        if "features" in facts and (views := _views(config, path / "checkpoints")):
            facts["features"]["views"] = views  # the stages of the rehearsal are shorter
    print("\n".join(["dry run: everything works, nothing was kept", *costs(config, facts, sizes)]))


def trained_on(config: TrainConfig) -> int:
    """The number of images of a step; on a CPU fewer if they would take long."""
    if config.trainer.overfit_batches:
        return config.trainer.batch_size * config.trainer.overfit_batches
    all_of_it = config.trainer.batch_size * config.trainer.accumulate
    if pick_device(config.trainer.device).type != "cpu":
        return all_of_it
    return min(all_of_it, max(2, CPU_PIXELS // (config.data.size_px or SCRATCH_PX) ** 2))


def few_of(manifest: Manifest, config: TrainConfig) -> Manifest:
    """Images to train on, and two batches to evaluate, spread over each split since tables are
    often sorted by class."""
    rows: list[int] = []
    a_step = trained_on(config)
    for split in Split:
        there = manifest.rows(split)
        # training is what must fit into memory, so evaluation may be quick
        wanted = a_step if split is Split.TRAIN else 2 * min(LOOKED_AT, a_step)
        spread = np.linspace(0, len(there) - 1, min(wanted, len(there)))
        rows += there[spread.astype(int)].tolist()
    return manifest.with_records(manifest.records[row] for row in sorted(rows))


def costs(config: TrainConfig, facts: Mapping[str, Any], sizes: Mapping[str, int]) -> list[str]:
    trainer, images, speed = config.trainer, facts["images"], facts["speed"]
    train_rate, look_rate = speed["perf/images_per_s"], speed["perf/val_images_per_s"]
    a_step = trainer.batch_size * trainer.accumulate
    epoch_s = images[Split.TRAIN] / train_rate + images[Split.VALIDATION] / look_rate
    once_s, once = features_s(facts, images), []
    if once_s:
        once = [f"  features     {_time(once_s)}, computed once for all epochs"]
    peak = peak_bytes()
    memory = "not measured" if peak is None else f"{peak / 1e9:.1f} GB"
    device, trained = pick_device(trainer.device), trained_on(config)
    if device.type == "cuda":
        memory += f", on the GPU {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB"
    weights = sizes["last.safetensors"] / 1e6
    rest = sum(sizes.values()) / 1e6
    rate = f"{train_rate:.0f}" if train_rate >= 10 else f"{train_rate:.2g}"
    part = [
        f"  trained on   {trained} of the {a_step} images of a step, as this is a CPU; times are "
        "estimated from them,",
        "               rather too long, and the whole step needs more memory",
    ]
    return [
        *(part if trained < a_step else []),
        f"  a step       {a_step / train_rate:.3g} s, {a_step} images: {rate} images/s",
        f"  an epoch     {_time(epoch_s)}: {images[Split.TRAIN]:,} images to train on, "
        f"{images[Split.VALIDATION]:,} to validate on",
        *once,
        f"  the run      {_time(once_s + epoch_s * trainer.epochs)} for "
        f"{counted(trainer.epochs, 'epoch')}, once its images are decoded",
        f"  memory       {memory} at the peak",
        f"  checkpoint   {weights:.1f} MB; a run keeps two, and {rest:.1f} MB until it is done",
    ]


def features_s(facts: Mapping[str, Any], images: Mapping[str, int]) -> float:
    """Seconds for the features of all images, estimated from a few; 0 if there are none."""
    few = facts.get("features")
    if not few:
        return 0.0
    all_of_them = images[Split.TRAIN] * few["views"] + images[Split.VALIDATION]
    return float(few["seconds"] / few["computed"] * all_of_them)


def _views(config: TrainConfig, checkpoints: Path) -> int:
    """How many augmented versions of each image the run computes features of."""
    _, classifier = load(checkpoints / "last.safetensors", torch.device("cpu"))
    mode = TRANSFERS.bind(config.transfer.name, config.transfer.options)
    stage: Stage = mode(classifier.body, config.trainer.epochs)[0]
    return min(stage.views, stage.epochs)


def _time(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
