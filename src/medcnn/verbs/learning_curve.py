"""`learning-curve`: how a score grows with the number of patients, and how many more are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from medcnn.system.errors import UsageError, at_once
from medcnn.system.launched import one_of_several
from medcnn.system.settings import Rule, beside, shown, within
from medcnn.verbs import Command, Given, Verb, train
from medcnn.verbs.probe import numbers, untrained, whole_numbers
from medcnn.verbs.train import TrainConfig

if TYPE_CHECKING:
    from medcnn.config import DataConfig

FEWEST_SIZES, MOST_ARMS = 5, 3
PROBE = "probe"


class Same(StrEnum):
    """What trainings of all sizes have in common."""

    STEPS = "steps"
    EPOCHS = "epochs"


def sizes_of(value: Any) -> int | tuple[int, ...]:
    """How many sizes, or these numbers of patients in rising order. Raises UsageError."""
    if isinstance(value, int) and not isinstance(value, bool):
        if FEWEST_SIZES <= value <= 50:
            return value
    elif len(found := whole_numbers(value)) >= FEWEST_SIZES:
        return tuple(sorted(found))
    raise UsageError(
        f"{shown(value)} should be a number of sizes from {FEWEST_SIZES} to 50, or a list of at "
        f"least {FEWEST_SIZES} numbers of patients."
    )


def arms_of(value: Any) -> tuple[str, ...]:
    """`probe`, or ways to train (`transfer`). Raises UsageError."""
    given = [value] if isinstance(value, str) else value
    words = isinstance(given, Sequence) and all(isinstance(v, str) for v in given)
    if words and 0 < len(set(given)) == len(given) <= MOST_ARMS:
        return tuple(given)
    raise UsageError(
        f"{shown(value)} should be a list of one to {MOST_ARMS} of probe, full, scratch and the "
        "other modes of transfer=."
    )


def targets_of(value: Any) -> tuple[float, ...]:
    """Scores below 1; if none are given, the next hundredths. Raises UsageError."""
    found = numbers(value) if value not in (None, []) else ()
    if any(v >= 1 for v in found):
        raise UsageError(f"{shown(value)} should be scores between 0 and 1, such as [0.85, 0.9].")
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurveConfig:
    """`train` is what all runs share; `c` are the penalties that a probe chooses from."""

    train: TrainConfig = beside()
    sizes: Annotated[int | tuple[int, ...], Rule(parse=sizes_of)]
    seeds: int = within(3, 100)
    arms: Annotated[tuple[str, ...], Rule(parse=arms_of)]
    score: str
    targets: Annotated[tuple[float, ...], Rule(parse=targets_of)]
    same: Same
    c: Annotated[tuple[float, ...], Rule(parse=numbers)]

    @property
    def data(self) -> DataConfig:
        return self.train.data

    @property
    def trained(self) -> list[str]:
        return [arm for arm in self.arms if arm != PROBE]

    def contradictions(self) -> list[str]:
        shared: TrainConfig | None = self.train  # None where it has faults of its own
        if shared is None:
            return []
        faults = [
            f"data.{name} has no effect: medcnn learning-curve sets it for each run."
            for name in ("train_groups", "split_seed")
            if getattr(shared.data, name) is not None
        ]
        if shared.trainer.dry_run and not self.trained:
            faults.append("trainer.dry_run=true rehearses a training, and arms=[probe] has none.")
        faults += shared.trials_of_one_run()
        if PROBE in self.arms and shared.pooling:
            faults += untrained(shared.pooling)
        return faults


def prepare(given: Given) -> None:
    from medcnn.system.paths import config_folder
    from medcnn.system.registry import nearest

    faults = []
    try:
        train.prepare(given)
    except UsageError as error:
        faults.append(str(error))
    if given.groups.get("transfer") != "full" or "transfer" in given.keys:
        faults.append("transfer has no effect: arms sets how the models are trained.")
    known = [PROBE, *sorted(p.stem for p in (config_folder() / "transfer").glob("*.yaml"))]
    arms = given.settings["arms"]
    for arm in [arms] if isinstance(arms, str) else arms or ():
        if isinstance(arm, str) and arm not in known:
            faults.append(f"arms: '{arm}' is not one of {', '.join(known)}{nearest(arm, known)}")
    if faults:
        raise UsageError("\n".join(faults))


def check(config: LearningCurveConfig) -> None:
    if one_of_several():
        raise UsageError("a learning curve is made in one process: run it without torchrun.")
    at_once(lambda: _require_score(config), lambda: train.check(config.train))


def _require_score(config: LearningCurveConfig) -> None:
    from medcnn.statistics.metrics.table import METRICS

    metric = METRICS.choose(config.score)
    if not metric.higher_is_better or metric.bounds[1] != 1 or metric.of_grades:
        raise UsageError(
            f"score={config.score}: the curve is fitted to a score whose best value is 1, such as "
            "auroc."
        )


def run(config: LearningCurveConfig, command: Command) -> Path:
    """Every training is a run of `train` in a folder of its own, which the same command finds
    again; so are the predictions of a probe.

    Raises:
        UsageError: the folder holds another learning curve.
        DataError: there are fewer patients than sizes, or the audit refuses the data.
    """
    from medcnn.verbs.steps.curves import measured

    def one(chosen: Mapping[str, Any]) -> tuple[TrainConfig, list[str]]:
        made = command.varied(chosen)
        return made.config, made.words

    return measured(config, one)


VERB = Verb(
    name="learning-curve",
    lines=("learning-curve data=ham10000 data.root=...: what more labels would be worth",),
    examples=(
        "learning-curve data=ham10000 data.root=/data/ham10000 model=efficientnet_lite0",
        "learning-curve data=my_hospital --config-dir my-configs arms=[scratch,probe,full]",
    ),
    synonyms=("curve", "learning_curve", "learningcurve", "labels"),
    config=LearningCurveConfig,
    prepare=prepare,
    check=check,
    run=run,
    resumes=True,
)
