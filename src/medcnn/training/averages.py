"""Averages of weights over the steps or the epochs of a run.

Of steps: an exponential moving average. Of epochs: stochastic weight averaging (SWA), the mean of
the weights at the end of each late epoch, where each counts the same (Izmailov et al. 2018, UAI).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcnn.config import TrainerConfig
from medcnn.models.classifier import Classifier, unit_range
from medcnn.models.computing import autocast
from medcnn.pixels.batches import Batch
from medcnn.training.augmentations import augment
from medcnn.training.draws import again
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState


class Average:
    """averaged <- decay * averaged + (1 - decay) * model, over parameters and BatchNorm statistics.

    Early on the decay is smaller, (1 + t) / (10 + t), or the average would remember the random
    start (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, averaged: nn.Module, model: nn.Module) -> None:
        ours, theirs = averaged.state_dict().values(), model.state_dict().values()
        pairs = list(zip(ours, theirs, strict=True))
        self.floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        self.whole = [(a, b) for a, b in pairs if not a.is_floating_point()]

    @torch.no_grad()
    def update(self, decay: float, updates: int, skip: Tensor) -> None:
        """Changes nothing if `skip` is 1."""
        decay = min(decay, (1 + updates) / (10 + updates))
        ours, theirs = [a for a, _ in self.floats], [b for _, b in self.floats]
        # a step of gradient descent along the difference: among all operations on lists, this one
        # can be skipped by the device
        torch._fused_sgd_(
            ours,
            torch._foreach_sub(ours, theirs),
            [],
            weight_decay=0.0,
            momentum=0.0,
            lr=1 - decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
            found_inf=skip,
        )
        if self.whole:
            torch._foreach_copy_([a for a, _ in self.whole], [b for _, b in self.whole])


def first_averaged(trainer: TrainerConfig) -> int:
    """The first epoch, from 0, whose final weights are averaged; `epochs` if none are."""
    if trainer.swa_from is None:
        return trainer.epochs
    return min(round(trainer.swa_from * trainer.epochs), trainer.epochs - 1)


def take_in(
    state: TrainState,
    setting: Setting,
    shown: Callable[[], Iterable[Batch]],
    keys: NDArray[np.uint64],
) -> None:
    """Add the weights at the end of an epoch to the mean, once, even if the run is stopped and
    resumed during the validation that follows.

    Args:
        shown: the batches of this epoch. The averaged network gathers its BatchNorm statistics from
            them, since its activations differ from those of its members.
    """
    trainer, ours, theirs = setting.trainer, state.averaged, state.classifier
    if trainer.swa_from is None or ours is None or state.averaged_at == state.epoch:
        return
    if state.epoch < first_averaged(trainer):
        state.averaged_epochs = 0
        if not trainer.ema_decay:  # nothing is averaged yet
            ours.load_state_dict(theirs.state_dict())
        return
    state.averaged_at, state.averaged_epochs = state.epoch, state.averaged_epochs + 1
    values = list(zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    with torch.no_grad():
        floats = [(a, b) for a, b in values if a.is_floating_point()]
        weight = 1 / state.averaged_epochs
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], weight)
        for a, b in values:
            if not a.is_floating_point():
                a.copy_(b)
    layers = [
        a
        for a, b in zip(ours.modules(), theirs.modules(), strict=True)
        # a frozen layer keeps its statistics
        if isinstance(a, _BatchNorm) and b.training and a.track_running_stats
    ]
    if layers:
        with gathering(ours, layers), torch.no_grad():
            _show(state, setting, shown(), keys)
        for layer in layers:
            for value in (layer.running_mean, layer.running_var):
                assert value is not None, "it tracks"
                value.copy_(setting.ranks.summed(value) / setting.ranks.world)


@contextmanager
def gathering(classifier: Classifier, layers: list[_BatchNorm]) -> Iterator[None]:
    """These layers forget their statistics and take the plain mean over batches; no dropout."""
    momenta = [layer.momentum for layer in layers]
    classifier.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        nn.Module.train(layer)
    yield
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    classifier.eval()


def _show(
    state: TrainState, setting: Setting, shown: Iterable[Batch], keys: NDArray[np.uint64]
) -> None:
    assert state.averaged is not None
    for batch in shown:
        own = again(keys[batch.rows], batch.times)
        images = unit_range(batch.images)
        images = augment(images, own, setting.augmentation, seed=setting.seed, epoch=state.epoch)
        images = images.contiguous(memory_format=setting.memory_format)
        for part in images.chunk(-(-len(images) // state.micro_batch)):
            with autocast(setting.dtype, setting.device):
                state.averaged(part)
