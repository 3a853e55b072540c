"""`probe`: simple classifiers on the features of a network that is not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from medcnn.system.errors import UsageError
from medcnn.system.settings import Rule, called, shown, within
from medcnn.verbs import Command, Given, Verb

if TYPE_CHECKING:
    from medcnn.config import (
        AuditLimits,
        Choice,
        DataConfig,
        Device,
        ModelConfig,
        Precision,
        Prevalence,
        ReadoutConfig,
        Seed,
        Subgroups,
    )


class Method(StrEnum):
    LOGISTIC = "logistic"
    KNN = "knn"


def numbers(value: Any) -> tuple[float, ...]:
    """One positive number, or a list of them. Raises UsageError."""
    given = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    right = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool) and v > 0]
    if not right or len(right) < len(given) or len(set(right)) < len(right):
        raise UsageError(f"{shown(value)} should be a list of different positive numbers.")
    return tuple(right)


def whole_numbers(value: Any) -> tuple[int, ...]:
    """One whole number, 1 or higher, or a list of them. Raises UsageError."""
    found = numbers(value)
    if any(isinstance(v, float) for v in found):
        raise UsageError(f"{shown(value)} should be a list of whole numbers.")
    return tuple(int(v) for v in found)


def untrained(pooling: Choice) -> list[str]:
    """Why a probe cannot use it, if so."""
    if pooling.name != "attention":
        return []
    return [
        "pooling=attention learns which positions count, but a probe trains only a linear head. "
        "Use avg, max, gem or lse, or train transfer=linear_probe."
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    seed: Seed
    run_dir: str | None
    method: Method
    c: Annotated[tuple[float, ...], Rule(parse=numbers)]
    k: Annotated[tuple[int, ...], Rule(parse=whole_numbers)]
    data: DataConfig
    audit: AuditLimits
    model: ModelConfig
    pooling: Choice
    readout: ReadoutConfig
    prevalence: Prevalence
    subgroups: Subgroups
    device: Device = called("trainer.device")
    precision: Precision = called("trainer.precision")
    threads: int | None = within(1, called="trainer.threads")

    def contradictions(self) -> list[str]:
        faults = self.data.impossible()
        for name in ("drop_path", "auxiliary"):
            if getattr(self.model, name):
                faults.append(f"model.{name} has no effect on a probe, which trains no body.")
        return [*faults, *untrained(self.pooling)]

    @property
    def values(self) -> tuple[float, ...]:
        """To choose from."""
        return self.k if self.method is Method.KNN else self.c


def prepare(given: Given) -> None:
    other = {"knn": "c", "logistic": "k"}.get(str(given.settings["method"]), "")
    if other in given.keys:
        raise UsageError(f"{other} has no effect on method={given.settings['method']}.")


def check(config: ProbeConfig) -> None:
    from medcnn.places import require_data, require_weights

    require_weights(config.model.weights)
    require_data(config.data)


def run(config: ProbeConfig, command: Command) -> Path:
    """Predictions, scores and report of a probe, and the checkpoint of a logistic regression;
    returns their folder."""
    import torch

    from medcnn.config import settings_digest, to_json
    from medcnn.system.run_folder import free_folder, open_run
    from medcnn.training.stopping import ended_by_signals
    from medcnn.verbs.steps.probing import probed

    if config.threads:
        torch.set_num_threads(config.threads)
    settings = to_json(config)
    parts = ("probe", config.method, config.data.called(), config.model.backbone)
    folder = Path("runs") / f"{'-'.join(parts)}-{settings_digest(settings)}"
    path = Path(config.run_dir) if config.run_dir else free_folder(folder)
    with open_run(path, settings, command.words, resumable=False) as opened, ended_by_signals():
        probed(config, opened)
    return path


VERB = Verb(
    name="probe",
    lines=("probe data=my_hospital --config-dir my-configs model=efficientnet_lite0",),
    examples=(
        "probe data=ham10000 data.root=/data/ham10000 model=efficientnet_lite0",
        "probe data=my_hospital --config-dir my-configs method=knn",
    ),
    synonyms=("knn", "linear_probe", "linear-probe", "features"),
    mistaken={
        "transfer": "; to train the head by gradient descent, see medcnn train "
        "transfer=linear_probe."
    },
    config=ProbeConfig,
    prepare=prepare,
    check=check,
    run=run,
)
