"""Checks of a loss: its options, the kind of labels, the batches, and other corrections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcnn.data.labels import Kind
from medcnn.system.errors import UsageError
from medcnn.training.class_counts import BETA
from medcnn.training.losses import LOSSES

# Losses that correct for rare classes by themselves.
CORRECTING = frozenset({"ldam", "logit_adjusted"})


def check_options(name: str, options: Mapping[str, Any], sampler: str = "shuffle") -> None:
    """Raises UsageError if the loss `name` has no such option, a number is out of range, or options
    contradict each other or the sampler. `auto` has only the common options."""
    if name != "auto":
        LOSSES.bind(name, options)
    ours = name == "auto" or name in LOSSES.own
    chosen = {"weighting": "none", "beta": BETA, "defer": 0.0, "twice": False}
    chosen |= {k: v for k, v in options.items() if k in chosen and ours}
    weighting, beta, defer, twice = chosen.values()
    corrections = [f"loss={name}"] if name in CORRECTING else []
    # Cao et al. 2019 use weights after margins have been learned
    if weighting != "none" and not (defer and name == "ldam"):
        corrections.append(f"loss.weighting={weighting}")
    corrections += [f"sampler={sampler}"] if sampler != "shuffle" else []
    faults = []
    if weighting != "effective_number" and beta != BETA:
        faults.append(
            f"loss.beta={beta} has no effect with loss.weighting={weighting}: remove it, or set "
            "loss.weighting=effective_number."
        )
    if weighting == "none" and defer:
        faults.append(
            f"loss.defer={defer} has no effect with loss.weighting=none: remove it, or set "
            "loss.weighting."
        )
    if len(corrections) > 1 and not twice:
        faults.append(
            f"{' and '.join(corrections)} each correct for rare classes. Together they favour rare "
            "classes over frequent ones. Keep one of them, or set loss.twice=true if you want "
            "this."
        )
    if twice and len(corrections) < 2:
        faults.append(
            "loss.twice=true has no effect: fewer than two settings correct for rare classes."
        )
    if faults:
        raise UsageError(" ".join(faults))


def check_batches(name: str, *, at_once: int | None, batch_size: int, processes: int) -> None:
    """Raises UsageError if the loss `name` needs whole batches and would not get them."""
    if name not in LOSSES or not LOSSES[name].paired:
        return
    if at_once is not None and at_once < batch_size:
        raise UsageError(
            f"loss={name} compares the images of a batch with each other, so they must go through "
            f"the network at once: trainer.micro_batch={at_once} would leave out pairs. Remove it, "
            "or set a smaller trainer.batch_size."
        )
    if processes > 1:
        raise UsageError(
            f"loss={name} compares the images of a batch with each other, but {processes} "
            "processes share each batch. Train in one process, or choose another loss."
        )


def check_kind(name: str, kind: Kind) -> None:
    """Raises UsageError if the loss `name` does not fit labels of this kind."""
    if kind not in LOSSES[name].kinds:
        fitting = ", ".join(n for n, loss in LOSSES.own.items() if kind in loss.kinds)
        raise UsageError(f"loss={name} does not fit {kind} labels; these do: {fitting}.")
