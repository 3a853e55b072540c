"""All that changes while training, and how it is saved and taken up again.

Random numbers are a function of (seed, epoch, step), so no generator has a state to save.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medcnn.errors import CheckpointError
from medcnn.files import replacing
from medcnn.models.classifier import Classifier


@dataclass(slots=True, kw_only=True)
class TrainState:
    """The one thing that may change.

    Attributes:
        averaged: exponential moving average of the classifier, or None.
        epoch: that is being trained, from 0.
        step: micro-batches of this epoch that are done.
        updates: of the optimizer, over all epochs.
        loss_sum: of this epoch so far, over `loss_count` assessed labels or images.
        history: one flat dict of numbers per finished epoch.
    """

    classifier: Classifier
    averaged: Classifier | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    step: int = 0
    updates: int = 0
    loss_sum: float = 0.0
    loss_count: float = 0.0
    best_score: float | None = None
    best_epoch: int | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def judged(self) -> Classifier:
        """The classifier that is validated and saved: the average where there is one."""
        return self.averaged or self.classifier

    def save(self, path: Path) -> None:
        modules = {"classifier": self.classifier, "averaged": self.averaged}
        stored = {
            **{k: m.state_dict() for k, m in modules.items() if m is not None},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
        }
        with replacing(path) as temporary:
            torch.save(stored, temporary)

    def load(self, path: Path) -> None:
        """Take up where `save` left.

        Raises:
            CheckpointError: the file is damaged or belongs to another network.
        """
        try:
            stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            self.classifier.load_state_dict(stored["classifier"])
            if self.averaged is not None:
                self.averaged.load_state_dict(stored["averaged"])
            self.optimizer.load_state_dict(stored["optimizer"])
            self.scaler.load_state_dict(stored["scaler"])
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} cannot be taken up again: {str(error).splitlines()[0]}. Remove that one "
                "file to start this run afresh, or give another run_dir."
            ) from error
        for name, value in stored["numbers"].items():
            setattr(self, name, value)


_NUMBERS = (
    "epoch",
    "step",
    "updates",
    "loss_sum",
    "loss_count",
    "best_score",
    "best_epoch",
    "history",
)


def average_of(classifier: Classifier) -> Classifier:
    averaged = copy.deepcopy(classifier)
    averaged.requires_grad_(False)
    return averaged.eval()


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, decay: float, updates: int) -> None:
    """averaged <- decay * averaged + (1 - decay) * model, over parameters and BatchNorm statistics.

    Early on the decay is smaller, (1 + t) / (10 + t), or the average would remember the random
    start (as in TensorFlow's ExponentialMovingAverage).
    """
    decay = min(decay, (1 + updates) / (10 + updates))
    ours, theirs = list(averaged.state_dict().values()), list(model.state_dict().values())
    floats = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
    for a, b in zip(ours, theirs, strict=True):
        if not a.is_floating_point():
            a.copy_(b)
