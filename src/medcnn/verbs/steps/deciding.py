"""Settings left open (null), decided by the weights that training starts from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TypeVar

from medcnn.config import ModelConfig, to_json
from medcnn.models.weights import at_hand
from medcnn.system.progress import log
from medcnn.system.run_folder import RunFolder
from medcnn.training.tensorboard import changed_settings
from medcnn.verbs.steps.datasets import SCRATCH_PX
from medcnn.verbs.train import TrainConfig


@dataclass(frozen=True, slots=True)
class Advice:
    """The defaults of `train`; docs/transfer.md shows the measurements."""

    lr: float
    size_px: int
    why: str


FROM_SCRATCH = Advice(1e-3, SCRATCH_PX, "random weights have to learn in all layers")
PRETRAINED = Advice(1e-3, 96, "no other choice was clearly better from pretrained weights")


Config = TypeVar("Config", bound=TrainConfig)


def decided(config: Config, run: RunFolder) -> Config:
    """The settings with the open ones decided and recorded in the facts of the run. A resumed run
    keeps its values."""

    def numbers() -> tuple[float, int]:
        begun = run.facts["config"]
        lr, size_px = begun["optimizer"]["lr"], begun["data"]["size_px"]
        if lr is None or size_px is None:
            advice = _advice(config)
            # also for `finetune`, whose number of epochs was not compared with others
            given = changed_settings({**to_json(config), "checkpoint": None})
            chosen = (
                ("transfer", "full", config.transfer.name == "full"),
                ("optimizer.lr", f"{advice.lr:g}", lr is None),
                ("trainer.epochs", config.trainer.epochs, "trainer.epochs" not in given),
                ("data.size_px", advice.size_px, size_px is None),
            )
            said = " ".join(f"{key}={value}" for key, value, ours in chosen if ours)
            log.info(f"{said}: {advice.why} (docs/transfer.md)")
            lr, size_px = lr or advice.lr, size_px or advice.size_px
        return lr, size_px

    lr, size_px = run.ranks.from_leader(numbers)
    config = replace(
        config,
        optimizer=replace(config.optimizer, lr=lr),
        data=replace(config.data, size_px=size_px),
    )
    stored = json.loads(json.dumps(to_json(config)))
    for group in ("optimizer", "data"):
        run.facts["config"][group] |= {
            key: stored[group][key] for key in ("lr", "size_px") if key in stored[group]
        }
    return config


def sized(config: Config) -> Config:
    """The settings with the size of images that `decided` will choose."""
    size_px = config.data.size_px or _advice(config).size_px
    return replace(config, data=replace(config.data, size_px=size_px))


def _advice(config: TrainConfig) -> Advice:
    return PRETRAINED if _pretrained(config) else FROM_SCRATCH


def _pretrained(config: TrainConfig) -> bool:
    """Whether this training starts from the weights of another one."""
    if config.checkpoint is not None or config.model is None:
        return True
    model: ModelConfig = config.model
    return config.transfer.name != "scratch" and at_hand(model.backbone, model.weights)
