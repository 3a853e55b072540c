"""medcnn's own loop around `epochs`: checkpoints, TensorBoard, early stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from medcnn.data.manifest import Split
from medcnn.models import checkpoint as checkpoints
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import unit_range
from medcnn.pixels.batches import batches, epoch_order, image_keys
from medcnn.system.errors import MedcnnError, StoppedError
from medcnn.system.files import write_bytes
from medcnn.system.progress import log
from medcnn.system.run_folder import RunFolder
from medcnn.training.augmentations import augment
from medcnn.training.epochs import EpochResult, epochs
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState
from medcnn.training.stopping import Interrupted, signals
from medcnn.training.tensorboard import Board
from medcnn.training.watching import trouble, watch


def fit(
    state: TrainState,
    setting: Setting,
    run: RunFolder,
    board: Board,
    describe: Callable[[EpochResult], Checkpoint],
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Train from `state` to the end.

    After each epoch `last.safetensors` is written, and `best.safetensors` if the validation score
    is the best so far. The resume state comes last: if the run is killed in between, the epoch is
    repeated with the same result.

    Args:
        watch: called when an epoch is saved; may raise StoppedError.

    Raises:
        MedcnnError: the last state could not be written.
        StoppedError: a signal came; everything is saved.
    """
    keeper = Keeper(state, run)
    if state.epoch == 0:  # images of an earlier sitting are hidden, like its other events
        board.images(example_images(setting))
    with signals(patient=True) as stop:
        try:
            # a resumed run that had stopped early has nothing left to train
            early = _ends_early(state, setting)
            for result in () if early else epochs(state, setting, save=keeper.save, stop=stop):
                if setting.ranks.leads:
                    keeper.hold(result, describe(result))
                board.epoch(result)
                if setting.trainer.watch and setting.ranks.leads:
                    look_closer(state, setting, board, result.epoch)
                keeper.save()
                watch()
                if any(setting.ranks.any([bool(stop())])):
                    raise Interrupted(stop() or "a signal")
                if _ends_early(state, setting):
                    break
        except Interrupted as signal:
            if state.step:
                keeper.save()
            when = f"at the end of epoch {state.epoch + 1}" if state.step else "between two epochs"
            keeper.complain()
            raise StoppedError(
                f"stopped by {signal} {when}; everything is saved, run the same command again to "
                "continue."
            ) from None
        except StoppedError:
            keeper.complain()
            raise
    keeper.complain()


def look_closer(state: TrainState, setting: Setting, board: Board, epoch: int) -> None:
    """Write dead ReLUs and gradients to TensorBoard, and after the last epoch warn about what keeps
    layers from learning. The state does not change."""
    if setting.features_at(epoch):  # the body is not computed
        return
    found = watch(state.classifier, setting, epoch)
    board.numbers(found, epoch)
    for line in trouble(found) if epoch + 1 == setting.trainer.epochs else ():
        log.warning(f"trainer.watch: {line}")


class Keeper:
    """Writes checkpoints and states. A full disk causes a warning, not the end of the run: the next
    save tries again, and earlier files stay intact."""

    def __init__(self, state: TrainState, run: RunFolder) -> None:
        self.state, self.run = state, run
        self.held: dict[Path, bytes] = {}
        self.fault = ""

    def hold(self, result: EpochResult, description: Checkpoint) -> None:
        content = checkpoints.serialised(self.state.judged, description)
        self.held[self.run.last] = content
        if result.improved:
            self.held[self.run.best] = content

    def save(self) -> None:
        """The resume state comes last: it must not name a best epoch whose weights are missing."""
        if not self.run.ranks.leads:
            return
        try:
            for path in list(self.held):
                write_bytes(path, self.held[path])
                del self.held[path]
            self.state.save(self.run.resume)
        except OSError as error:
            self.fault = error.strerror or type(error).__name__
            log.warning(
                f"{self.run.checkpoints} cannot be written ({self.fault}); earlier files are "
                "intact, training continues, and the next save tries again"
            )
        else:
            self.fault, self.run.went_on = "", True

    def complain(self) -> None:
        """Raises MedcnnError if the last save failed."""
        if self.fault:
            raise MedcnnError(
                f"{self.run.checkpoints} could not be written ({self.fault}). Earlier files are "
                "intact: free disk space, then run the same command again to continue from there."
            )


def stopped_early(state: TrainState, setting: Setting) -> bool:
    """No better epoch for `trainer.patience` epochs of the last stage."""
    patience, plan = setting.trainer.patience, setting.plan
    if patience is None or state.best_epoch is None:
        return False
    since = max(state.best_epoch, plan.first(plan.stages[-1]) - 1)
    return state.epoch - 1 - since >= patience


def _ends_early(state: TrainState, setting: Setting) -> bool:
    """`stopped_early`, and says so."""
    if early := stopped_early(state, setting):
        assert state.best_epoch is not None
        log.info(
            f"no better val {setting.task.score} in {setting.trainer.patience} epochs: stopped "
            f"early, the best was epoch {state.best_epoch + 1}"
        )
    return early


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
