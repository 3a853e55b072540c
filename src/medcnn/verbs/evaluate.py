"""`evaluate`: scores of a checkpoint on its own data set or on other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import DataError, UsageError, at_once
from medcnn.system.registry import nearest
from medcnn.system.settings import called, within
from medcnn.verbs import Command, Given, Verb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medcnn.config import DataConfig, Device, Explain, Precision, Prevalence, Seed, Subgroups
    from medcnn.data.manifest import Manifest
    from medcnn.images import Preprocessing
    from medcnn.models.checkpoint import Checkpoint
    from medcnn.models.deployed import Model
    from medcnn.pixels.pixel_store import PixelStore
    from medcnn.statistics.predictions import Predictions
    from medcnn.system.run_folder import RunFolder

SPLITS = ("auto", "all", "train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """`data` None means the data set that the checkpoint was trained with. `max_bad` None means as
    many as were allowed there, or none for other data. `moved` are settings of that data set that
    the command changes."""

    checkpoint: str
    run_dir: str | None
    split: str
    seed: Seed
    batch_size: int = within(1, called="trainer.batch_size")
    device: Device = called("trainer.device")
    precision: Precision = called("trainer.precision")
    threads: int | None = within(1, called="trainer.threads")
    max_bad: int | None = within(0, called="audit.max_bad")
    prevalence: Prevalence
    subgroups: Subgroups
    explain: Explain
    data: DataConfig | None
    moved: Mapping[str, str]

    def contradictions(self) -> list[str]:
        known = self.split in SPLITS
        return [] if known else [f"unknown split '{self.split}'{nearest(self.split, SPLITS)}"]


def prepare(given: Given) -> None:
    from medcnn.verbs.steps.datasets import leave_to_checkpoint

    if faults := leave_to_checkpoint(given):
        raise UsageError("\n".join(faults))
    own = given.groups.get("data") is None
    names = {key.partition(".")[2] for key in given.keys if own and key.startswith("data.")}
    given.settings["moved"] = {name: given.settings["data"].get(name) for name in names}
    if own:
        given.settings["data"] = None


def check(config: EvaluateConfig) -> None:
    from medcnn.data.own.sheets import require_folder
    from medcnn.places import checkpoints_at, require_checkpoint, require_data

    def checkpoints() -> None:
        at_once(*(partial(require_checkpoint, f) for f in checkpoints_at(Path(config.checkpoint))))

    checks: list[Callable[[], object]] = [checkpoints]
    if moved := config.moved.get("root"):
        checks.append(partial(require_folder, Path(moved)))
    if config.data:
        checks.append(partial(require_data, config.data))
    at_once(*checks)


SEEN = (
    "{seen} of these {images} images have the id of an image that the checkpoint was trained or "
    "chosen with: these scores are too good."
)
MEMBERS_SAW = (
    "{seen} of the {images} images of split={split} were used to train or choose members of this "
    "ensemble, so it is not scored on them. Evaluate it on images that no member saw: a fixed test "
    "split, or other data=. For a cross-validation, use the out-of-fold scores."
)


def run(config: EvaluateConfig, command: Command) -> Path:
    return evaluated(config, command.words)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a checkpoint was evaluated on."""

    checkpoint: Checkpoint
    manifest: Manifest
    store: PixelStore
    how: Preprocessing
    predictions: Predictions


def _no_more(_: RunFolder, judged: Judged) -> None:
    pass


def evaluated(
    config: EvaluateConfig, words: list[str], more: Callable[[RunFolder, Judged], None] = _no_more
) -> Path:
    """Predictions, scores and report of a checkpoint on a split, and what `more` writes beside
    them; returns their folder."""
    import torch

    from medcnn.config import READING, settings_digest, to_json
    from medcnn.data.matching import in_words_of, matched_targets
    from medcnn.models import checkpoint as checkpoints
    from medcnn.models.deployed import load_model
    from medcnn.models.no_result import refuse_without_result
    from medcnn.places import CROSSVALIDATION, checkpoints_at, dealt_at
    from medcnn.statistics.groupings import check_subgroups
    from medcnn.system.progress import log
    from medcnn.system.run_folder import free_folder, open_run
    from medcnn.verbs.steps.auditing import bad_images
    from medcnn.verbs.steps.datasets import pixels_of, read_as
    from medcnn.verbs.steps.gallery import check_method, gallery
    from medcnn.verbs.steps.judged_images import chosen_split, own_data
    from medcnn.verbs.steps.scoring import attributes_of, report, score_and_save, with_attributes

    path, *others = checkpoints_at(Path(config.checkpoint))
    checkpoint, _ = checkpoints.read(path)
    data = config.data or own_data(path, checkpoint, config.moved)
    if others and config.data is None:  # no fold's own test images, but those of the whole set
        data = replace(data, fold=None, folds=None)
    if config.threads:
        torch.set_num_threads(config.threads)
    settings = to_json(replace(config, data=data))
    name = f"evaluate-{data.called()}-{config.split}-{settings_digest(settings)}"
    folder = Path(config.run_dir) if config.run_dir else free_folder(Path("runs") / name)
    with open_run(folder, settings, words, resumable=False) as run:
        model = load_model(config.checkpoint, device=config.device, precision=config.precision)
        check_method(config.explain)
        checkpoint = model.checkpoint
        own = config.data is None
        manifest, split = chosen_split(
            config.split, checkpoint, data, run.note, own=own, ensemble=bool(others)
        )
        if config.data:  # the names of its own data are those of a model before it
            manifest = in_words_of(checkpoint.labels, manifest, data.names)
        rows = manifest.rows(split)
        seen = int(model.trained_on(manifest)[rows].sum())
        if seen and model.members:
            raise DataError(MEMBERS_SAW.format(seen=seen, images=len(rows), split=split))
        asked = READING if config.data else [name for name in READING if name in config.moved]
        how = read_as(checkpoint.preprocessing, data, run.note, asked)
        check_subgroups(config.subgroups, attributes_of(manifest))
        targets = matched_targets(checkpoint.labels, manifest)  # refuse before hours of decoding
        bad, most = bad_images(manifest, how, data), allowed_bad(config, checkpoint)
        store = pixels_of(manifest, how, data, run.note, bad, max_bad=most)
        log.info(f"run folder: {folder}")  # which stays from here on
        predictions = model.said(
            manifest, store, rows, split, targets, batch_size=config.batch_size
        )
        refuse_without_result(predictions, "the checkpoint")
        made = {"manifest": manifest.fingerprint(), **model.provenance}
        predictions = with_attributes(replace(predictions, provenance=made), manifest, store, how)
        if line := unlike(predictions, checkpoint, manifest, store, rows):
            run.note(line)
        dealt = dealt_at(Path(config.checkpoint))
        record(run, model, manifest, seen, len(rows), dealt)
        whose = {m.checkpoint.provenance.get("manifest") for m in model.members or (model,)}
        if split in ("test", "all") and (own or manifest.fingerprint() in {dealt, *whose}):
            runs = [p.resolve().parent.parent / "run.json" for p in (path, *others)]
            origins = [Path(config.checkpoint) / CROSSVALIDATION] if dealt else runs
            run.looks_at_test_of(manifest.fingerprint(), origins)
        evaluations = score_and_save(run, [predictions], config.seed, manifest.group_noun)
        what = f"Ensemble of {len(model.members)}" if model.members else ""
        title = f"{what} {checkpoint.architecture.backbone} evaluated on {manifest.source}".strip()
        maps = gallery(model, manifest, store, predictions, config.explain)
        content = manifest, store, [predictions], evaluations, config
        report(run, title, *content, maps=maps)
        more(run, Judged(checkpoint, manifest, store, how, predictions))
    return folder


def record(
    run: RunFolder, model: Model, manifest: Manifest, seen: int, images: int, dealt: str
) -> None:
    """Into `run.json`: what was evaluated on what, and that `seen` images were trained on.

    Args:
        dealt: fingerprint of the set that members of a cross-validation were trained on, or "".
    """
    from medcnn.models.checkpoint import OTHER_KEY

    other_key = model.checkpoint.other_key(manifest)
    if other_key:
        run.note(OTHER_KEY)
    if seen:
        run.note(SEEN.format(seen=seen, images=images))
    shared = None if other_key else seen
    origin = origin_of(model.checkpoint) | {"shared_images": shared}
    if dealt:  # the audits of the folds did not see a fixed test split
        unseen = {"allow": origin["audit"]["allow"], "copies": None, "warned": None}
        origin |= {"manifest": dealt, "audit": unseen}
    run.facts |= {
        "manifest": manifest.fingerprint(),
        "checkpoint": dict(model.provenance),
        "flips": model.checkpoint.flips,
        "trained_on": origin,
    }


def unlike(
    predictions: Predictions,
    checkpoint: Checkpoint,
    manifest: Manifest,
    store: PixelStore,
    rows: NDArray[np.int64],
) -> str:
    """Which images are of the wrong kind, in one line; for an earlier checkpoint, which look unlike
    its training images. The report has the shares of the other verdicts."""
    from medcnn.models.appearance import Watcher
    from medcnn.statistics.strangeness import VERDICTS, line_about

    named, bounds = predictions.named_verdicts, checkpoint.readout.unusual
    if not named or bounds is None:
        watcher = Watcher(checkpoint.appearance)
        watcher.look(store, [r.image_id for r in manifest.records], rows)
        return watcher.line()
    return line_about(named, bounds) if VERDICTS[0] in named.values() else ""


def origin_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What pages say about the training of a checkpoint; older checkpoints store less."""
    from medcnn.pages.facts import known_start

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


def allowed_bad(config: EvaluateConfig, checkpoint: Checkpoint) -> int:
    """`max_bad`; by default as many as in training for its own data set, and none for others."""
    if config.max_bad is not None:
        return config.max_bad
    training = checkpoint.training if config.data is None else {}
    earlier = training.get("data", {}).get("max_unreadable", 0)
    return int(training.get("audit", {}).get("max_bad", earlier))


VERB = Verb(
    name="evaluate",
    lines=("evaluate runs/.../checkpoints/best.safetensors",),
    usage="CHECKPOINT [key=value ...]",
    examples=(
        "evaluate runs/demo/checkpoints/best.safetensors",
        "evaluate best.safetensors data=my_hospital --config-dir my-configs",
    ),
    synonyms=("test", "eval", "evaluation", "validate", "val", "score"),
    places=("checkpoint",),
    config=EvaluateConfig,
    prepare=prepare,
    check=check,
    run=run,
)
