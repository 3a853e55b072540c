"""`trainer.overfit_batches=N`: whether a network can learn N batches by heart, as it can with
any sound settings, and what is broken if not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.audit.finding import counted
from medcnn.config import AugmentationConfig, Compile
from medcnn.data.manifest import Split
from medcnn.models.inference import pick_device
from medcnn.pages.facts import Statement
from medcnn.system.errors import DivergedError, MedcnnError, UsageError
from medcnn.system.launched import one_of_several
from medcnn.system.progress import hushed, log
from medcnn.training.epochs import epochs
from medcnn.training.setting import Setting
from medcnn.training.stopping import signals
from medcnn.training.tasks import Task
from medcnn.training.watching import trouble, watch
from medcnn.verbs.steps import sitting
from medcnn.verbs.steps.auditing import audited
from medcnn.verbs.steps.datasets import pixels_of, preprocessing_of
from medcnn.verbs.steps.deciding import decided
from medcnn.verbs.steps.starting import new_classifier, plan_of, setting_of, state_of
from medcnn.verbs.train import TrainConfig

STEPS = 300
NEAR = 0.05
"""This close to the lowest loss, or to this share of what there was to learn, is by heart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """Attributes:
    images: that were to be learnt.
    losses: mean of each epoch.
    steps: that were taken.
    least: the loss of the best logits that there are, one for each image.
    least_same: the same, where images of equal pixels have equal logits.
    blank: images in which all pixels are equal.
    frozen: share of the parameters that do not train.
    broken: layers that never fire, or that no gradient reaches (`watching.trouble`).
    """

    images: int
    losses: Sequence[float]
    steps: int
    least: float = 0.0
    least_same: float = 0.0
    blank: int = 0
    frozen: float = 0.0
    broken: Sequence[str] = ()

    @property
    def by_heart(self) -> bool:
        return near(self.losses[-1], self.losses[0], self.least)

    @property
    def falling(self) -> bool:
        """Whether the loss of the last tenth of the epochs was still falling."""
        tenth = max(1, len(self.losses) // 10)
        before, last = self.losses[-2 * tenth : -tenth], self.losses[-tenth:]
        return bool(before) and float(np.mean(last)) < 0.97 * float(np.mean(before))


def near(loss: float, start: float, least: float) -> bool:
    return loss - least <= NEAR * min(1.0, start - least)


WRONG: dict[str, Statement[Learnt]] = {
    "labels": Statement(
        lambda of: (
            "Images with the same pixels have different labels: with them, no network gets below "
            f"a loss of {of.least_same:.3g}."
        ),
        lambda of: of.least_same > of.least + NEAR,
    ),
    "blank": Statement(
        lambda of: (
            f"{of.blank} of {of.images} images have only one colour: look at them with medcnn "
            "preview."
        ),
        lambda of: of.blank > 0,
    ),
    "frozen": Statement(
        lambda of: (
            f"{100 * of.frozen:.0f} % of the parameters are frozen: transfer=full trains them all."
        ),
        lambda of: of.frozen > 0,
    ),
    "broken": Statement(
        lambda of: f"Part of the network does not learn. {'. '.join(of.broken)}.",
        lambda of: bool(of.broken),
    ),
    "falling": Statement(
        "The loss was still falling at the end: a higher optimizer.lr may be all it needs.",
        lambda of: of.falling,
    ),
    "nothing found": Statement(
        "The loss no longer falls. First try a lower or higher optimizer.lr or a larger network; "
        "then check the labels.",
        lambda of: not any(WRONG[n].holds(of) for n in WRONG if n != "nothing found"),
    ),
}


def verdict(of: Learnt) -> str:
    """The result, and what is wrong if the batches were not learnt."""
    fell = (
        f"the loss of {counted(of.images, 'image')} went from {of.losses[0]:.3g} to "
        f"{of.losses[-1]:.3g} in {counted(of.steps, 'step')}; the lowest possible loss is "
        f"{of.least:.2g}"
    )
    if of.by_heart:
        return f"memorised: {fell}. Images, labels, loss, gradient and optimizer work together."
    wrong = [words for note in WRONG.values() if (words := note.words(of))]
    return f"did not memorise: {fell}. {' '.join(wrong)}"


def overfit(config: TrainConfig, words: list[str]) -> None:
    """Learn a few batches by heart, without augmentation and dropout, and say whether it worked.

    Raises:
        UsageError: in several processes, or no folder can be made.
        MedcnnError: it did not; the message says what may be broken.
    """
    wanted = config.trainer.overfit_batches or 1
    if one_of_several():
        raise UsageError("trainer.overfit_batches runs in one process: run it without torchrun.")
    run_folder = sitting.run_folder_of(config)
    beside = next(p for p in run_folder.absolute().parents if p.is_dir())
    try:
        folder = TemporaryDirectory(prefix=".overfit-", dir=beside)
    except OSError as error:
        raise UsageError(f"run_dir={run_folder} cannot be written: {error.strerror}.") from error
    log.info(f"batches to memorise: {wanted}, in at most {STEPS} steps; nothing is kept")
    with folder, hushed(logging.WARNING):
        learnt = _learnt(_plain(config, wanted, str(Path(folder.name) / "run")), words)
    if not learnt.by_heart:
        raise MedcnnError(verdict(learnt))
    print(verdict(learnt))


def _plain(config: TrainConfig, wanted: int, run_dir: str) -> TrainConfig:
    """The same training without anything that keeps a network from learning by heart."""
    nothing = {f.name: None for f in fields(AugmentationConfig)} | {"preset": "none"}
    head, model = config.head, config.model
    assert head is not None, "train.yaml has a head"
    assert model is not None, "train.yaml has a model"
    if "dropout" in head.options:
        head = replace(head, options={**head.options, "dropout": 0.0})
    trainer = replace(
        config.trainer,
        epochs=-(-STEPS // wanted),
        accumulate=1,
        ema_decay=0.0,
        swa_from=None,
        patience=None,
        compile=Compile.OFF,
        dry_run=True,  # few images, and no audit
    )
    return replace(
        config,
        run_dir=run_dir,
        trainer=trainer,
        head=head,
        model=replace(model, drop_path=None),
        augmentation=AugmentationConfig(**nothing),  # type: ignore[arg-type]
        optimizer=replace(config.optimizer, weight_decay=0.0, l2_sp=0.0),
    )


def _learnt(config: TrainConfig, words: list[str]) -> Learnt:
    losses: list[float] = []
    with sitting.begun(config, words) as run, signals(patient=True) as stop:
        assert run is not None, "the folder is new"
        config = decided(config, run)
        manifest, bad, how = audited(config, run, preprocessing_of(config.data))
        store = pixels_of(manifest, how, config.data, run.note, bad, max_bad=config.audit.max_bad)
        classifier, _ = new_classifier(config, manifest, run)
        device = pick_device(config.trainer.device)
        plan = plan_of(config, classifier)
        setting = setting_of(config, plan, manifest, store, device)
        state = state_of(config, classifier, setting)
        rows = store.readable(manifest.rows(Split.TRAIN))
        targets = manifest.targets()[rows]
        least = least_loss(setting.task, targets, np.arange(len(rows)))
        try:
            for result in epochs(state, setting, save=lambda: None, stop=stop):
                losses.append(result.numbers["train/loss"])
                if near(losses[-1], losses[0], least):
                    break
        except DivergedError as error:
            raise DivergedError(f"did not memorise: {error}") from error
        pixels = store.take(rows).reshape(len(rows), -1)
        same = np.unique(pixels, axis=0, return_inverse=True)[1].reshape(-1)
        sizes = [(p.numel(), p.requires_grad) for p in state.classifier.parameters()]
        return Learnt(
            images=len(rows),
            losses=losses,
            steps=state.updates,
            least=least,
            least_same=least_loss(setting.task, targets, same),
            blank=int((pixels == pixels[:, :1]).all(axis=1).sum()),
            frozen=sum(n for n, trains in sizes if not trains) / sum(n for n, _ in sizes),
            broken=_broken(state.classifier, setting, state.epoch),
        )


def _broken(classifier: torch.nn.Module, setting: Setting, epoch: int) -> list[str]:
    return trouble(watch(classifier, setting, max(0, epoch - 1)))  # type: ignore[arg-type]


def least_loss(task: Task, targets: NDArray[np.float32], same: NDArray[np.intp]) -> float:
    """The lowest loss of free logits, without a network: found by descent on them alone.

    Args:
        targets: [N, K].
        same: [N] which logits each image has.
    """
    wanted = torch.from_numpy(targets)
    logits = torch.zeros(int(same.max()) + 1, targets.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    loss = torch.zeros(())
    for _ in range(200):
        optimizer.zero_grad()
        total, count = task.loss(logits[torch.from_numpy(same)], wanted, 0)
        loss = total / count
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return max(0.0, float(loss.detach()))
