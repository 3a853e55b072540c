"""What TensorBoard shows: the numbers of every epoch, images as the network sees them, precision
and recall per class, the confusion matrix, and the settings beside the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from medcnn.evaluation.curves import confusion
from medcnn.evaluation.figures import confusion_figure
from medcnn.predictions import Predictions
from medcnn.training.epochs import EpochResult


class Board:
    """One event file per sitting, all in the same folder: a resumed run goes on in its curves."""

    def __init__(self, folder: Path, first_epoch: int) -> None:
        # purge_step hides what a killed sitting wrote of an epoch that is trained again
        self.writer = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def images(self, images: Tensor) -> None:
        """Up to 16 images [B, C, H, W] in 0..1, as they enter the network."""
        grid = make_grid(images[:16].float().cpu(), nrow=4)
        self.writer.add_image("images/as_the_network_sees_them", grid, 0)

    def epoch(self, result: EpochResult) -> None:
        for name, value in result.numbers.items():
            self.writer.add_scalar(name, value, result.epoch)
        if result.improved:
            self.predictions(result.predictions, result.epoch)
        self.writer.flush()

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

    def settings(self, config: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        """The settings and final scores of this run, in the same run of the hparams page."""
        flat = {k: v for k, v in _flat(config) if isinstance(v, bool | int | float | str)}
        for summary in hparams(flat, dict(scores)):
            self.writer._get_file_writer().add_summary(summary)
        for name, value in scores.items():
            self.writer.add_scalar(name, value, 0)

    def close(self) -> None:
        self.writer.close()


def _flat(nested: Mapping[str, Any], key: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in nested.items():
        path = f"{key}.{name}" if key else name
        pairs += _flat(value, path) if isinstance(value, Mapping) else [(path, value)]
    return pairs
