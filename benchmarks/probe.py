"""Ten epochs of a linear probe of resnet18 at 224 px: the body computed once, or in every epoch.

    python benchmarks/probe.py [IMAGES] > benchmarks/results/probe-cpu.json

One thread, one process, noise for pixels (which are in memory, so nothing is decoded). Both runs
start from the same weights and take turns epoch by epoch, validation included; the time for the
features counts for the run that has them. Processor and wall time; what both learn is compared.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medcnn.cli.compose import read_command
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.models.features import FrozenBody
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.segments import Memory
from medcnn.system.run_facts import versions
from medcnn.training.epochs import EpochResult, epochs
from medcnn.training.frozen import features_of
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState
from medcnn.training.stopping import Stop
from medcnn.verbs.steps.datasets import preprocessing_of
from medcnn.verbs.steps.starting import plan_of, setting_of, state_of
from medcnn.verbs.train import TrainConfig

EPOCHS, SIZE_PX = 10, 224
WORDS = (
    *("data=phantom", "model=resnet18", "model.weights=none", "transfer=linear_probe"),
    *(f"data.size_px={SIZE_PX}", f"trainer.epochs={EPOCHS}", "trainer.device=cpu"),
    *("augmentation.preset=none", "trainer.precision=fp32"),
)


def manifest_of(count: int) -> Manifest:
    """Three classes; every fifth image is for validation."""
    labels = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c"))
    return Manifest(
        source="noise",
        root=Path(),
        labels=labels,
        modality=Modality.OTHER,
        records=tuple(
            Record(
                image_id=f"i{i}",
                path=f"{i}.png",
                group=f"p{i}",
                target=labels.encode(["abc"[i % 3]]),
                split=Split.VALIDATION if i % 5 == 0 else Split.TRAIN,
            )
            for i in range(count)
        ),
    )


def store_of(count: int) -> PixelStore:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, SIZE_PX, SIZE_PX), np.uint8)
    images[:, :, ::8] //= 1 + (np.arange(count) % 3).astype(np.uint8)[:, None, None, None]
    slots = np.arange(count)
    return PixelStore(
        shape=(3, SIZE_PX, SIZE_PX),
        dtype=np.dtype(np.uint8),
        segments=[Memory(images)],
        places=np.stack([np.zeros_like(slots), slots], axis=1),
        crcs=slots.astype(np.uint32),
        checked=np.ones(count, np.bool_),
        unreadable={},
        again=lambda rows: {},
    )


def prepared(config: TrainConfig, count: int) -> tuple[TrainState, Setting]:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="resnet18",
        options={},
        head="linear",
        head_options={},
        channels=3,
        size_px=SIZE_PX,
    )
    classifier, _ = build_classifier(architecture, 3)
    plan, device = plan_of(config, classifier), torch.device("cpu")
    setting = setting_of(config, plan, manifest_of(count), store_of(count), device)
    return state_of(config, classifier, setting), setting


def with_features(config: TrainConfig, state: TrainState, setting: Setting) -> Setting:
    stage = setting.plan.stages[0]
    state.classifier.train_only(setting.plan.training(stage))
    body = FrozenBody(
        state.classifier,
        setting.store,
        setting.manifest,
        preprocessing=preprocessing_of(config.data),
        cache="off",
        device=setting.device,
        dtype=setting.dtype,
    )
    return replace(setting, features=features_of(stage, body, setting.augmentation, 0, print))


@dataclass
class Clock:
    """Of one of the two runs, over all its turns."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    losses: list[float] = field(default_factory=list)

    def timed(self, do: Callable[[], Any]) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        made = do()
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.perf_counter() - wall
        return made


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    torch.set_num_threads(1)
    config = read_command("train", list(WORDS)).config
    every, once = Clock(), Clock()
    runs: list[tuple[Clock, Iterator[EpochResult]]] = []
    for clock in (every, once):
        state, setting = prepared(config, count)
        if clock is once:
            setting = clock.timed(lambda: with_features(config, state, setting))  # noqa: B023
            assert setting.features is not None
        trained = epochs(state, setting, save=lambda: None, stop=Stop(patient=True))
        runs.append((clock, trained))
    for _ in range(EPOCHS):
        for clock, trained in runs:
            result = clock.timed(lambda: next(trained))  # noqa: B023
            clock.losses.append(result.numbers["val/loss"])
    differences = np.abs(np.array(every.losses) - np.array(once.losses))
    print(
        json.dumps(
            {
                "command": f"python benchmarks/probe.py {count}",
                "images": count,
                "epochs": EPOCHS,
                "every_epoch_cpu_s": round(every.cpu_s, 2),
                "once_cpu_s": round(once.cpu_s, 2),
                "cpu_ratio": round(once.cpu_s / every.cpu_s, 4),
                "every_epoch_wall_s": round(every.wall_s, 2),
                "once_wall_s": round(once.wall_s, 2),
                "wall_ratio": round(once.wall_s / every.wall_s, 4),
                "largest_difference_of_validation_loss": float(differences.max()),
                "processor": platform.machine(),
                "versions": versions(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
