"""The counts of an epoch so far, kept on the device so that no step waits for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The values of a tally. Reading them makes the loop wait for the device.

    Attributes:
        loss_sum: over `loss_count` assessed labels or images.
        skipped: steps that were skipped because loss or gradient was not finite.
        in_a_row: the number of skipped steps up to now, without others between them.
        most_in_a_row: the largest such number.
        first: the last batch, from 0, of the first skipped step; -1 if there is none.
        unpaired: assessed labels that a paired loss left out, since their batch had only one of the
            two answers.
    """

    loss_sum: float
    loss_count: float
    skipped: float
    in_a_row: float
    most_in_a_row: float
    first: float
    unpaired: float = 0

    @property
    def mean_loss(self) -> float:
        return self.loss_sum / self.loss_count if self.loss_count else math.nan


NOTHING = Counts(loss_sum=0, loss_count=0, skipped=0, in_a_row=0, most_in_a_row=0, first=-1)


class Tally:
    """The same numbers as one tensor."""

    def __init__(self, device: torch.device) -> None:
        # Apple's GPUs have no double precision
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.values = torch.zeros(len(Counts.__slots__), dtype=self.dtype, device=device)
        self.set(NOTHING)

    def set(self, counts: Counts) -> None:
        listed = [getattr(counts, name) for name in Counts.__slots__]
        self.values.copy_(torch.tensor(listed, dtype=self.dtype))

    def read(self) -> Counts:
        return Counts(**dict(zip(Counts.__slots__, self.values.tolist(), strict=True)))

    def add(
        self, loss_sum: Tensor, loss_count: Tensor, unpaired: Tensor, bad: Tensor, batch: int
    ) -> None:
        """Count one step; a bad one does not count in the loss."""
        _, _, skipped, in_a_row, most, first, _ = self.values.unbind()
        row = (in_a_row + 1) * bad
        self.values[:2] += torch.stack([loss_sum, loss_count]).masked_fill(bad, 0)
        self.values[6] += unpaired.masked_fill(bad, 0)
        self.values[2:6] = torch.stack(
            [
                skipped + bad,
                row,
                torch.maximum(most, row),
                torch.where(bad & (first < 0), batch, first),
            ]
        )
