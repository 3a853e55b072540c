"""The start of a training: a classifier with its description, and the state that changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from timm.layers.norm_act import convert_sync_batchnorm

from medcnn.config import ModelConfig, to_json
from medcnn.data.manifest import Manifest, Split
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.auxiliary import Auxiliary
from medcnn.models.backbones import Body, with_drop_path
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.features import FrozenBody
from medcnn.models.inference import autocast_dtype
from medcnn.models.weights import Origin
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.decisions import Readout
from medcnn.system.distributed import ALONE, Ranks
from medcnn.system.paths import without_ways
from medcnn.system.plugins import used
from medcnn.system.progress import log
from medcnn.system.run_folder import RunFolder
from medcnn.training.augmentations import augmentation_of
from medcnn.training.frozen import features_of
from medcnn.training.optimizers import OPTIMIZERS, groups_of
from medcnn.training.pull import pulled, read_start, write_start
from medcnn.training.samplers import SAMPLERS
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState, average_of
from medcnn.training.tally import Tally
from medcnn.training.tasks import task_of
from medcnn.training.transfer import TRANSFERS, Plan, planned, table_of
from medcnn.verbs.probe import ProbeConfig
from medcnn.verbs.steps.datasets import preprocessing_of
from medcnn.verbs.steps.starting_weights import begin_with, provenance_for
from medcnn.verbs.train import TrainConfig


def new_classifier(
    config: TrainConfig, manifest: Manifest, run: RunFolder
) -> tuple[Classifier, Checkpoint]:
    """A classifier with pretrained or random weights, and what its checkpoints will say of it."""
    assert config.model is not None, "train.yaml has a model"
    assert config.pooling is not None, "train.yaml has a pooling"
    assert config.head is not None, "train.yaml has a head"
    architecture = Architecture(
        backbone=config.model.backbone,
        options=with_drop_path(config.model.options, config.model.drop_path),
        head=config.head.name,
        head_options=dict(config.head.options),
        channels=config.data.channels,
        size_px=preprocessing_of(config.data).size_px,
        pooling=config.pooling.name,
        pooling_options=dict(config.pooling.options),
    )
    scratch = config.transfer.name == "scratch"
    model = replace(config.model, weights="none") if scratch else config.model
    classifier, body, origin = started(model, architecture, config.seed, manifest, run)
    if config.model.auxiliary:
        classifier.auxiliary = Auxiliary(
            body.network, config.model.backbone, len(manifest.labels.outputs)
        )
    if config.transfer.name == "linear_probe" and not origin.pretrained:
        run.note("a linear probe on random weights learns little: the body is never trained")
    return classifier, Checkpoint(
        labels=manifest.labels,
        preprocessing=preprocessing_of(config.data),
        architecture=architecture,
        normalisation=classifier.normalisation,
        modality=manifest.modality,
        flips="",
        readout=Readout(),
        training=without_places(config),
        provenance=provenance_for(run, manifest, origin.checkpoint),
        plugins=plugins_of(config),
    )


def started(
    model: ModelConfig, architecture: Architecture, seed: int, manifest: Manifest, run: RunFolder
) -> tuple[Classifier, Body, Origin]:
    """A classifier with the weights that `model` names, its body as built, and where the weights
    come from."""
    torch.manual_seed(seed)
    classifier, body = build_classifier(architecture, len(manifest.labels.outputs))
    origin = begin_with(model, body, manifest, run)
    if origin.normalisation is not None:
        classifier.normalise_by(origin.normalisation)
    return classifier, body, origin


def plan_of(config: TrainConfig, classifier: Classifier) -> Plan:
    torch.manual_seed(config.seed)  # for what LoRA adds
    mode = TRANSFERS.bind(config.transfer.name, config.transfer.options)
    plan = planned(mode, classifier, config.trainer.epochs)
    if config.optimizer.l2_sp:
        pulled(plan)  # refused before anything is written
    log.info("\n".join(table_of(plan, classifier, config.optimizer)))
    return plan


def setting_of(
    config: TrainConfig,
    plan: Plan,
    manifest: Manifest,
    store: PixelStore,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Setting:
    return Setting(
        manifest=manifest,
        store=store,
        task=task_of(
            manifest.labels,
            config.loss,
            config.trainer.score,
            manifest.targets()[manifest.rows(Split.TRAIN)],
            epochs=config.trainer.epochs,
            sampler=config.sampler.name,
        ),
        plan=plan,
        optimizer=config.optimizer,
        trainer=config.trainer,
        augmentation=augmentation_of(config.augmentation, manifest.modality),
        seed=config.seed,
        device=device,
        dtype=autocast_dtype(config.trainer.precision, device),
        memory_format=(
            torch.channels_last if config.trainer.channels_last else torch.contiguous_format
        ),
        ranks=ranks,
        sampler=SAMPLERS.bind(config.sampler.name, config.sampler.options),
    )


def state_of(config: TrainConfig, classifier: Classifier, setting: Setting) -> TrainState:
    classifier = classifier.to(setting.device, memory_format=setting.memory_format)  # type: ignore[call-overload]
    if config.trainer.sync_batchnorm:
        for name in ("body", "auxiliary"):
            if (part := getattr(classifier, name)) is not None:
                setattr(classifier, name, convert_sync_batchnorm(part))  # type: ignore[no-untyped-call]
    setting.ranks.align(classifier)
    averages = config.trainer.ema_decay or config.trainer.swa_from is not None
    chosen = config.optimizer
    make = OPTIMIZERS.bind(chosen.name, chosen.options)
    return TrainState(
        classifier=classifier,
        averaged=average_of(classifier) if averages else None,
        optimizer=make(groups_of(classifier, setting.plan, chosen)),
        scaler=torch.amp.GradScaler(setting.device.type, enabled=setting.dtype is torch.float16),
        tally=Tally(setting.device),
    )


def with_start(
    setting: Setting, classifier: Classifier, run: RunFolder, *, resumed: bool
) -> Setting:
    """The setting with the weights that the run began with, if `optimizer.l2_sp` needs them."""
    if not setting.optimizer.l2_sp:
        return setting
    if not resumed and setting.ranks.leads:
        write_start(run.start, classifier, setting.plan)
    return replace(setting, start=setting.ranks.from_leader(lambda: read_start(run.start)))


def with_features(
    config: TrainConfig, setting: Setting, state: TrainState, run: RunFolder, read: Preprocessing
) -> Setting:
    """The setting with the features of the next stage, if its body does not train and is computed
    once."""
    if state.epoch >= setting.trainer.epochs:
        return setting
    stage, classifier = setting.plan.at(state.epoch), state.classifier
    if stage.features == "every_epoch" and not stage.views:
        return setting
    classifier.train_only(setting.plan.training(stage), still=stage.still)
    with setting.ranks.one_a_machine_first():
        body = FrozenBody(
            classifier,
            setting.store,
            setting.manifest,
            preprocessing=read,
            # a rehearsal has to see what it costs
            cache="off" if setting.trainer.dry_run else config.data.cache,
            device=setting.device,
            dtype=setting.dtype,
        )
        repeats = not _shows_each_once(config)
        how, seed = setting.augmentation, setting.seed
        features = features_of(stage, body, how, seed, run.note, repeats=repeats)
    if features:
        if state.averaged:  # more epochs may lead back to this stage from one that trained the body
            state.averaged.body.load_state_dict(classifier.body.state_dict())
        run.facts["features"] = {"computed": body.computed, "seconds": round(body.seconds, 3)}
        run.facts["features"]["views"] = len(features.views)
    return replace(setting, features=features)


def _shows_each_once(config: TrainConfig) -> bool:
    by = config.sampler.options.get("by", "image")
    return config.sampler.name == "shuffle" and by == "image"


def without_places(config: TrainConfig | ProbeConfig) -> dict[str, Any]:
    """The config for checkpoints, which travel: without paths of this machine."""
    stored: dict[str, Any] = without_ways(to_json(config))
    if config.data.root or config.data.path:
        stored["data"]["stand_in"] = None  # it was trained on the images that lay there
    stored["data"].update(root=None, path=None, cache="auto", executor="here")
    stored.update(run_dir=None, checkpoint=None)
    if "old_data" in stored:
        stored["old_data"] = "auto"
    return stored


def plugins_of(config: TrainConfig) -> tuple[dict[str, str], ...]:
    """The entries of other packages that the settings name."""
    names = [
        ("losses", config.loss.name),
        ("datasets", config.data.name),
        ("augmentations", config.augmentation.preset),
        ("scores", config.trainer.score),
        *(("steps", step["name"]) for step in config.data.steps),
    ]
    if config.model and config.head:
        names += [("backbones", config.model.backbone), ("heads", config.head.name)]
    if config.pooling:
        names.append(("poolings", config.pooling.name))
    return used(names)
