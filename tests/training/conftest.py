"""What the tests of training share: quick settings, and a run of them on coloured images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medcnn.config import build
from medcnn.data.manifest import Manifest
from medcnn.system.paths import config_folder
from medcnn.verbs import train as train_verb
from medcnn.verbs.steps import auditing
from medcnn.verbs.train import TrainConfig


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(name: str, **trainer: Any) -> TrainConfig:
        train, base = (
            yaml.safe_load((config_folder() / f"{name}.yaml").read_text())
            for name in ("train", "base")
        )
        del train["defaults"]
        composed = {
            **train,
            "run_dir": str(tmp_path / name),
            "checkpoint": None,
            "explain": None,
            "data": {
                **base["data"],
                "name": "colours",
                "modality": "dermoscopy",
                "size_px": 32,
                "cache": "off",
            },
            "model": {
                "backbone": "test_resnet",
                "weights": "none",
                "partial": False,
                "drop_path": None,
                "auxiliary": False,
                "options": {"drop_rate": 0.2},
            },
            "pooling": {"name": "auto"},
            "head": {"name": "mlp", "hidden": 8, "dropout": 0.5},
            "transfer": {"name": "full"},
            "sampler": {"name": "shuffle"},
            "loss": {"name": "auto"},
            "optimizer": {
                "name": "adamw",
                "lr": 1e-3,
                "weight_decay": 0.05,
                "l2_sp": 0.0,
                "head_lr_factor": 1.0,
            },
            "trainer": {
                **train["trainer"],
                "epochs": 3,
                "batch_size": 8,
                "warmup_share": 0.3,
                "ema_decay": 0.9,
                "precision": "fp32",
                "channels_last": False,
                "device": "cpu",
                "threads": 1,
                "save_every_s": 0,
                **trainer,
            },
        }
        return build(TrainConfig, composed, {})

    return make


@pytest.fixture
def train(
    colours: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> Callable[[TrainConfig], Path]:
    manifest = colours()
    monkeypatch.setattr(auditing, "manifest_to_audit", lambda *_: (manifest, ""))
    return lambda config: train_verb.train(config, ["train"])
