"""A head that rescales its input for each image."""

from __future__ import annotations

from torch import nn


def normed(num_features: int, num_outputs: int, *, dropout: float = 0.1) -> nn.Sequential:
    """Layer normalisation of the features, then one layer.

    Args:
        num_features: F of the features [B, F].
        num_outputs: K of the logits [B, K]. The last layer is a `Linear` with a row for each, since
            fine-tuning keeps rows by the name of their class.
        dropout: share of the features that is set to 0 while training, in [0, 1].
    """
    return nn.Sequential(
        nn.LayerNorm(num_features), nn.Dropout(dropout), nn.Linear(num_features, num_outputs)
    )
