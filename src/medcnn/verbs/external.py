"""`external`: whether a model performs at another hospital as it did at home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from medcnn.system.errors import UsageError, at_once
from medcnn.system.settings import Rule, within
from medcnn.verbs import Command, Given, Verb, evaluate
from medcnn.verbs.evaluate import EvaluateConfig
from medcnn.verbs.finetune import old_data_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalConfig(EvaluateConfig):
    """Attributes:
    internal: run folder with the predictions of the home test split; None: the checkpoint's.
    margin: how much AUROC the model may lose here and still keep its performance.
    old_data: where the training images are now, or `auto` or `none`.
    """

    internal: str | None
    margin: float = within(0.001, 0.5)
    old_data: Annotated[str, Rule(parse=old_data_of)]

    @property
    def home(self) -> Path:
        """Predictions of the home test split."""
        run = self.internal or Path(self.checkpoint).resolve().parent.parent
        return Path(run) / "predictions_test.csv"


def prepare(given: Given) -> None:
    if given.groups.get("data") is None:
        raise UsageError("external needs data=NAME: the other hospital's images.")
    evaluate.prepare(given)


def check(config: ExternalConfig) -> None:
    at_once(lambda: evaluate.check(config), lambda: _require_home(config))


def _require_home(config: ExternalConfig) -> None:
    known = config.internal or Path(config.checkpoint).exists()
    if known and not config.home.is_file():
        where = f"internal={config.internal}" if config.internal else "the checkpoint's run folder"
        raise UsageError(
            f"{where} has no predictions_test.csv to compare the other hospital with: set "
            "internal=RUN, the folder of the training or of an evaluation at home."
        )


def run(config: ExternalConfig, command: Command) -> Path:
    """An evaluation as `evaluate` writes it, and `external.html`; returns their folder."""
    from medcnn.verbs.steps.abroad import held_against_home, refuse_other_model

    refuse_other_model(config)
    return evaluate.evaluated(
        config, command.words, lambda run, judged: held_against_home(config, run, judged)
    )


VERB = Verb(
    name="external",
    lines=("external best.safetensors data=other_hospital --config-dir my-configs",),
    usage="CHECKPOINT data=NAME [key=value ...]",
    examples=(
        "external best.safetensors data=other_hospital --config-dir my-configs",
        "external best.safetensors data=my_hospital --config-dir my-configs internal=runs/home",
    ),
    synonyms=("abroad", "external_validation", "external-validation", "transport"),
    places=("checkpoint",),
    config=ExternalConfig,
    prepare=prepare,
    check=check,
    run=run,
)
