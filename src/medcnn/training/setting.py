"""What stays the same from the first step to the last."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from medcnn.config import OptimizerConfig, TrainerConfig
from medcnn.data.manifest import Manifest
from medcnn.pixels.pixel_store import PixelStore
from medcnn.system.distributed import ALONE, Ranks
from medcnn.training.augmentations import Augmentation
from medcnn.training.samplers import Sampler, shuffle
from medcnn.training.tasks import Task
from medcnn.training.transfer import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything that training reads and never changes."""

    manifest: Manifest
    store: PixelStore
    task: Task
    plan: Plan
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    augmentation: Augmentation
    seed: int
    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    ranks: Ranks = ALONE
    sampler: Sampler = shuffle
