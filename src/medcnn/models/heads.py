"""Heads: features [B, F] -> logits [B, K], by name in HEADS. The last layer of each is the `Linear`
that has one row per class; fine-tuning keeps rows by the name of their class."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from medcnn.models.cosine import cosine
from medcnn.models.published import original
from medcnn.system.registry import Table


def linear(num_features: int, num_outputs: int, *, dropout: float = 0.0) -> nn.Sequential:
    """One linear layer, after dropout on the features."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(num_features, num_outputs))


def mlp(
    num_features: int, num_outputs: int, *, hidden: int = 512, dropout: float = 0.2
) -> nn.Sequential:
    """One hidden layer of `hidden` units."""
    return nn.Sequential(
        nn.Linear(num_features, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(hidden, num_outputs),
    )


HEADS = Table(
    "head",
    {"cosine": cosine, "linear": linear, "mlp": mlp, "original": original},
    group="heads",
    kind=Callable,  # type: ignore[arg-type]
    function=lambda make: make,
    limits={"dropout": (0.0, 0.99), "hidden": (1, 65_536), "scale": (0.1, 1000.0)},
)


def output_layer(head: nn.Sequential) -> nn.Linear:
    last = head[-1]
    assert isinstance(last, nn.Linear), "every head ends in a Linear with one row per class"
    return last


def keep_rows(into: nn.Linear, source: nn.Linear, rows: Mapping[int, int]) -> None:
    """Copy what `source` learned about some classes: row of `into` -> row of `source`; with them
    goes what belongs to no class, such as the scale of cosines."""
    with torch.no_grad():
        for own, old in zip(into.parameters(), source.parameters(), strict=True):
            if own.ndim:
                own[list(rows)] = old[list(rows.values())]
            elif rows:
                own.copy_(old)
