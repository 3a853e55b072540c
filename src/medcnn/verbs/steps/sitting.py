"""A sitting of a training: begun, opened, fitted, judged, concluded. A run may take several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medcnn.config import Reproducible, settings_digest, short_hash, to_json
from medcnn.data.manifest import Manifest, Split
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import checkpoint as checkpoints
from medcnn.models.appearance import appearance_of
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Classifier
from medcnn.models.deployed import load_model
from medcnn.models.inference import pick_device
from medcnn.pages.report import Table
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.decisions import Readout, check_readout, fit_readout
from medcnn.statistics.groupings import check_subgroups
from medcnn.statistics.patients import fit_patients
from medcnn.statistics.predictions import Predictions
from medcnn.system.distributed import Ranks, joined
from medcnn.system.errors import DataError, StoppedError, UsageError
from medcnn.system.files import without_nan
from medcnn.system.progress import log
from medcnn.system.run_facts import without_free_settings
from medcnn.system.run_folder import RunFolder, open_run, shorter_run
from medcnn.training import peak
from medcnn.training.epochs import EpochResult
from medcnn.training.fit import fit, stopped_early
from medcnn.training.loss_checks import check_batches, check_options
from medcnn.training.samplers import SAMPLERS
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState
from medcnn.training.stopping import ended_by_signals
from medcnn.training.tasks import Task
from medcnn.training.tensorboard import Board, changed_settings
from medcnn.training.transfer import TRANSFERS
from medcnn.verbs.probe import ProbeConfig
from medcnn.verbs.steps.familiar import features_by, learnt
from medcnn.verbs.steps.gallery import check_method, gallery
from medcnn.verbs.steps.scoring import (
    attributes_of,
    predictions_of,
    report,
    score_and_save,
    with_attributes,
)
from medcnn.verbs.steps.starting import plan_of, setting_of, state_of, with_features, with_start
from medcnn.verbs.train import TrainConfig

# Sees the history whenever an epoch is saved, and may raise a StoppedError to end the run there.
Watch = Callable[[Task, list[dict[str, float]]], None]


RANDOM = ("auto", "none")


class ClosedTestError(StoppedError):
    """A watched run ends when its best epoch is chosen; the test split stays closed. The same
    command without a watcher continues from there."""


def run_folder_of(config: TrainConfig) -> Path:
    """`run_dir`, or a folder whose name is a function of the settings, so that the same command
    finds and resumes its run."""
    if config.run_dir:
        return Path(config.run_dir)
    settings = without_free_settings(to_json(config))
    name = config.model.backbone if config.model else "finetune"
    return Path("runs") / f"{config.data.called()}-{name}-{settings_digest(settings)}"


@contextmanager
def begun(config: TrainConfig, command: list[str]) -> Iterator[RunFolder | None]:
    """The open run folder, or None if the run is already finished."""
    check_options(config.loss.name, config.loss.options, config.sampler.name)
    if config.transfer.name == "scratch" and config.model and config.model.weights not in RANDOM:
        raise UsageError(
            "transfer=scratch starts from random weights, but model.weights="
            f"{config.model.weights} names others. Remove one of the two."
        )
    SAMPLERS.bind(config.sampler.name, config.sampler.options)
    TRANSFERS.bind(config.transfer.name, config.transfer.options)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    if config.trainer.reproducible is Reproducible.STRICT:
        # cuBLAS reads this when it starts; without it deterministic matrix products raise
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(config.trainer.device))
        # machines may have other keys, and so other names for it
        path = ranks.from_leader(lambda: run_folder_of(config))
        shorter = None if config.run_dir else shorter_run(path, to_json(config))
        run = stack.enter_context(opened(config, command, path, ranks))
        stack.enter_context(ended_by_signals())  # within `opened`, so that run.json says it
        if shorter:
            log.info(
                f"this run starts from the beginning; run_dir={shorter} would continue a run with "
                "the same settings but fewer epochs or less patience"
            )
        if run.finished:
            log.info(f"this run is already finished; its report: {run.report}")
            yield None
            return
        device = pick_device(config.trainer.device, ranks)
        if config.trainer.sync_batchnorm and (device.type != "cuda" or ranks.world == 1):
            raise UsageError(
                "trainer.sync_batchnorm=true needs several GPUs (torchrun --nproc-per-node=N): in "
                f"{ranks.world} process on {device.type} there is nothing to synchronise."
            )
        check_batches(
            config.loss.name,
            at_once=config.trainer.micro_batch,
            batch_size=config.trainer.batch_size,
            processes=ranks.world,
        )
        if device.type == "cuda" and config.trainer.reproducible is Reproducible.FAST:
            # finds the fastest convolution for each shape by trying
            torch.backends.cudnn.benchmark = True
        run.facts["hardware"] |= {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": torch.get_num_threads(),
            "processes": ranks.world,
        }
        run.facts["seed"] = config.seed
        peak.forget(device)
        if ranks.leads and run.resumable() and (moved := run.moved()):
            run.note(
                f"this run continues on another machine or with other versions "
                f"({'; '.join(moved)}): its weights are not bit for bit those of an uninterrupted "
                "run"
            )
        yield run


@contextmanager
def opened(
    config: TrainConfig, command: list[str], path: Path, ranks: Ranks
) -> Iterator[RunFolder]:
    """The run folder, which the leader alone opens and locks; the others know what it says."""
    with ExitStack() as stack:
        own: list[RunFolder] = []

        def open_it() -> tuple[dict[str, Any], bool]:
            context = open_run(path, to_json(config), command, resumable=True)
            own.append(stack.enter_context(context))
            return own[0].facts, own[0].finished

        facts, finished = ranks.from_leader(open_it)
        if own:
            own[0].ranks = ranks
        yield own[0] if own else RunFolder(path, facts, finished, ranks)


def fitted(
    config: TrainConfig,
    run: RunFolder,
    manifest: Manifest,
    store: PixelStore,
    classifier: Classifier,
    described: Checkpoint,
    watch: Watch | None = None,
    before_test: Callable[[Setting], None] = lambda _: None,
) -> tuple[Checkpoint, list[Predictions], list[dict[str, float]]]:
    """Train, take the best epoch by validation, choose its thresholds there, then look at test.

    Args:
        before_test: called once the best epoch is chosen, before its thresholds and before test.

    Returns:
        The best checkpoint, its predictions of test and validation, and the history.
    """
    ranks = run.ranks
    device = pick_device(config.trainer.device, ranks)
    plan = plan_of(config, classifier)
    setting = setting_of(config, plan, manifest, store, device, ranks)
    state = state_of(config, classifier, setting)

    def begin() -> bool:
        refuse_changed(run, "manifest", manifest.fingerprint(), "images, labels or splits")
        refuse_changed(run, "left_out", short_hash(sorted(store.unreadable)), "readable images")
        pixels = store.fingerprint()
        if run.resumable() and run.facts.get("pixels", pixels) != pixels:
            run.note(
                "the pixels of some images have changed since this run began, so its weights "
                "differ from those of an uninterrupted run"
            )
        run.facts["pixels"] = pixels
        manifest.write(run.manifest)
        run.write_facts()
        return run.resumable()

    resumed = ranks.from_leader(begin)
    setting = with_start(setting, state.classifier, run, resumed=resumed)
    if resumed:
        take_up(state, setting, run)
    setting = with_features(config, setting, state, run, described.preprocessing)
    looks = ranks.from_leader(lambda: appearance_of(store, manifest.rows(Split.TRAIN)))
    described = replace(described, appearance=looks)

    def describe(result: EpochResult) -> Checkpoint:
        where = {"epoch": result.epoch + 1, f"validation_{setting.task.score}": result.score}
        return replace(
            described,
            readout=read_out(config, manifest, result.predictions).readout,
            provenance={**described.provenance, **without_nan(where)},
        )

    board = Board(run.events, state.epoch, works=ranks.leads)
    try:

        def look() -> None:
            if watch:
                watch(setting.task, state.history)

        fit(state, setting, run, board, describe, look)
        if ranks.leads and not config.trainer.keep_state:
            try:
                state.finish(run.resume, run.last)
            except OSError as error:
                log.warning(f"{run.resume} could not be made smaller: {error.strerror}")
        look()  # a run that was killed after its last epoch trains none now
        run.facts |= {"speed": _speed(state.history[-1]), "memory": peak.used_memory(device)}
        run.facts["best_epoch"] = (state.best_epoch or 0) + 1
        run.facts["validation"] = {setting.task.score: state.best_score}
        if watch:
            raise ClosedTestError("all epochs are done; a sweep keeps the test split closed.")
        before_test(setting)
        best, predictions = judged_best(config, run, setting)
        for p in predictions:
            board.predictions(p, state.epoch)
    finally:
        board.close()
    return best, predictions, state.history


def take_up(state: TrainState, setting: Setting, run: RunFolder) -> None:
    """Load the saved state, and say what it means for the rest of the run."""
    new_optimizer = state.load(run.resume, run.last, run.ranks)
    if state.epoch >= setting.trainer.epochs or stopped_early(state, setting):
        return
    if new_optimizer:
        run.note(new_optimizer)
        if run.ranks.leads:  # before the weights that the finished state belongs to are replaced
            state.save(run.resume)
    log.info(f"resuming in epoch {state.epoch + 1}, after step {state.step}")


def conclude(
    config: TrainConfig | ProbeConfig,
    run: RunFolder,
    title: str,
    manifest: Manifest,
    store: PixelStore,
    predictions: list[Predictions],
    history: list[dict[str, float]],
    tables: Sequence[Table] = (),
    *,
    how: Preprocessing,
) -> None:
    """The final scores, in TensorBoard too if its curves could be written, and the report.

    Args:
        how: what the pixels went through.
    """
    predictions = [with_attributes(p, manifest, store, how) for p in predictions]
    evaluations = score_and_save(run, predictions, config.seed, manifest.group_noun)
    board = Board(run.events, len(history) + 1, works=run.events.is_dir())
    board.results(changed_settings(run.facts["config"]), evaluations, len(history))
    board.close()
    maps: Mapping[str, Any] = {}
    if isinstance(config, TrainConfig) and config.explain:
        model = load_model(run.best, device=config.trainer.device)
        maps = gallery(model, manifest, store, predictions[0], config.explain)
    content = manifest, store, predictions, evaluations, config
    report(run, title, *content, history=history, tables=tables, maps=maps)


def refuse_changed(run: RunFolder, fact: str, now: str, what: str) -> None:
    """Keep `now` as a fact of the run. Raises DataError if a resumed run began with a different
    one, since an image that was trained on could now be in another split."""
    if run.resumable() and run.facts.get(fact, now) != now:
        raise DataError(
            f"{run.path} began with other {what}, so it cannot be resumed. Restore them, or set "
            f"another run_dir to start again; medcnn finetune checkpoint={run.best} carries the "
            "weights over to other images and classes."
        )
    run.facts[fact] = now


def judged_best(
    config: TrainConfig, run: RunFolder, setting: Setting
) -> tuple[Checkpoint, list[Predictions]]:
    """Every choice is made on validation and written into the checkpoint before test is opened."""
    ranks = run.ranks
    best, tensors = ranks.from_leader(lambda: checkpoints.read(run.best))
    classifier = checkpoints.restore(best, tensors, str(run.best)).to(setting.device).eval()
    flips = setting.augmentation.flips if config.trainer.flip_average else ""
    best = replace(best, flips=flips, readout=Readout())
    run.facts["flips"] = flips
    if config.readout.unusual is not None:
        at = features_by(classifier, setting.store, setting.device, setting.dtype)
        known = ranks.from_leader(lambda: learnt(classifier, setting.manifest, setting.store, at))
        best = replace(best, familiar=known)

    def look(split: Split, **more: Any) -> Predictions:
        return predictions_of(
            best,
            classifier,
            setting.store,
            setting.manifest,
            setting.manifest.rows(split),
            split=split,
            device=setting.device,
            dtype=setting.dtype,
            ranks=ranks,
            **more,
        )

    validation = look(Split.VALIDATION)
    validation = read_out(config, setting.manifest, validation)
    best = replace(best, readout=validation.readout)
    if best.readout.calibration and best.readout.calibration.note:
        run.note(f"readout.calibration: {best.readout.calibration.note}.")

    def keep() -> dict[str, Any]:
        checkpoints.save(run.best, classifier, best)
        return checkpoints.provenance_of(run.best)

    origin = ranks.from_leader(keep)
    validation = replace(validation, provenance={**validation.provenance, **origin})
    if ranks.leads:
        run.looks_at_test()
    return best, [look(Split.TEST, provenance=origin), validation]


def check_asked(config: TrainConfig | ProbeConfig, manifest: Manifest) -> None:
    """Raises UsageError for a readout, subgroups or maps that are not possible here."""
    if isinstance(config, TrainConfig):
        check_method(config.explain)
    names = {name for record in manifest.records for name in record.attributes}
    check_readout(config.readout, manifest.labels, names)
    check_subgroups(config.subgroups, attributes_of(manifest))


def read_out(
    config: TrainConfig | ProbeConfig, manifest: Manifest, validation: Predictions
) -> Predictions:
    """Predictions of validation with everything that is fitted on them."""
    by = (config.readout.conformal or {}).get("by")
    attributes = {r.image_id: r.attributes for r in manifest.records} if by else {}
    validation = replace(
        validation,
        categories=tuple(attributes[i].get(by, "") for i in validation.image_ids) if by else (),
    )
    if config.readout.unit:
        of = {r.image_id: r.attributes.get(config.readout.unit, "") for r in manifest.records}
        units = {config.readout.unit: tuple(of[i] for i in validation.image_ids)}
        validation = replace(validation, attributes=units)
    fitted = fit_readout(
        config.readout,
        validation.labels,
        validation.logits,
        validation.targets,
        validation.groups,
        validation.categories or None,
        validation.looks,
    )
    validation = replace(validation, readout=fitted)
    patients = fit_patients(config.readout, validation)
    return replace(validation, readout=replace(fitted, patients=patients))


def _speed(epoch: Mapping[str, float]) -> dict[str, float | None]:
    speed: dict[str, float | None] = without_nan(
        {k: v for k, v in epoch.items() if k.startswith("perf/")}
    )
    return speed
