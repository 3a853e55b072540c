"""The loop, as a generator: whoever wants to act after an epoch writes a `for` around it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medcnn import metrics
from medcnn.augmentations import Augmentation, augment, mixup
from medcnn.config import TrainerConfig
from medcnn.errors import DivergedError, StoppedError, listed
from medcnn.inference import autocast, predict
from medcnn.loading.batches import Batch, batches, epoch_order, image_keys, num_batches
from medcnn.loading.pixel_store import PixelStore
from medcnn.manifest import Manifest, Split
from medcnn.models.classifier import unit_range
from medcnn.predictions import Predictions
from medcnn.progress import log, track
from medcnn.tasks import Task
from medcnn.training.optimizers import learning_rates, schedule, set_learning_rates
from medcnn.training.state import TrainState, update_average
from medcnn.training.stopping import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What an epoch led to.

    Attributes:
        epoch: from 0.
        numbers: flat, under the names that TensorBoard shows (`train/loss`, `val/auroc`, ...).
        predictions: of the validation split.
        score: the chosen validation score; nan where it is not defined.
        improved: whether this is the best epoch so far.
    """

    epoch: int
    numbers: dict[str, float]
    predictions: Predictions
    score: float
    improved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything that stays the same from the first step to the last."""

    manifest: Manifest
    store: PixelStore
    task: Task
    trainer: TrainerConfig
    augmentation: Augmentation
    seed: int
    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format


class Clock:
    """Images per second, and the share of the time that the loop waited for data."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.waited_s = self.elapsed_s = 0.0
        self.images = 0

    def waiting(self, coming: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            before = time.monotonic()
            batch = next(coming, None)
            self.waited_s += time.monotonic() - before
            if batch is None:
                return
            yield batch
            self.images += len(batch.rows)
            self.elapsed_s = time.monotonic() - self.start

    def images_per_s(self) -> float:
        return self.images / self.elapsed_s if self.elapsed_s else math.nan

    def wait_share(self) -> float:
        return self.waited_s / self.elapsed_s if self.elapsed_s else math.nan

    def line(self) -> str:
        return f"{self.images_per_s():.0f} images/s, {self.wait_share():.0%} waiting for data"


def epochs(
    state: TrainState,
    setting: Setting,
    *,
    save: Callable[[], None],
    stop: Stop,
) -> Iterator[EpochResult]:
    """Train from where `state` stands to the last epoch.

    Args:
        save: called when the state must survive what comes next.
        stop: says which signal came; in validation it raises at once, and the state stands at the
            end of the epoch's steps.

    Raises:
        DivergedError: the loss or a gradient is not finite; the step is not taken.
        StoppedError: a signal came; the state is saved.
    """
    trainer, manifest = setting.trainer, setting.manifest
    rows = setting.store.readable(manifest.rows(Split.TRAIN))
    validation_rows = manifest.rows(Split.VALIDATION)
    targets, keys = manifest.targets(), image_keys(manifest)
    steps = num_batches(len(rows), trainer.batch_size)
    per_epoch = -(-steps // trainer.accumulate)
    saved_at = time.monotonic()
    while state.epoch < trainer.epochs:
        order = epoch_order(rows, seed=setting.seed, epoch=state.epoch)
        coming = batches(
            setting.store,
            targets,
            order,
            trainer.batch_size,
            device=setting.device,
            start=state.step,
        )
        clock = Clock()
        state.classifier.train()
        rates = learning_rates(state.optimizer)
        first = state.step
        timed = track(
            clock.waiting(coming),
            steps - first,
            f"epoch {state.epoch + 1}/{trainer.epochs}",
            lambda clock=clock: f"loss {_mean_loss(state):.4f} {clock.line()}",  # type: ignore[misc]
        )
        group: list[Batch] = []
        for batch in timed:
            group.append(batch)
            state.step += 1
            if len(group) < trainer.accumulate and state.step < steps:
                continue
            share = schedule(
                state.updates,
                total=trainer.epochs * per_epoch,
                warmup=round(trainer.warmup_share * trainer.epochs * per_epoch),
            )
            rates = set_learning_rates(state.optimizer, share)
            update(state, setting, group, keys, rates)
            group = []
            if signal := stop():
                save()
                raise StoppedError(
                    f"stopped by {signal} in epoch {state.epoch + 1}, step {state.step} of "
                    f"{steps}; everything is saved, run the same command again to go on."
                )
            if trainer.save_every_s and time.monotonic() - saved_at > trainer.save_every_s:
                save()
                saved_at = time.monotonic()
        yield _finish(state, setting, validation_rows, rates, clock, stop)
        saved_at = time.monotonic()


def update(
    state: TrainState,
    setting: Setting,
    group: list[Batch],
    keys: NDArray[np.uint64],
    rates: dict[str, float],
) -> None:
    """One step of the optimizer over a group of micro-batches, averaged over what was assessed."""
    trainer, device = setting.trainer, setting.device
    sums, counts = [], []
    first_step = state.step - len(group)
    for position, batch in enumerate(group):
        step = first_step + position
        # dropout and its like draw from here, the same after a restart
        torch.manual_seed(_seed_of(setting.seed, state.epoch, step))
        images = augment(
            unit_range(batch.images),
            keys[batch.rows],
            setting.augmentation,
            seed=setting.seed,
            epoch=state.epoch,
        )
        images, targets = mixup(
            images,
            batch.targets,
            setting.augmentation.mixup_alpha,
            seed=setting.seed,
            epoch=state.epoch,
            step=step,
        )
        images = images.contiguous(memory_format=setting.memory_format)
        with autocast(setting.dtype, device):
            logits = state.classifier(images)
        loss_sum, count = setting.task.loss(logits.float(), targets)
        state.scaler.scale(loss_sum / trainer.batch_size).backward()
        sums.append(loss_sum.detach())
        counts.append(count)
    total, count_all = float(torch.stack(sums).sum()), float(torch.stack(counts).sum())
    if count_all == 0:
        state.optimizer.zero_grad(set_to_none=True)
        return  # not one label of these images was assessed: there is nothing to learn from
    state.scaler.unscale_(state.optimizer)
    parameters = [p for g in state.optimizer.param_groups for p in g["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    # dividing by the batch size kept half precision in range; the true divisor is known only now
    factor = trainer.batch_size / count_all
    norm = float(nn.utils.get_total_norm(gradients)) * factor
    if trainer.clip_norm is not None and norm > trainer.clip_norm:
        factor *= trainer.clip_norm / norm
    if not math.isfinite(total) or not (state.scaler.is_enabled() or math.isfinite(norm)):
        images_of = [setting.manifest.records[i].image_id for b in group for i in b.rows]
        rate = ", ".join(f"{name} {value:.3g}" for name, value in rates.items())
        raise DivergedError(
            f"training diverged in epoch {state.epoch + 1}, step {state.step}: loss "
            f"{total / count_all:g}, gradient norm {norm:g}, learning rate {rate}. Images "
            f"of this step: {listed(images_of, 8)}. The step was not taken and the checkpoints of "
            "earlier epochs are whole. Lower optimizer.lr, raise trainer.warmup_share, or use "
            "trainer.precision=fp32."
        )
    torch._foreach_mul_(gradients, factor)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.loss_sum += total
    state.loss_count += count_all
    state.updates += 1
    if state.averaged is not None:
        update_average(state.averaged, state.classifier, trainer.ema_decay, state.updates)


def _finish(
    state: TrainState,
    setting: Setting,
    validation_rows: NDArray[np.int64],
    rates: dict[str, float],
    clock: Clock,
    stop: Stop,
) -> EpochResult:
    task = setting.task
    numbers = {
        "train/loss": _mean_loss(state),
        "perf/images_per_s": clock.images_per_s(),
        "perf/wait_share": clock.wait_share(),
        **{f"lr/{name}": rate for name, rate in rates.items()},
    }
    with stop.at_once():
        predictions = predict(
            state.judged,
            setting.store,
            setting.manifest,
            validation_rows,
            split=Split.VALIDATION,
            batch_size=setting.trainer.batch_size,
            device=setting.device,
            dtype=setting.dtype,
        )
    score = metrics.score(predictions, task.score)
    numbers[f"val/{task.score}"] = score
    improved = is_better(score, state.best_score, task.higher_is_better)
    epoch = state.epoch
    if improved:
        state.best_epoch = epoch
        state.best_score = None if math.isnan(score) else score
    state.history.append({"epoch": epoch + 1, **numbers})
    state.epoch, state.step, state.loss_sum, state.loss_count = epoch + 1, 0, 0.0, 0.0
    log.info(
        f"epoch {epoch + 1:>3}/{setting.trainer.epochs}  loss {numbers['train/loss']:.4f}  "
        f"val {task.score} {score:.4f}{' *' if improved else '  '}  {clock.line()}"
    )
    return EpochResult(
        epoch=epoch, numbers=numbers, predictions=predictions, score=score, improved=improved
    )


def is_better(score: float, best: float | None, higher: bool) -> bool:
    """A score that is not defined (one class in validation) is never better than one that is."""
    if best is None:
        return True
    return score > best if higher else score < best


def _mean_loss(state: TrainState) -> float:
    return state.loss_sum / state.loss_count if state.loss_count else math.nan


def _seed_of(seed: int, epoch: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, step, 2)).generate_state(1)[0])
