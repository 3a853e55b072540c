"""What TensorBoard shows: the numbers of every epoch, images as the network sees them, precision
and recall per class, the confusion matrix, and the settings beside the result."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from medcnn.pages.figures import confusion_figure
from medcnn.statistics.curves import confusion
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import Evaluation
from medcnn.system.progress import log
from medcnn.training.epochs import EpochResult


def _forgiving(write: Callable[..., None]) -> Callable[..., None]:
    """What cannot be written any more is given up with one warning: nothing else depends on it."""

    @functools.wraps(write)
    def unless_it_failed(board: Board, *arguments: Any) -> None:
        if board.works:
            try:
                write(board, *arguments)
            except OSError as error:
                if board.works:
                    log.warning(
                        f"TensorBoard's curves cannot be written ({error.strerror}); training goes "
                        "on without them"
                    )
                board.works = False

    return unless_it_failed


class Board:
    """One event file per sitting, all in the same folder: a resumed run goes on in its curves."""

    def __init__(self, folder: Path, first_epoch: int, *, works: bool = True) -> None:
        self.works = works
        # the thread that writes keeps its error for the next call, and need not print it too
        self.hook, threading.excepthook = threading.excepthook, self._hush
        self._begin(folder, first_epoch)

    def _hush(self, args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            self.hook(args)

    @_forgiving
    def _begin(self, folder: Path, first_epoch: int) -> None:
        # readers go by name, and a name holds the time, which may have been set back since
        for number, earlier in enumerate(sorted(folder.glob("events.out.tfevents.*"))):
            earlier.rename(folder / f"events.out.tfevents.{number:010d}.earlier")
        # purge_step hides what a killed sitting wrote of an epoch that is trained again
        self.writer = SummaryWriter(str(folder), purge_step=first_epoch)

    @_forgiving
    def images(self, images: Tensor) -> None:
        """Up to 16 images [B, C, H, W] in 0..1, as they enter the network."""
        grid = make_grid(images[:16].float().cpu(), nrow=4)
        self.writer.add_image("images/as_the_network_sees_them", grid, 0)

    @_forgiving
    def epoch(self, result: EpochResult) -> None:
        for name, value in result.numbers.items():
            self.writer.add_scalar(name, value, result.epoch)
        if result.improved:
            self.predictions(result.predictions, result.epoch)
        self.writer.flush()

    @_forgiving
    def predictions(self, predictions: Predictions, epoch: int) -> None:
        split, probabilities = predictions.split, predictions.probabilities
        for k, name in enumerate(predictions.labels.outputs):
            assessed = ~np.isnan(predictions.targets[:, k])
            if assessed.any():
                self.writer.add_pr_curve(
                    f"pr_{split}/{name}",
                    predictions.targets[assessed, k].astype(int),
                    probabilities[assessed, k],
                    epoch,
                )
        if predictions.labels.exclusive:
            figure = confusion_figure(confusion(predictions), predictions.labels.names)
            self.writer.add_figure(f"confusion_matrix/{split}", figure, epoch)

    @_forgiving
    def evaluation(self, evaluation: Evaluation, epoch: int) -> None:
        """Every score under its name in `metrics.json`: `test/auroc`, `test/f1/melanoma`."""
        for s in evaluation.scores:
            if not math.isnan(s.value):
                parts = (evaluation.split, s.name, s.label or s.average)
                self.writer.add_scalar("/".join(p for p in parts if p), s.value, epoch)

    @_forgiving
    def settings(self, config: Mapping[str, Any], scores: Mapping[str, float], epoch: int) -> None:
        """The settings and final scores of this run, in the same run of the hparams page."""
        flat = {k: v for k, v in _flat(config) if isinstance(v, bool | int | float | str)}
        for summary in hparams(flat, dict(scores)):
            self.writer._get_file_writer().add_summary(summary)
        for name, value in scores.items():
            self.writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        with suppress(OSError, AttributeError):
            self.writer.close()
        threading.excepthook = self.hook


def _flat(nested: Mapping[str, Any], key: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in nested.items():
        path = f"{key}.{name}" if key else name
        pairs += _flat(value, path) if isinstance(value, Mapping) else [(path, value)]
    return pairs
