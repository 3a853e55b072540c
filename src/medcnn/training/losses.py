"""The table of losses: one plain function each, found by name in LOSSES.

Every loss takes logits [B, K], targets [B, K] (shares of 1, nan for "not assessed") and the counts
of the training split. It returns the sum over what was assessed and how much that was, so that
accumulated micro-batches and processes can be averaged exactly. Losses are computed in float32,
whatever comes in: in float16 a sum over a batch overflows at 65,504. Options are keyword-only and
come from `configs/loss/`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from medcnn.data.labels import Kind
from medcnn.system.errors import UsageError
from medcnn.system.registry import Table
from medcnn.training import label_losses, ordinal_losses
from medcnn.training.class_counts import BETA, Weighting
from medcnn.training.class_counts import Counts as Counts  # plug-ins take both from here
from medcnn.training.label_losses import SumAndCount as SumAndCount


@dataclass(frozen=True, slots=True)
class Loss:
    """A row of LOSSES.

    Attributes:
        kinds: of labels that it makes sense for.
        paired: whether it compares the images of a batch with each other, so that a batch must go
            through the network as a whole.
    """

    function: Callable[..., SumAndCount]
    kinds: frozenset[Kind]
    paired: bool = False


def weighed(loss: Callable[..., SumAndCount]) -> Callable[..., SumAndCount]:
    """A loss with the options that all of medcnn's own have, beside those of its own.

    Args of the result:
        weighting: of rare classes, or of rare findings and their absence
            (`class_counts.weights_of`).
        beta: of `weighting=effective_number`.
        defer: share of the epochs without weighting, in [0, 0.99]; `tasks.task_of` sees to it.
        twice: allow more than one correction for rare classes; `check_options` sees to it.
    """

    def with_weights(
        logits: Tensor,
        targets: Tensor,
        counts: Counts,
        *,
        weighting: Weighting = "none",
        beta: float = BETA,
        defer: float = 0.0,
        twice: bool = False,
        **options: Any,
    ) -> SumAndCount:
        counts = replace(counts, weighting=weighting, beta=beta)
        if counts.exclusive:
            targets = targets * counts.class_weights(logits.device)
        return loss(logits, targets, counts, **options)

    own, common = (inspect.signature(f, eval_str=True).parameters for f in (loss, with_weights))
    together = [p for p in {**own, **common}.values() if p.kind is not p.VAR_KEYWORD]
    functools.update_wrapper(with_weights, loss)
    with_weights.__annotations__ = {p.name: p.annotation for p in together}
    with_weights.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    return with_weights


EXCLUSIVE = frozenset({Kind.MULTICLASS, Kind.ORDINAL})
INDEPENDENT = frozenset({Kind.BINARY, Kind.MULTILABEL})
ORDINAL = frozenset({Kind.ORDINAL})

LOSSES = Table(
    "loss",
    {
        "asymmetric": Loss(weighed(label_losses.asymmetric), INDEPENDENT),
        "auc_margin": Loss(label_losses.auc_margin, INDEPENDENT, paired=True),
        "binary_cross_entropy": Loss(weighed(label_losses.binary_cross_entropy), INDEPENDENT),
        "cross_entropy": Loss(weighed(label_losses.cross_entropy), EXCLUSIVE),
        "cumulative_cross_entropy": Loss(weighed(ordinal_losses.cumulative_cross_entropy), ORDINAL),
        "focal": Loss(weighed(label_losses.focal), frozenset(Kind)),
        "ldam": Loss(weighed(label_losses.ldam), EXCLUSIVE),
        "logit_adjusted": Loss(weighed(label_losses.logit_adjusted), EXCLUSIVE),
        "ordinal_cross_entropy": Loss(weighed(ordinal_losses.ordinal_cross_entropy), ORDINAL),
        "quadratic_kappa": Loss(weighed(ordinal_losses.quadratic_kappa), ORDINAL),
        "squared_grade": Loss(weighed(ordinal_losses.squared_grade), ORDINAL),
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
        "defer": (0.0, 0.99),
    },
    also=lambda: ("auto",),
)

AUTO = {
    Kind.BINARY: "binary_cross_entropy",
    Kind.MULTICLASS: "cross_entropy",
    Kind.MULTILABEL: "binary_cross_entropy",
    Kind.ORDINAL: "ordinal_cross_entropy",
}


# These correct for rare classes by themselves.
CORRECTING = frozenset({"ldam", "logit_adjusted"})


def check_options(name: str, options: Mapping[str, Any], sampler: str = "shuffle") -> None:
    """Raises UsageError where the loss `name` has no such option, a number is out of range, or
    options contradict each other or the sampler; `auto` stands for one that has no more options
    than all have."""
    if name != "auto":
        LOSSES.bind(name, options)
    ours = name == "auto" or name in LOSSES.own
    chosen = {"weighting": "none", "beta": BETA, "defer": 0.0, "twice": False}
    chosen |= {k: v for k, v in options.items() if k in chosen and ours}
    weighting, beta, defer, twice = chosen.values()
    corrections = [f"loss={name}"] if name in CORRECTING else []
    # Cao et al. 2019 weigh after margins have been learnt
    if weighting != "none" and not (defer and name == "ldam"):
        corrections.append(f"loss.weighting={weighting}")
    corrections += [f"sampler={sampler}"] if sampler != "shuffle" else []
    faults = []
    if weighting != "effective_number" and beta != BETA:
        faults.append(
            f"loss.beta={beta} has no effect with loss.weighting={weighting}: leave it out, or "
            "give loss.weighting=effective_number."
        )
    if weighting == "none" and defer:
        faults.append(
            f"loss.defer={defer} has no effect with loss.weighting=none: leave it out, or give a "
            "loss.weighting."
        )
    if len(corrections) > 1 and not twice:
        faults.append(
            f"{' and '.join(corrections)} each correct for rare classes, and together they prefer "
            "rare classes to frequent ones. Keep one of them, or give loss.twice=true if that is "
            "what you want."
        )
    if twice and len(corrections) < 2:
        faults.append(
            "loss.twice=true has no effect: no two settings here correct for rare classes."
        )
    if faults:
        raise UsageError(" ".join(faults))


def check_batches(name: str, *, at_once: int | None, batch_size: int, processes: int) -> None:
    """Raises UsageError where the loss `name` needs a batch as a whole and would not get it."""
    if name not in LOSSES or not LOSSES[name].paired:
        return
    if at_once is not None and at_once < batch_size:
        raise UsageError(
            f"loss={name} compares the images of a batch with each other, so they must go through "
            f"the network at once: trainer.micro_batch={at_once} would leave out pairs. Leave it "
            "out, or give a smaller trainer.batch_size."
        )
    if processes > 1:
        raise UsageError(
            f"loss={name} compares the images of a batch with each other, and {processes} "
            "processes share each batch. Train in one process, or choose another loss."
        )


def check_kind(name: str, kind: Kind) -> None:
    """Raises UsageError where the loss `name` makes no sense for labels of this kind."""
    if kind not in LOSSES[name].kinds:
        fitting = ", ".join(n for n, loss in LOSSES.own.items() if kind in loss.kinds)
        raise UsageError(f"loss={name} does not fit {kind} labels; these do: {fitting}.")
