"""Optimizers by name, parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from medcnn.models.classifier import Classifier


def adamw(
    classifier: Classifier,
    *,
    lr: float,
    weight_decay: float,
    head_lr_factor: float,
) -> torch.optim.Optimizer:
    """Loshchilov and Hutter 2019, ICLR."""
    groups = groups_of(classifier, lr, weight_decay, head_lr_factor)
    return torch.optim.AdamW(groups, fused=True)  # ten times as fast on a CPU as the plain loop


def sgd(
    classifier: Classifier,
    *,
    lr: float,
    weight_decay: float,
    head_lr_factor: float,
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    """With Nesterov's momentum where there is momentum at all."""
    groups = groups_of(classifier, lr, weight_decay, head_lr_factor)
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)
    if momentum > 0:
        for group in optimizer.param_groups:
            for p in group["params"]:
                # torch would leave it uninitialised where the first step is skipped
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


# Each must be fused: those alone can be told on the device to skip a step (`found_inf`).
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": adamw, "sgd": sgd}


def groups_of(
    classifier: Classifier, lr: float, weight_decay: float, head_lr_factor: float
) -> list[dict[str, object]]:
    """Body and head by name, each with and without weight decay; frozen parameters are left out.

    Biases and the scales of normalisation layers are vectors: decay would only push them to 0.
    """
    groups: list[dict[str, object]] = []
    parts: tuple[tuple[str, nn.Module, float], ...] = (
        ("body", classifier.body, lr),
        ("head", classifier.head, lr * head_lr_factor),
    )
    for name, part, part_lr in parts:
        trained = [p for p in part.parameters() if p.requires_grad]
        for decay, wanted in ((weight_decay, True), (0.0, False)):
            chosen = [p for p in trained if (p.ndim > 1) is wanted]
            if chosen:
                groups.append(
                    {
                        "params": chosen,
                        "name": name,
                        "lr": part_lr,
                        "base_lr": part_lr,
                        "weight_decay": decay,
                    }
                )
    return groups


def schedule(step: int, *, total: int, warmup: int) -> float:
    """Share of the base learning rate at a step: a linear warm-up, then half a cosine to 0
    (Loshchilov and Hutter 2017, ICLR)."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_learning_rates(optimizer: torch.optim.Optimizer, share: float) -> dict[str, float]:
    """Set every group to `share` of its base; returns the rates by group name."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share
    return learning_rates(optimizer)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    return {group["name"]: group["lr"] for group in optimizer.param_groups}
