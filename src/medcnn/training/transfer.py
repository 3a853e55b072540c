"""Modes of transfer: which parts of a network train, at which rate, and from which epoch on.

A mode is a function from a body and the epochs of the run to its stages, which name the parts of
the body (`models.parts`). It is found by name in TRANSFERS; its keyword-only arguments are its
options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from medcnn.config import OptimizerConfig
from medcnn.models.classifier import Classifier
from medcnn.models.lora import adapt, factors
from medcnn.models.parts import HEAD, parts_of
from medcnn.models.pooling import of_pooling
from medcnn.system.errors import UsageError
from medcnn.system.registry import Table

Mode = Callable[[nn.Module, int], "list[Stage]"]
# When the frozen body of a stage is computed; auto: once where that changes nothing.
When = Literal["auto", "once", "every_epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Consecutive epochs in which the same parts train.

    Attributes:
        epochs: their number.
        rates: part, or `head` -> factor on `optimizer.lr`. Other parts are frozen, with the
            statistics of their normalisation layers.
        still: whether the body, also where it trains, keeps its BatchNorm statistics and has no
            dropout.
        restart: whether the learning rate starts a new warm-up and decay here; else its schedule
            continues.
        features: when a frozen body is computed.
        views: how many augmented versions of each image it is computed for; 0: none, so features
            are computed once only if that changes nothing.
    """

    epochs: int
    rates: Mapping[str, float]
    still: bool = False
    restart: bool = False
    features: When = "every_epoch"
    views: int = 0


def full(body: nn.Module, epochs: int) -> list[Stage]:
    """Everything trains at one rate."""
    return [Stage(epochs=epochs, rates=dict.fromkeys([*parts_of(body), HEAD], 1.0))]


def scratch(body: nn.Module, epochs: int) -> list[Stage]:
    """Everything trains, from random weights."""
    return full(body, epochs)


def linear_probe(
    body: nn.Module, epochs: int, *, features: When = "auto", views: int = 0
) -> list[Stage]:
    """Only the head trains."""
    return [Stage(epochs=epochs, rates={HEAD: 1.0}, features=features, views=views)]


def last_n(body: nn.Module, epochs: int, *, n: int = 1) -> list[Stage]:
    """The last `n` parts of the body train, and the head."""
    parts = list(parts_of(body))
    if not 1 <= n <= len(parts):
        raise UsageError(
            f"transfer.n={n}: this body has {len(parts)} parts ({', '.join(parts)}), so n must be "
            f"1 to {len(parts)}."
        )
    return [Stage(epochs=epochs, rates=dict.fromkeys([*parts[-n:], HEAD], 1.0))]


def gradual(
    body: nn.Module, epochs: int, *, share: float = 0.5, features: When = "auto", views: int = 0
) -> list[Stage]:
    """First only the head trains; then the parts join one by one, from the last to the stem, evenly
    over `share` of the epochs (Howard and Ruder 2018, ACL, section 3.3)."""
    parts = list(parts_of(body))
    steps = min(len(parts), max(1, round(share * epochs)), epochs - 1)
    if steps < 1:
        raise UsageError(f"transfer=gradual needs 2 epochs or more, found trainer.epochs={epochs}.")
    unfreezing = min(max(round(share * epochs), steps), epochs - 1)
    begin = [round(k * unfreezing / steps) for k in range(steps + 1)]
    stages = []
    for k, (first, after) in enumerate(zip(begin, [*begin[1:], epochs], strict=True)):
        joined = round(k * len(parts) / steps)
        training = [*parts[len(parts) - joined :], HEAD]
        stages.append(Stage(epochs=after - first, rates=dict.fromkeys(training, 1.0)))
    stages[0] = replace(stages[0], features=features, views=views)  # only the head trains
    return stages


def layerwise(body: nn.Module, epochs: int, *, stem_scale: float = 0.1) -> list[Stage]:
    """All parts train. The rate falls by the same factor from part to part, from the full rate at
    the last one to `stem_scale` of it at the stem.

    The setting is the share at the stem, not the factor: networks differ in their number of parts,
    and one factor would leave the stem of one at half the rate and freeze that of another.
    """
    parts = list(parts_of(body))
    last = max(1, len(parts) - 1)
    rates = {part: stem_scale ** ((last - i) / last) for i, part in enumerate(parts)}
    return [Stage(epochs=epochs, rates={**rates, HEAD: 1.0})]


def lp_ft(
    body: nn.Module,
    epochs: int,
    *,
    probe_share: float = 0.3,
    rate: float = 0.3,
    features: When = "auto",
    views: int = 0,
) -> list[Stage]:
    """A linear probe for `probe_share` of the epochs, then everything at `rate` of the learning
    rate, with a new warm-up (Kumar et al. 2022, ICLR): a random head does not spoil what the body
    has learned."""
    if epochs < 2:
        raise UsageError(f"transfer=lp_ft needs 2 epochs or more, found trainer.epochs={epochs}.")
    probe = min(max(1, round(probe_share * epochs)), epochs - 1)
    everything = dict.fromkeys([*parts_of(body), HEAD], rate)
    return [
        Stage(epochs=probe, rates={HEAD: 1.0}, features=features, views=views),
        # with batch statistics or dropout, the outputs would differ from those at the probe's end
        Stage(epochs=epochs - probe, rates=everything, still=True, restart=True),
    ]


def lora(body: nn.Module, epochs: int, *, rank: int = 8, alpha: float = 16.0) -> list[Stage]:
    """The weights are frozen; two small matrices for each of them train, and the head (Hu et al.
    2022, ICLR).

    This adds the matrices to `body` (`models.lora`).
    """
    adapt(body, rank=rank, alpha=alpha)
    return [Stage(epochs=epochs, rates={LORA: 1.0, HEAD: 1.0})]


LORA = "lora"
TRANSFERS = Table(
    "transfer",
    {
        "full": full,
        "gradual": gradual,
        "last_n": last_n,
        "layerwise": layerwise,
        "linear_probe": linear_probe,
        "lora": lora,
        "lp_ft": lp_ft,
        "scratch": scratch,
    },
    function=lambda mode: mode,
    limits={
        "n": (1, 1000),
        "share": (0.01, 1.0),
        "stem_scale": (1e-6, 1.0),
        "probe_share": (0.01, 0.99),
        "views": (0, 1000),
        "rate": (1e-6, 1.0),
        "rank": (1, 4096),
        "alpha": (1e-3, 1e6),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages of a run for one network.

    Attributes:
        parts: part, or `head` -> the full names of its parameters in the classifier.
    """

    parts: Mapping[str, Sequence[str]]
    stages: Sequence[Stage]

    def at(self, epoch: int) -> Stage:
        """The stage of an epoch, counted from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage
            epoch -= stage.epochs
        return self.stages[-1]

    def first(self, stage: Stage) -> int:
        """The first epoch of a stage."""
        return sum(s.epochs for s in self.stages[: self._number(stage)])

    def course(self, epoch: int) -> tuple[int, int]:
        """First epoch and number of epochs of the learning rate schedule that `epoch` is in."""
        now = self._number(self.at(epoch))
        begins = [i for i, s in enumerate(self.stages) if i == 0 or s.restart]
        start = max(i for i in begins if i <= now)
        end = min((i for i in begins if i > now), default=len(self.stages))
        return self.first(self.stages[start]), sum(s.epochs for s in self.stages[start:end])

    def _number(self, stage: Stage) -> int:
        return next(i for i, s in enumerate(self.stages) if s is stage)

    def training(self, stage: Stage) -> set[str]:
        """Names of the parameters that train in a stage."""
        return {name for part in stage.rates for name in self.parts[part]}

    def groups(self) -> dict[str, list[str]]:
        """Group of parts with equal rates in all stages -> names of their parameters."""
        return {
            name: [n for part in own for n in self.parts[part]]
            for name, own in self._alike().items()
        }

    def rates(self, stage: Stage) -> dict[str, float]:
        """Group -> its factor on the learning rate; 0: frozen."""
        return {name: stage.rates.get(own[0], 0.0) for name, own in self._alike().items()}

    def _alike(self) -> dict[str, list[str]]:
        found: dict[tuple[float, ...], list[str]] = {}
        for part in self.parts:
            rates = tuple(s.rates.get(part, 0.0) for s in self.stages)
            if any(rates):
                # the head has a factor of its own
                found.setdefault((*rates, float(part == HEAD)), []).append(part)
        body = [part for part in self.parts if part not in (HEAD, LORA)]
        return {
            "body" if own == body else f"{own[0]} to {own[-1]}" if own[1:] else own[0]: own
            for own in found.values()
        }


def base_rate(config: OptimizerConfig) -> float:
    assert config.lr is not None, "decided before anything trains"
    return config.lr


def table_of(plan: Plan, classifier: Classifier, config: OptimizerConfig) -> list[str]:
    """Lines that say what trains, at which base rate, and from which epoch."""
    sizes = {name: parameter.numel() for name, parameter in classifier.named_parameters()}
    rows = [("trains", "parameters", "learning rate, from epoch")]
    for group, names in plan.groups().items():
        factor = base_rate(config) * (config.head_lr_factor if group == HEAD else 1.0)
        rates, before = [], 0.0
        for stage in plan.stages:
            if (rate := factor * plan.rates(stage)[group]) != before:
                rates.append(f"{rate:.3g} from {plan.first(stage) + 1}" if rate else "0")
            before = rate
        rows.append((group, f"{sum(sizes[n] for n in names):,}", ", ".join(rates)))
    still = sum(sizes.values()) - sum(sizes[n] for names in plan.groups().values() for n in names)
    if still:
        rows.append(("frozen", f"{still:,}", "throughout"))
    wide = [max(len(row[k]) for row in rows) for k in range(2)]
    return [f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c}" for a, b, c in rows]


def planned(mode: Mode, classifier: Classifier, epochs: int) -> Plan:
    """The plan of a run of `epochs`. LoRA adds its matrices to the body of `classifier`."""
    body = classifier.body
    stages = mode(body, epochs)
    low_rank = factors(body)
    parts = {LORA: low_rank} if low_rank else parts_of(body)
    named = {part: [f"body.{n}" for n in names] for part, names in parts.items()}
    head = [n for n, _ in classifier.named_parameters() if not n.startswith("body.")]
    head += [f"body.{n}" for n, _ in body.named_parameters() if of_pooling(n)]
    return Plan(parts={**named, HEAD: head}, stages=stages)
