"""What the tests of training share: quick settings, and a run of them on coloured images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medcnn.config import AugmentationConfig, TrainConfig, build, config_folder
from medcnn.manifest import Manifest
from medcnn.workflows import auditing, training


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(name: str, **trainer: Any) -> TrainConfig:
        composed = {
            "seed": 0,
            "run_dir": str(tmp_path / name),
            "checkpoint": None,
            "transfer": "full",
            "data": {
                **yaml.safe_load((config_folder() / "base.yaml").read_text())["data"],
                "name": "colours",
                "modality": "dermoscopy",
                "size_px": 32,
                "cache": "off",
            },
            "audit": {"max_bad": 0, "allow": [], "copies": True},
            "model": {"backbone": "resnet18", "weights": "none", "options": {"drop_rate": 0.2}},
            "head": {"name": "mlp", "hidden": 8, "dropout": 0.5},
            "loss": {"name": "auto"},
            "optimizer": {
                "name": "adamw",
                "lr": 1e-3,
                "weight_decay": 0.05,
                "head_lr_factor": 1.0,
            },
            "augmentation": {f.name: None for f in fields(AugmentationConfig)} | {"preset": "auto"},
            "trainer": {
                "epochs": 3,
                "batch_size": 8,
                "micro_batch": "auto",
                "accumulate": 1,
                "warmup_share": 0.3,
                "clip_norm": 1.0,
                "ema_decay": 0.9,
                "score": "auto",
                "patience": None,
                "flip_average": True,
                "precision": "fp32",
                "compile": "auto",
                "channels_last": False,
                "device": "cpu",
                "threads": 1,
                "save_every_s": 0,
                "dry_run": False,
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
    return lambda config: training.train(config, ["train"])
