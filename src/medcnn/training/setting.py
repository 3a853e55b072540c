"""Everything that stays the same from the first step to the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medcnn.config import OptimizerConfig, TrainerConfig
from medcnn.data.manifest import Manifest
from medcnn.pixels.pixel_store import PixelStore
from medcnn.system.distributed import ALONE, Ranks
from medcnn.training.augmentations import Augmentation
from medcnn.training.frozen import Features
from medcnn.training.samplers import Sampler, shuffle
from medcnn.training.tasks import Task
from medcnn.training.transfer import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything that training reads and never changes.

    Attributes:
        start: the starting weights, if `optimizer.l2_sp` pulls to them.
    """

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
    start: Mapping[str, Tensor] = field(default_factory=dict)
    features: Features | None = None

    def features_at(self, epoch: int) -> Features | None:
        """The features that replace the images in this epoch, or None."""
        here = self.features and self.plan.at(epoch) is self.features.stage
        return self.features if here else None
