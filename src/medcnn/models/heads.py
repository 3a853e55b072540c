"""Heads: features [B, F] -> logits [B, K]. The last layer of each is the `Linear` that has one
row per class; fine-tuning keeps rows by the name of their class."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from medcnn.system.registry import Table


def linear(num_features: int, num_outputs: int, *, dropout: float = 0.0) -> nn.Sequential:
    """One layer, after dropout of the features."""
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
    {"linear": linear, "mlp": mlp},
    group="heads",
    kind=Callable,  # type: ignore[arg-type]
    function=lambda make: make,
)


def output_layer(head: nn.Sequential) -> nn.Linear:
    last = head[-1]
    assert isinstance(last, nn.Linear), "every head ends in a Linear with one row per class"
    return last
