"""`sweep`: Optuna searches settings; each trial is a training that never opens the test split."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import UsageError, pip_install
from medcnn.system.launched import one_of_several
from medcnn.system.settings import beside, within
from medcnn.verbs import Command, Verb, train
from medcnn.verbs.train import TrainConfig

if TYPE_CHECKING:
    from medcnn.config import DataConfig

Space = Mapping[str, Mapping[str, Any] | list[Any]]


def space_of(value: Any) -> Mapping[str, Any]:
    """What a sweep searches: setting -> list of choices, or {low, high} and perhaps `log: true`.
    Raises UsageError."""
    if not isinstance(value, Mapping) or not value:
        raise UsageError(f"{value} should be a mapping such as {{optimizer.lr: [1e-3, 1e-4]}}.")
    for key, of in value.items():
        if isinstance(of, list) and of:
            continue
        if not isinstance(of, Mapping):
            raise UsageError(f"{key}: {of} should be a list of choices or {{low: 0, high: 1}}.")
        if unknown := [name for name in of if name not in ("low", "high", "log")]:
            raise UsageError(f"{key}: '{unknown[0]}' is not one of low, high, log.")
        ends, log = [of.get("low"), of.get("high")], of.get("log", False)
        numbers = [n for n in ends if isinstance(n, int | float) and not isinstance(n, bool)]
        if len(numbers) < 2 or numbers[0] >= numbers[1] or (log and numbers[0] <= 0):
            raise UsageError(
                f"{key}: low={ends[0]}, high={ends[1]} should be numbers, the low one first"
                f"{', both above 0 for log: true' if log else ''}."
            )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """What is varied, and for how long."""

    trials: int = within(1)
    startup: int = within(1)
    prune_after: int | None = within(1)
    space: Space = field(metadata={"parse": space_of})


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """`train` is what all trials share."""

    train: TrainConfig = beside()
    sweep: SearchConfig

    @property
    def data(self) -> DataConfig:
        return self.train.data


def check(config: SweepConfig) -> None:
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(f"medcnn sweep needs the extra medcnn[sweep]: {pip_install('sweep')}.")
    refuse_faults([])
    train.check(config.train)


def refuse_faults(
    runs: Iterable[Callable[[], Command]], faults: Iterable[str] = (), *, places: bool = True
) -> None:
    """Raises UsageError with the faults of all runs of a sweep, each reported once.

    Args:
        runs: read the command of each run.
        places: whether the files and folders that the commands name must exist.
    """
    said = dict.fromkeys(faults)
    if one_of_several():
        said["a sweep runs in one process or in a launcher's: run it without torchrun."] = None
    for read in runs:
        try:
            command = read()
            if places:
                command.verb.check(command.config)
        except UsageError as error:
            said.update(dict.fromkeys(str(error).splitlines()))
        else:
            if command.config.trainer.dry_run:
                said["trainer.dry_run=true rehearses one run of medcnn train, without -m."] = None
            said.update(dict.fromkeys(command.config.trials_of_one_run()))
    if said:
        raise UsageError("\n".join(said))


def run(config: SweepConfig, command: Command) -> None:
    """Every trial is a command of its own, which is understood before the first begins.

    Raises:
        UsageError: all faults of the space.
    """
    from medcnn.system.progress import hushed
    from medcnn.verbs.steps.datasets import PREPROCESSING

    def trial(chosen: Mapping[str, Any], folder: Path) -> tuple[TrainConfig, list[str]]:
        made = command.varied({**chosen, "run_dir": str(folder)})
        return made.config, made.words

    space = config.sweep.space
    ends = {k: of if isinstance(of, list) else [of["low"], of["high"]] for k, of in space.items()}
    faults = [
        f"sweep.space: {key} is also on the command line." for key in command.keys if key in space
    ]
    faults += [
        f"sweep.space: {key} cannot be searched: trials share their splits and their score."
        for key in space
        if key in ("run_dir", "seed", "experiment", "trainer.score")
        or (key.split(".")[0] == "data" and key not in PREPROCESSING)
    ]
    tried = [{k: v} for k, of in ends.items() for v in of]
    refuse_faults((partial(command.varied, chosen) for chosen in tried), faults)
    with hushed(logging.ERROR):  # a sweep shows a line of each run, whose log.txt has the rest
        from medcnn.verbs.steps.trials import search

        search(config, trial)


VERB = Verb(
    name="sweep",
    lines=("sweep data=ham10000 data.root=...: Optuna searches settings, on validation",),
    examples=("sweep data=ham10000 data.root=/data/ham10000",),
    synonyms=("search", "optimize", "optimise", "hyperopt", "optuna"),
    config=SweepConfig,
    prepare=train.prepare,
    check=check,
    run=run,
    resumes=True,
)
