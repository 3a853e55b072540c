"""The table of losses: one plain function each, found by name in LOSSES.

Every loss takes logits [B, K], targets [B, K] (shares of 1, nan for "not assessed") and the counts
of the training split. It returns the sum over what was assessed and how much that was, so that
accumulated micro-batches and processes can be averaged exactly. Losses are computed in float32,
whatever comes in: in float16 a sum over a batch overflows at 65,504. Options are keyword-only and
come from `configs/loss/`. Those that all of our own have:

    weighting: of rare classes, or of rare findings and their absence: `class_counts.weights_of`.
    beta: of `weighting=effective_number`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medcnn.data.labels import Kind
from medcnn.system.errors import UsageError
from medcnn.system.registry import Table
from medcnn.training import label_losses, ordinal_losses
from medcnn.training.class_counts import BETA
from medcnn.training.class_counts import Counts as Counts  # plug-ins take both from here
from medcnn.training.label_losses import SumAndCount as SumAndCount


@dataclass(frozen=True, slots=True)
class Loss:
    """A row of LOSSES: the function, and the kinds of labels that it makes sense for."""

    function: Callable[..., SumAndCount]
    kinds: frozenset[Kind]


EXCLUSIVE = frozenset({Kind.MULTICLASS, Kind.ORDINAL})
INDEPENDENT = frozenset({Kind.BINARY, Kind.MULTILABEL})
ORDINAL = frozenset({Kind.ORDINAL})

LOSSES = Table(
    "loss",
    {
        "asymmetric": Loss(label_losses.asymmetric, INDEPENDENT),
        "binary_cross_entropy": Loss(label_losses.binary_cross_entropy, INDEPENDENT),
        "cross_entropy": Loss(label_losses.cross_entropy, EXCLUSIVE),
        "cumulative_cross_entropy": Loss(ordinal_losses.cumulative_cross_entropy, ORDINAL),
        "focal": Loss(label_losses.focal, frozenset(Kind)),
        "ldam": Loss(label_losses.ldam, EXCLUSIVE),
        "logit_adjusted": Loss(label_losses.logit_adjusted, EXCLUSIVE),
        "ordinal_cross_entropy": Loss(ordinal_losses.ordinal_cross_entropy, ORDINAL),
        "quadratic_kappa": Loss(ordinal_losses.quadratic_kappa, ORDINAL),
        "squared_grade": Loss(ordinal_losses.squared_grade, ORDINAL),
    },
    group="losses",
    kind=Loss,
    function=lambda loss: loss.function,
    limits={
        "smoothing": (0.0, 0.999),
        "softness": (0.0, 100.0),
        "gamma": (0.0, 20.0),
        "gamma_pos": (0.0, 20.0),
        "gamma_neg": (0.0, 20.0),
        "shift": (0.0, 0.5),
        "tau": (0.0, 10.0),
        "margin": (0.0, 10.0),
        "beta": (0.0, 0.9999999),
    },
    also=lambda: ("auto",),
)

AUTO = {
    Kind.BINARY: "binary_cross_entropy",
    Kind.MULTICLASS: "cross_entropy",
    Kind.MULTILABEL: "binary_cross_entropy",
    Kind.ORDINAL: "ordinal_cross_entropy",
}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises UsageError where the loss `name` has no such option, a number is out of range, or
    options contradict each other; those of `auto` are known only when the labels are."""
    if name == "auto":
        return
    LOSSES.bind(name, options)
    if name not in LOSSES.own:
        return
    chosen = {**LOSSES.options(name), **options}
    weighting, beta, twice = chosen["weighting"], chosen["beta"], chosen.get("twice")
    faults = []
    if weighting != "effective_number" and beta != BETA:
        faults.append(
            f"loss.beta={beta} has no effect with loss.weighting={weighting}: leave it out, or "
            "give loss.weighting=effective_number."
        )
    if twice is False and weighting != "none":
        faults.append(
            f"loss={name} already corrects for rare classes, and loss.weighting={weighting} would "
            "correct for them again, so that rare classes are preferred to frequent ones. Give "
            "loss.weighting=none, or loss.twice=true if that is what you want."
        )
    if twice and weighting == "none":
        faults.append(
            "loss.twice=true has no effect with loss.weighting=none: leave it out, or give a "
            "loss.weighting."
        )
    if faults:
        raise UsageError(" ".join(faults))


def check_kind(name: str, kind: Kind) -> None:
    """Raises UsageError where the loss `name` makes no sense for labels of this kind."""
    if kind not in LOSSES[name].kinds:
        fitting = ", ".join(n for n, loss in LOSSES.own.items() if kind in loss.kinds)
        raise UsageError(f"loss={name} does not fit {kind} labels; these do: {fitting}.")
