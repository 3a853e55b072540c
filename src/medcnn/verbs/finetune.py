"""`finetune`: trains a checkpoint further on a new hospital's data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from medcnn.system.errors import UsageError
from medcnn.system.settings import Rule
from medcnn.verbs import Command, Given, Verb
from medcnn.verbs.train import TrainConfig, check

if TYPE_CHECKING:
    from medcnn.statistics.acceptance import Acceptance


def rule_of(value: Any) -> Acceptance | None:
    from medcnn.statistics.acceptance import acceptance_of

    return acceptance_of(value)


def share_of(value: Any) -> float | str | None:
    """`auto`, a share, or None. Raises UsageError."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value in (None, "auto") or (number and 0 <= value <= 1):
        return value  # type: ignore[no-any-return]
    raise UsageError(f"{value} should be auto, a share of the new weights from 0 to 1, or null.")


def old_data_of(value: Any) -> str:
    """`auto`, `none`, or where the images are. Raises UsageError."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{value} should be auto, none, or a folder.")
    if value not in ("auto", "none") and not Path(value).expanduser().exists():
        raise UsageError(f"{value} does not exist.")
    return value if value in ("auto", "none") else str(Path(value).expanduser())


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(TrainConfig):
    """Attributes:
    accept: the rule of acceptance, if any.
    old_data: where the old training images are now, or `auto` or `none`.
    wise_ft: share of the new weights when averaged with the old ones; None: no averaging.
    """

    accept: Annotated[Any, Rule(parse=rule_of)]
    old_data: Annotated[str, Rule(parse=old_data_of)]
    wise_ft: Annotated[Any, Rule(parse=share_of)]


def prepare(given: Given) -> None:
    """Raises UsageError for settings that it cannot follow, all at once."""
    from medcnn.verbs.steps.datasets import leave_to_checkpoint

    faults = leave_to_checkpoint(given)
    faults += [
        f"{group}={given.groups[group]}: the {group} comes from the checkpoint."
        for group in ("model", "pooling", "head")
        if given.groups.get(group)
    ]
    if given.groups.get("data") is None:
        faults.append("finetune needs data=NAME: the new hospital's images.")
    if faults:
        raise UsageError("\n".join(faults))


def run(config: FinetuneConfig, command: Command) -> Path:
    from medcnn.verbs.steps.dry_run import rehearsed

    return rehearsed(finetune, config, command.words)


def finetune(config: FinetuneConfig, words: list[str]) -> Path:
    """Train a checkpoint further on a new hospital's data; returns the run folder."""
    from medcnn.verbs.steps import sitting
    from medcnn.verbs.steps.deciding import decided
    from medcnn.verbs.steps.going_on import going_on
    from medcnn.verbs.steps.rule import say_if_changed

    with sitting.begun(config, words) as run:
        if run is None:
            folder = sitting.run_folder_of(config)
            say_if_changed(folder, config.accept)
            return folder
        going_on(decided(config, run), words, run)
    return run.path


VERB = Verb(
    name="finetune",
    lines=("finetune best.safetensors data=my_hospital --config-dir my-configs",),
    usage="CHECKPOINT data=NAME [key=value ...]",
    examples=("finetune best.safetensors data=my_hospital --config-dir my-configs",),
    synonyms=("tune", "fine-tune", "fine_tune", "finetuning", "transfer"),
    places=("checkpoint",),
    config=FinetuneConfig,
    prepare=prepare,
    check=check,
    run=run,
    resumes=True,
    shared=True,
)
