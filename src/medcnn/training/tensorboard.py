"""What TensorBoard shows: the numbers of every epoch, images as the network sees them, precision
and recall per class, the confusion matrix, all scores as a table, and the main scores together with
the settings that differ from medcnn's defaults."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray
from tensorboard.summary.writer import event_file_writer
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams, pr_curve_raw
from torchvision.utils import make_grid

from medcnn.pages.format import estimate
from medcnn.pages.layout import HEADLINES
from medcnn.statistics.curves import OneLabel, confusion, every_label
from medcnn.statistics.evaluation import Evaluation
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.predictions import Predictions
from medcnn.system.paths import config_folder
from medcnn.system.progress import log
from medcnn.training.epochs import EpochResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST_THRESHOLDS = 127
"""The most that a PR curve of TensorBoard can hold."""
SHIPPED_CHOICES = {"loss": "auto", "optimizer": "adamw", "head": "linear", "model": "resnet18"}
UNSAID = frozenset(
    {"run_dir", "checkpoint", "data.root", "data.path", "data.cache", "model.weights"}
)
TOGETHER = {"loss": {"training and validation": ["Multiline", ["train/loss", "val/loss"]]}}
LONGEST_NAME = 22
# The name of an event file would contain that of this machine, and run folders travel.
_NAMELESS = SimpleNamespace(gethostname=lambda: "medcnn")
BLUE, RED, INK = "#0072b2", "#d55e00", "#1d2733"


def _forgiving(write: Callable[..., None]) -> Callable[..., None]:
    """If the events cannot be written, warn once and give up: nothing else depends on them."""

    @functools.wraps(write)
    def unless_it_failed(board: Board, *arguments: Any) -> None:
        if board.works:
            try:
                write(board, *arguments)
            except OSError as error:
                if board.works:
                    log.warning(
                        f"TensorBoard's curves cannot be written ({error.strerror}); training "
                        "continues without them"
                    )
                board.works = False

    return unless_it_failed


class Board:
    """One event file per sitting, all in one folder: a resumed run continues its curves."""

    def __init__(self, folder: Path, first_epoch: int, *, works: bool = True) -> None:
        self.works = works
        # the writing thread keeps its error for the next call; it need not print it as well
        self.hook, threading.excepthook = threading.excepthook, self._hush
        self._begin(folder, first_epoch)

    def _hush(self, args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            self.hook(args)

    @_forgiving
    def _begin(self, folder: Path, first_epoch: int) -> None:
        # readers sort by name, which contains the time, and clocks can be set back
        for n, earlier in enumerate(sorted(folder.glob("events.out.tfevents.*"))):
            earlier.rename(folder / f"events.out.tfevents.{n:010d}.earlier")
        # purge_step hides numbers of a killed sitting for epochs that are trained again
        real, event_file_writer.socket = event_file_writer.socket, _NAMELESS
        try:
            self.writer = SummaryWriter(str(folder), purge_step=first_epoch)
        finally:
            event_file_writer.socket = real
        self.writer.add_custom_scalars(TOGETHER)

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
    def numbers(self, numbers: Mapping[str, float], epoch: int) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, epoch)

    @_forgiving
    def predictions(self, predictions: Predictions, epoch: int) -> None:
        split = predictions.split
        for label in every_label(predictions):
            if len(label.target):
                curve = quantile_pr_curve(f"pr_{split}/{label.name}", label)
                self.writer._get_file_writer().add_summary(curve, epoch)
        if predictions.labels.exclusive:
            figure = confusion_figure(confusion(predictions), predictions.labels.names)
            self.writer.add_figure(f"confusion_matrix/{split}", figure, epoch)

    @_forgiving
    def results(
        self, changed: Mapping[str, Any], evaluations: Mapping[str, Evaluation], epoch: int
    ) -> None:
        """All scores of each split as a table, and one row of the hparams page: the settings in
        `changed` with the main scores of the first split."""
        for split, evaluation in evaluations.items():
            self.writer.add_text(f"scores/{split}", score_table(evaluation), epoch)
        scores = {
            f"{judged.split}/{s.name}": s.value
            for judged in list(evaluations.values())[:1]
            for s in judged.scores
            if s.overall and s.name in HEADLINES and not math.isnan(s.value)
        }
        plain = {k: v for k, v in changed.items() if isinstance(v, bool | int | float | str)}
        for summary in hparams(plain, dict(scores)):
            self.writer._get_file_writer().add_summary(summary)
        for name, value in scores.items():
            self.writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        with suppress(OSError, AttributeError):
            self.writer.close()
        threading.excepthook = self.hook


def quantile_pr_curve(tag: str, label: OneLabel) -> Any:
    """A PR curve whose thresholds are quantiles of the probabilities: with evenly spaced thresholds
    the curve of a rare finding, whose probabilities are all small, is nearly empty."""
    p, positive = label.probability, label.target
    # of all images, and of those with the finding, which may be few
    sides = [p, p[positive]] if positive.any() else [p]
    levels = np.linspace(0, 1, MOST_THRESHOLDS // 2)
    at = np.unique(np.concatenate([np.quantile(q, levels, method="nearest") for q in sides]))
    true, false = (
        np.array([(side >= t).sum() for t in at]) for side in (p[positive], p[~positive])
    )
    missed, cleared = positive.sum() - true, (~positive).sum() - false
    precision, recall = true / (true + false), true / max(1, positive.sum())
    curve = pr_curve_raw(tag, true, false, cleared, missed, precision, recall, len(at))
    # TensorBoard labels thresholds as if they were evenly spaced from 0 to 1
    curve.value[
        0
    ].metadata.summary_description = (
        "Thresholds are quantiles of the probabilities; this page numbers them from 0 to 1."
    )
    return curve


def score_table(evaluation: Evaluation) -> str:
    """Markdown: a row for each score that has a value."""
    rows = [
        f"| {METRICS[s.name].title} | {s.label or s.average or ''} | "
        f"{' | '.join(estimate(s.value, s.low, s.high))} | {s.count:,} |".replace("\n", " ")
        for s in evaluation.scores
        if not math.isnan(s.value)
    ]
    return "\n".join(
        ["| score | of | value | 95 % interval | images |", "|---|---|---|---|---|", *rows]
    )


def changed_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from medcnn's YAML. Paths are left out, and so are the settings of a
    table, which may contain names of people."""
    folder = config_folder()
    shipped: dict[str, Any] = {}
    verb = "finetune" if config.get("checkpoint") else "train"
    for name in dict.fromkeys(("base", "train", verb)):
        shipped |= _flat_yaml(folder / f"{name}.yaml")
    for group, name in SHIPPED_CHOICES.items():
        shipped |= _flat_yaml(folder / group / f"{name}.yaml", group)
    found = {}
    for key, value in _flat(config):
        # a group written by the user has a `name`, and its own settings under `options`
        plain = key.replace(".options.", ".")
        said = key not in UNSAID and not key.startswith("data.options") and value is not None
        if said and (plain not in shipped or shipped[plain] != value):
            found[key] = value
    return found


def _flat_yaml(path: Path, group: str = "") -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    content.pop("defaults", None)
    return dict(_flat(content, group))


def _flat(nested: Mapping[str, Any], key: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in nested.items():
        path = f"{key}.{name}" if key else name
        pairs += _flat(value, path) if isinstance(value, Mapping) else [(path, value)]
    return pairs


def confusion_figure(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """A matplotlib figure of the confusion matrix [C, C]: the colour shows the share of the true
    class, the text the number of images."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    size = len(names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.5 * size + 1.8, 3.4, 16))
    # a class called `$T_1$` is a name, not a formula
    with rc_context({"text.parse_math": False, "font.size": 9.0}):
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        for row, column in np.argwhere(counts > 0).tolist():
            colour = BLUE if row == column else RED
            cell = Rectangle((column, row), 1, 1, color=colour, linewidth=0)
            cell.set_alpha(0.55 * float(share[row, column]))
            axes.add_patch(cell)
            text = f"{counts[row, column]}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=INK)
        short = [n if len(n) <= LONGEST_NAME else f"{n[: LONGEST_NAME - 1]}…" for n in names]
        axes.set(xlim=(0, size), ylim=(size, 0), xlabel="Decision", ylabel="Truth", aspect="equal")
        axes.set_xticks(np.arange(size) + 0.5, short, rotation=40, ha="right")
        axes.set_yticks(np.arange(size) + 0.5, short)
        axes.tick_params(length=0)
        return figure
