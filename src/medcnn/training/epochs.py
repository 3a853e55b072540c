"""The training loop, as a generator: to act after an epoch, write a `for` loop around it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.manifest import Split
from medcnn.models.inference import predict
from medcnn.pixels.batches import Batch, batches, image_keys, num_batches, parts_of
from medcnn.statistics.metrics import table as metrics
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DivergedError, StoppedError, listed
from medcnn.system.progress import WIDTH, lasting, log, track
from medcnn.training.averages import first_averaged, take_in
from medcnn.training.mixing import partners_of
from medcnn.training.optimizers import learning_rates, schedule, set_learning_rates, set_stage
from medcnn.training.samplers import Pool
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState
from medcnn.training.steps import Stepper
from medcnn.training.stopping import Stop
from medcnn.training.tally import NOTHING, Counts
from medcnn.training.tasks import Task
from medcnn.training.transfer import Stage

# The scaler of fp16 begins at 2**16 and halves after each step that overflows, so after 17 of them
# it fits every gradient below 1. A longer row is not the fault of a single image either.
MAX_SKIPPED_IN_A_ROW = 20
# How often the loop reads the counts of the device, which makes it wait.
LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """The result of an epoch.

    Attributes:
        epoch: from 0.
        numbers: flat, with the names that TensorBoard shows (`train/loss`, `val/auroc`, ...).
        predictions: on the validation split.
        score: the chosen validation score; nan if it is not defined.
        improved: whether this is the best epoch so far; if no epoch has a score, the last one is.
    """

    epoch: int
    numbers: dict[str, float]
    predictions: Predictions
    score: float
    improved: bool


class Clock:
    """Images per second, and the share of the time that the loop waited for data."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
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
            self.images += (batch.own or len(batch.rows)) * self.processes
            self.elapsed_s = time.monotonic() - self.start

    def stop(self) -> None:
        """Call this after the device has finished, not when its last task was queued."""
        self.elapsed_s = time.monotonic() - self.start

    def images_per_s(self) -> float:
        return self.images / self.elapsed_s if self.elapsed_s else math.nan

    def wait_share(self) -> float:
        return self.waited_s / self.elapsed_s if self.elapsed_s else math.nan

    def line(self) -> str:
        """Empty before the first batch is done."""
        if not self.images:
            return ""
        return f"{self.images_per_s():.0f} images/s, {self.wait_share():.0%} waiting for data"


def epochs(
    state: TrainState, setting: Setting, *, save: Callable[[], None], stop: Stop
) -> Iterator[EpochResult]:
    """Train from `state` to the last epoch.

    Args:
        save: called when the state must be on disk.
        stop: says which signal came. During validation it raises at once; the state is then that
            at the end of the epoch's steps.

    Raises:
        DivergedError: too many steps in a row, or all of an epoch, were skipped because loss or
            gradient was not finite; or validation logits are not finite.
        StoppedError: a signal came; the state is saved.
        MedcnnError: not even a single image fits into memory.
    """
    trainer, manifest, ranks = setting.trainer, setting.manifest, setting.ranks
    rows = setting.store.readable(manifest.rows(Split.TRAIN))
    validation_rows = manifest.rows(Split.VALIDATION)
    targets, keys = manifest.targets(), image_keys(manifest)
    steps = num_batches(len(rows), trainer.batch_size)
    per_epoch = -(-steps // trainer.accumulate)
    stage: Stage | None = None
    saved_at = started = time.monotonic()
    begun = state.epoch + state.step / max(steps, 1)
    while state.epoch < trainer.epochs:
        order = _order(state, setting, rows)
        coming = _coming(state, setting, targets, order)
        clock = Clock(ranks.world)
        if (now := setting.plan.at(state.epoch)) is not stage:
            stage = now
            stepper = _entered(stage, state, setting, num_batches=trainer.epochs * steps)
        state.classifier.train()
        first = state.step
        look = _Look(state, setting, order)
        timed = track(
            clock.waiting(coming),
            steps - first,
            f"epoch {state.epoch + 1}/{trainer.epochs}",
            lambda clock=clock, look=look: ", ".join(filter(None, (look.line(), clock.line()))),  # type: ignore[misc]
        )
        group: list[Batch] = []
        for batch in timed:
            group.append(batch)
            state.step += 1
            if len(group) < trainer.accumulate and state.step < steps:
                continue
            _set_rates(state, setting, per_epoch)
            micro_batch = state.micro_batch
            update(stepper, group, keys)
            group = []
            late = time.monotonic() - saved_at > trainer.save_every_s > 0
            # clocks and signals differ between processes, so they decide together
            signalled, due, overdue = ranks.any([bool(stop()), look.due(), late])
            if signalled:
                save()
                raise _stopped(stop() or "a signal", state, steps)
            if due:
                look.again()
            # a resumed run must change to smaller parts at the same step
            if overdue or state.micro_batch != micro_batch:
                save()
                saved_at = time.monotonic()
        look.at_the_end(per_epoch)
        clock.stop()
        take_in(state, setting, partial(_coming, state, setting, targets, order, again=True), keys)
        result, said = _finish(state, setting, validation_rows, clock, look.counts, stop)
        log.info(_with_time_left(said, time.monotonic() - started, begun, state, trainer.epochs))
        yield result
        saved_at = time.monotonic()


def _entered(stage: Stage, state: TrainState, setting: Setting, *, num_batches: int) -> Stepper:
    """Freeze parts and set rates for the stage. DistributedDataParallel and torch.compile look only
    once at what trains, so they wrap the classifier again."""
    plan = setting.plan
    state.classifier.train_only(plan.training(stage), still=stage.still)
    set_stage(state.optimizer.param_groups, plan, stage, setting.optimizer)
    if state.step == 0 and state.epoch == plan.first(stage):
        state.micro_batch = 0  # this stage may need more memory than the one before
    return Stepper(state, setting, num_batches=num_batches)


def _order(state: TrainState, setting: Setting, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    pool = Pool(
        manifest=setting.manifest,
        rows=rows,
        seed=setting.seed,
        epoch=state.epoch,
        epochs=setting.trainer.epochs,
    )
    return setting.sampler(pool)


def _coming(
    state: TrainState,
    setting: Setting,
    targets: NDArray[np.float32],
    order: NDArray[np.int64],
    *,
    again: bool = False,
) -> Iterator[Batch]:
    """The remaining batches of the epoch; with `again`, all of them, to be looked at."""
    features = None if again else setting.features_at(state.epoch)
    return batches(
        features.of_epoch(state.epoch) if features else setting.store,
        targets,
        order,
        setting.trainer.batch_size,
        device=setting.device,
        start=0 if again else state.step,
        ranks=setting.ranks,
        partners=(
            None
            if again or features
            else partners_of(setting.augmentation, setting.seed, state.epoch)
        ),
    )


def _set_rates(state: TrainState, setting: Setting, per_epoch: int) -> None:
    begin, length = (n * per_epoch for n in setting.plan.course(state.epoch))
    warmup = round(setting.trainer.warmup_share * length)
    step = state.updates - begin
    if setting.trainer.swa_from is not None:  # averaged weights must keep moving
        step = min(step, max(first_averaged(setting.trainer) * per_epoch - begin, warmup))
    share = schedule(step, total=length, warmup=warmup)
    set_learning_rates(state.optimizer, share)


def _stopped(signal: str, state: TrainState, steps: int) -> StoppedError:
    return StoppedError(
        f"stopped by {signal} in epoch {state.epoch + 1}, step {state.step} of {steps}; everything "
        "is saved, run the same command again to continue."
    )


def _with_time_left(
    said: str, elapsed_s: float, begun: float, state: TrainState, num_epochs: int
) -> str:
    """The line of an epoch, with the remaining time if it is known and fits.

    Args:
        begun: epochs that were done before this sitting, which has lasted `elapsed_s` so far.
    """
    done, rest = state.epoch - begun, num_epochs - state.epoch
    if done <= 0 or rest <= 0:  # only validation was left to do, so the speed is unknown
        return said
    left = f", about {lasting(elapsed_s / done * rest)} left"
    return said + left if len(said + left) <= WIDTH else said


def update(stepper: Stepper, group: list[Batch], keys: NDArray[np.uint64]) -> None:
    stepper.step(group, keys)


class _Look:
    """Reads the counts of the device now and then, and stops a run that diverges."""

    def __init__(self, state: TrainState, setting: Setting, order: NDArray[np.int64]) -> None:
        self.state, self.setting, self.order = state, setting, order
        self.counts = state.tally.read()
        self.looked_at = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.looked_at > LOOK_EVERY_S

    def line(self) -> str:
        """Empty before the first look at a loss."""
        return f"loss {self.counts.mean_loss:.4f}" if self.counts.loss_count else ""

    def again(self) -> None:
        self.counts = self.state.tally.read()
        self.looked_at = time.monotonic()
        if self.counts.most_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise self._diverged()

    def at_the_end(self, per_epoch: int) -> None:
        self.again()
        skipped = self.counts.skipped
        # fp16 needs some steps to find its scale, and an epoch may have no more than these
        if skipped == per_epoch and not self.state.scaler.is_enabled():
            raise self._diverged()
        if self.counts.unpaired:
            seen = self.counts.loss_count + self.counts.unpaired
            log.warning(
                f"epoch {self.state.epoch + 1}: {self.counts.unpaired:.0f} of {seen:.0f} labels "
                "were left out of the loss, since their batch had only one of the two answers. A "
                "larger trainer.batch_size or sampler=balanced leaves out fewer."
            )
        if skipped:
            log.warning(
                f"epoch {self.state.epoch + 1}: {skipped:.0f} of {per_epoch} steps were skipped "
                f"because loss or gradient was not finite; {self._first()}"
            )

    def _first(self) -> str:
        last, accumulate = int(self.counts.first), self.setting.trainer.accumulate
        parts = parts_of(self.order, self.setting.trainer.batch_size)
        rows = np.concatenate(parts[last - last % accumulate : last + 1])
        images_of = [self.setting.manifest.records[i].image_id for i in rows]
        return f"first at step {last + 1}, images {listed(images_of, 8)}."

    def _diverged(self) -> DivergedError:
        rates = learning_rates(self.state.optimizer)
        rate = ", ".join(f"{name} {value:.3g}" for name, value in rates.items())
        return DivergedError(
            f"training diverged in epoch {self.state.epoch + 1}: loss or gradient was not finite "
            f"in {self.counts.skipped:.0f} steps, {self.counts.most_in_a_row:.0f} of them in a "
            f"row; {self._first()} Learning rate now: {rate}. None of these steps was taken, and "
            f"the checkpoints of earlier epochs are intact. {CALMER}"
        )


CALMER = "Lower optimizer.lr, raise trainer.warmup_share, or use trainer.precision=fp32."


def _finish(
    state: TrainState,
    setting: Setting,
    validation_rows: NDArray[np.int64],
    clock: Clock,
    counts: Counts,
    stop: Stop,
) -> tuple[EpochResult, str]:
    """The result of the epoch, and its line for the terminal."""
    task = setting.task
    numbers = {
        "train/loss": counts.mean_loss,
        "train/skipped": counts.skipped,
        "perf/images_per_s": clock.images_per_s(),
        "perf/wait_share": clock.wait_share(),
        **{f"lr/{name}": rate for name, rate in learning_rates(state.optimizer).items()},
    }
    before = time.monotonic()
    with stop.turned(patient=False):
        setting.ranks.align(state.judged)
        features = setting.features_at(state.epoch)
        predictions = predict(
            state.judged.head if features else state.judged,
            features.plain if features else setting.store,
            setting.manifest,
            validation_rows,
            split=Split.VALIDATION,
            batch_size=setting.trainer.batch_size,
            device=setting.device,
            dtype=torch.float32 if features else setting.dtype,
            ranks=setting.ranks,
        )
    numbers["perf/val_images_per_s"] = len(predictions.image_ids) / (time.monotonic() - before)
    lost = np.flatnonzero(~np.isfinite(predictions.logits).all(axis=1))
    if len(lost):
        raise DivergedError(
            f"training diverged in epoch {state.epoch + 1}: the logits of {len(lost)} of "
            f"{len(predictions.image_ids)} validation images are not finite, such as those of "
            f"{listed([predictions.image_ids[i] for i in lost], 3)}. The checkpoints of earlier "
            f"epochs are intact. {CALMER}"
        )
    score = metrics.score(predictions, task.score)
    numbers[f"val/{task.score}"] = score
    numbers["val/loss"] = validation_loss(predictions, task, state.epoch)
    improved = is_better(score, state.best_score, task.higher_is_better)
    epoch = state.epoch
    if improved:
        state.best_epoch = epoch
        state.best_score = None if math.isnan(score) else score
    state.history.append({"epoch": epoch + 1, **numbers})
    state.epoch, state.step = epoch + 1, 0
    state.tally.set(NOTHING)
    result = EpochResult(
        epoch=epoch, numbers=numbers, predictions=predictions, score=score, improved=improved
    )
    return result, (
        f"epoch {epoch + 1:>3}/{setting.trainer.epochs}  loss {numbers['train/loss']:.4f}  "
        f"val {task.score} {score:.4f}{' *' if improved else '  '}  {clock.line()}"
    )


def validation_loss(predictions: Predictions, task: Task, epoch: int) -> float:
    """The training loss of the validation logits. Without mixup and dropout, it can be below the
    loss on training images. nan if nothing was assessed."""
    logits, targets = (torch.from_numpy(v) for v in (predictions.logits, predictions.targets))
    total, count = task.loss(logits, targets, epoch)
    return float(total / count) if count else math.nan


def is_better(score: float, best: float | None, higher: bool) -> bool:
    """An undefined score (only one class in validation) is never better than a defined one."""
    if best is None:
        return True
    return score > best if higher else score < best
