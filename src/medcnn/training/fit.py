"""Our own consumer of `epochs`: checkpoints, TensorBoard, early stopping, signals."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from torch import Tensor

from medcnn import checkpoint as checkpoints
from medcnn.augmentations import augment
from medcnn.checkpoint import Checkpoint
from medcnn.errors import StoppedError
from medcnn.loading.batches import batches, epoch_order, image_keys
from medcnn.manifest import Split
from medcnn.models.classifier import unit_range
from medcnn.progress import log
from medcnn.run_folder import RunFolder
from medcnn.training.epochs import EpochResult, epochs
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState
from medcnn.training.tensorboard import Board


def fit(
    state: TrainState,
    setting: Setting,
    run: RunFolder,
    board: Board,
    describe: Callable[[EpochResult], Checkpoint],
) -> None:
    """Train to the end, from where `state` stands.

    After each epoch `last.safetensors` and, where the validation score is the best so far,
    `best.safetensors` are written; the resume state comes last, so that a kill between the two
    only repeats the epoch, to the same result.
    """
    patience = setting.trainer.patience
    if state.epoch == 0 and state.step == 0:
        board.images(example_images(setting))
    with signals() as stop_asked:
        if _too_long_without_gain(state, patience):
            return  # the run was killed after its last epoch and before its evaluation
        for result in epochs(
            state, setting, save=lambda: state.save(run.resume), stop_asked=stop_asked
        ):
            description = describe(result)
            checkpoints.save(run.last, state.judged, description)
            if result.improved:
                checkpoints.save(run.best, state.judged, description)
            state.save(run.resume)
            board.epoch(result)
            if signal_name := stop_asked():
                raise StoppedError(
                    f"stopped by {signal_name} after epoch {state.epoch}; everything is saved, run "
                    "the same command again to go on."
                )
            if _too_long_without_gain(state, patience):
                log.info(
                    f"no better val {setting.task.score} in {patience} epochs: stopped early, the "
                    f"best was epoch {(state.best_epoch or 0) + 1}"
                )
                return


def _too_long_without_gain(state: TrainState, patience: int | None) -> bool:
    if patience is None or state.best_epoch is None:
        return False
    return state.epoch - 1 - state.best_epoch >= patience


def example_images(setting: Setting) -> Tensor:
    rows = setting.store.readable(setting.manifest.rows(Split.TRAIN))
    order = epoch_order(rows, seed=setting.seed, epoch=0)[:16]
    targets = setting.manifest.targets()
    batch = next(batches(setting.store, targets, order, 16, device=setting.device))
    return augment(
        unit_range(batch.images),
        image_keys(setting.manifest)[batch.rows],
        setting.augmentation,
        seed=setting.seed,
        epoch=0,
    )


@contextmanager
def signals() -> Iterator[Callable[[], str]]:
    """SIGTERM and the first Ctrl-C ask the loop to save and stop; a second Ctrl-C stops at once."""
    asked: list[str] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked[0] if asked else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
