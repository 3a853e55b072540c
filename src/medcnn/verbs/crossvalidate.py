"""`crossvalidate`: one training per fold, and out-of-fold scores of all patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import UsageError
from medcnn.system.launched import one_of_several
from medcnn.system.settings import beside, within
from medcnn.verbs import Command, Verb, train
from medcnn.verbs.train import TrainConfig

if TYPE_CHECKING:
    from medcnn.config import DataConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossvalidateConfig:
    """`train` is what all folds share."""

    train: TrainConfig = beside()
    folds: int = within(2, 100)
    repeats: int = within(1, 100)

    @property
    def data(self) -> DataConfig:
        return self.train.data

    def contradictions(self) -> list[str]:
        shared: TrainConfig | None = self.train  # None where it has faults of its own
        if shared is None:
            return []
        said = {
            "fold": "medcnn crossvalidate trains every fold; medcnn train trains one.",
            "split_seed": "each repeat assigns its folds by its own seed.",
        }
        faults = [
            f"data.{n}: {why}" for n, why in said.items() if getattr(shared.data, n) is not None
        ]
        return faults + shared.trials_of_one_run()


def check(config: CrossvalidateConfig) -> None:
    if one_of_several():
        raise UsageError("a cross-validation runs in one process: run it without torchrun.")
    train.check(config.train)


def run(config: CrossvalidateConfig, command: Command) -> Path:
    """Every fold is a run of `train` in its own folder. The same command finds it again.

    Raises:
        UsageError: the folder holds another cross-validation.
        DataError: there are fewer patients than folds, or the audit of a fold refuses the data.
    """
    from medcnn.verbs.steps.folds import crossvalidated

    def fold(chosen: Mapping[str, Any]) -> tuple[TrainConfig, list[str]]:
        made = command.varied(chosen)
        return made.config, made.words

    return crossvalidated(config, fold)


VERB = Verb(
    name="crossvalidate",
    lines=("crossvalidate data=ham10000 data.root=... folds=5: each patient tested once",),
    examples=(
        "crossvalidate data=ham10000 data.root=/data/ham10000 folds=5",
        "crossvalidate data=my_hospital --config-dir my-configs folds=5 repeats=3",
    ),
    synonyms=("cv", "crossval", "cross_validate", "cross-validate", "crossvalidation", "kfold"),
    config=CrossvalidateConfig,
    prepare=train.prepare,
    check=check,
    run=run,
    resumes=True,
)
