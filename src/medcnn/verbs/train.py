"""`train`: from settings to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medcnn.system.errors import at_once
from medcnn.verbs import Command, Given, Verb

if TYPE_CHECKING:
    from medcnn.config import (
        AuditLimits,
        AugmentationConfig,
        Choice,
        DataConfig,
        Explain,
        ModelConfig,
        NamedChoice,
        OptimizerConfig,
        Prevalence,
        ReadoutConfig,
        Seed,
        Subgroups,
        TrainerConfig,
    )
    from medcnn.verbs.steps.sitting import Watch


ONE_RUN = "trainer.overfit_batches tries out a single run of medcnn train: leave it out here."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of `medcnn train`. `medcnn finetune` takes model, pooling and head from its
    checkpoint instead."""

    seed: Seed
    run_dir: str | None
    checkpoint: str | None
    transfer: NamedChoice
    data: DataConfig
    audit: AuditLimits
    model: ModelConfig | None
    pooling: Choice | None
    head: Choice | None
    loss: Choice
    sampler: NamedChoice
    augmentation: AugmentationConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    readout: ReadoutConfig
    prevalence: Prevalence
    subgroups: Subgroups
    explain: Explain

    def contradictions(self) -> list[str]:
        faults = self.data.impossible()
        if self.model and self.model.auxiliary and self.transfer.name == "linear_probe":
            faults.append(
                "model.auxiliary=true has no effect with transfer=linear_probe, which trains "
                "nothing that auxiliary classifiers could improve."
            )
        if self.trainer.overfit_batches and (self.checkpoint or self.trainer.dry_run):
            faults.append(
                "trainer.overfit_batches tries out one run of medcnn train, without a checkpoint "
                "and without trainer.dry_run: leave it out."
            )
        if self.data.names and self.checkpoint is None:
            faults.append(
                "data.names is about the classes of an old model, but train has no old model: "
                "remove it, or train one further with medcnn finetune CHECKPOINT."
            )
        at_once, batch_size = self.trainer.micro_batch, self.trainer.batch_size
        if at_once is not None and at_once > batch_size:
            faults.append(
                f"trainer.micro_batch={at_once} is a part of trainer.batch_size={batch_size}, so "
                "it cannot be larger."
            )
        return faults

    def trials_of_one_run(self) -> list[str]:
        """What commands of many trainings refuse."""
        return [ONE_RUN] if self.trainer.overfit_batches else []


def prepare(given: Given) -> None:
    given.settings["checkpoint"] = None  # only finetune has one; its other settings are the same


def check(config: TrainConfig) -> None:
    from medcnn.places import require_checkpoint, require_data, require_weights

    checks: list[Callable[[], object]] = [partial(require_data, config.data)]
    if config.model is not None:
        checks.insert(0, partial(require_weights, config.model.weights))
    if config.checkpoint is not None:
        checks.insert(0, partial(require_checkpoint, Path(config.checkpoint)))
    at_once(*checks)


def run(config: TrainConfig, command: Command) -> Path:
    from medcnn.verbs.steps.dry_run import rehearsed

    if config.trainer.overfit_batches:
        from medcnn.verbs.steps.overfitting import overfit
        from medcnn.verbs.steps.sitting import run_folder_of

        overfit(config, command.words)
        return run_folder_of(config)
    return rehearsed(train, config, command.words)


def train(config: TrainConfig, words: list[str], watch: Watch | None = None) -> Path:
    """Train from pretrained or random weights; returns the run folder.

    Args:
        words: of the command.
        watch: sees the history whenever an epoch is saved; the test split then stays closed.

    Raises:
        ClosedTestError: there is a `watch`, and all epochs are done.
    """
    from medcnn.verbs.steps import sitting
    from medcnn.verbs.steps.auditing import audited
    from medcnn.verbs.steps.datasets import pixels_of, preprocessing_of
    from medcnn.verbs.steps.deciding import decided
    from medcnn.verbs.steps.starting import new_classifier

    with sitting.begun(config, words) as run:
        if run is None:
            return sitting.run_folder_of(config)
        config = decided(config, run)
        asked = preprocessing_of(config.data)
        manifest, bad, preprocessing = run.ranks.from_leader(lambda: audited(config, run, asked))
        sitting.check_asked(config, manifest)
        with run.ranks.one_a_machine_first():
            most = config.audit.max_bad
            store = pixels_of(manifest, preprocessing, config.data, run.note, bad, max_bad=most)
        classifier, described = new_classifier(config, manifest, run)
        described = replace(described, preprocessing=preprocessing)
        best, predictions, history = sitting.fitted(
            config, run, manifest, store, classifier, described, watch
        )
        if not run.ranks.leads:
            return run.path
        title = f"{best.architecture.backbone} on {manifest.source}"
        content = manifest, store, predictions, history
        sitting.conclude(config, run, title, *content, how=preprocessing)
    return run.path


VERB = Verb(
    name="train",
    lines=(
        "train data=ham10000 data.root=/data/ham10000 model=resnet50",
        "train -m optimizer.lr=1e-3,1e-4 seed=0,1,2 jobs=2: a run per combination",
    ),
    usage="[-m] [key=value ...]",
    examples=(
        "train data=ham10000 data.root=/data/ham10000 model=resnet50",
        "train data=my_hospital --config-dir my-configs trainer.epochs=20",
        "train experiment=retinopathy",
        "train -m optimizer.lr=1e-3,1e-4 seed=0,1,2 jobs=2",
    ),
    synonyms=("fit", "training", "run", "learn"),
    mistaken={"checkpoint": "; to train a checkpoint on other images, see medcnn finetune --help."},
    config=TrainConfig,
    prepare=prepare,
    check=check,
    run=run,
    resumes=True,
    shared=True,
)
