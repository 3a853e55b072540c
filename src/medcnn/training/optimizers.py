"""Optimizers by name, parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch

from medcnn.config import OptimizerConfig
from medcnn.models.classifier import Classifier
from medcnn.models.parts import HEAD, undecayed
from medcnn.system.registry import Table
from medcnn.training.transfer import Plan, Stage, base_rate

Groups = list[dict[str, Any]]


def adamw(groups: Groups) -> torch.optim.Optimizer:
    """Loshchilov and Hutter 2019, ICLR."""
    # fused: ten times as fast on a CPU as the plain loop
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, fused=True)
    # This step is skipped, but allocates the moments (twice the weights). torch would do so in the
    # first real step; if memory ran out then, it would be too late to repeat it in smaller parts.
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.found_inf = torch.ones((), device=params[0].device)  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    del optimizer.found_inf  # type: ignore[attr-defined]
    return optimizer


def sgd(groups: Groups, *, momentum: float = 0.9) -> torch.optim.Optimizer:
    """With Nesterov momentum, unless `momentum` is 0."""
    optimizer = torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0, fused=True)
    if momentum > 0:
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            # torch would leave it uninitialised if the first step is skipped
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


# Each must be fused: only fused optimizers can skip a step on the device (`found_inf`).
OPTIMIZERS = Table("optimizer", {"adamw": adamw, "sgd": sgd}, function=lambda make: make)


def groups_of(classifier: Classifier, plan: Plan, config: OptimizerConfig) -> Groups:
    """All that trains at any time, by the groups of `plan`, with and without weight decay."""
    groups: Groups = []
    still = {f"body.{name}" for name in undecayed(classifier.body)}
    still |= {n for n in undecayed(classifier) if not n.startswith("body.")}
    for name, names in plan.groups().items():
        members = set(names)
        own = [(n, p) for n, p in classifier.named_parameters() if n in members]
        # what is pulled to its starting weights is not pulled to 0 as well
        most = 0.0 if config.l2_sp and name != HEAD else config.weight_decay
        for decay, decays in ((most, True), (0.0, False)):
            if params := [p for n, p in own if (n not in still) is decays]:
                groups.append({"params": params, "name": name, "weight_decay": decay})
    set_stage(groups, plan, plan.stages[0], config)
    return groups


def set_stage(groups: Groups, plan: Plan, stage: Stage, config: OptimizerConfig) -> None:
    """Give each group the base rate that it has in this stage."""
    rates = plan.rates(stage)
    for group in groups:
        name = group["name"]
        rate = base_rate(config) * (config.head_lr_factor if name == HEAD else 1.0) * rates[name]
        group["base_lr"] = rate
        group.setdefault("lr", rate)  # which each step sets


def schedule(step: int, *, total: int, warmup: int) -> float:
    """Share of the base learning rate at a step: a linear warm-up, then half a cosine to 0
    (Loshchilov and Hutter 2017, ICLR)."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_learning_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group to `share` of its base."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """By group, of those that train."""
    return {group["name"]: group["lr"] for group in optimizer.param_groups if group["base_lr"]}
