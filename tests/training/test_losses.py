from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.data.labels import Kind
from medcnn.system.errors import UsageError
from medcnn.training.losses import (
    AUTO,
    LOSSES,
    check_kind,
    cross_entropy,
    focal,
    ordinal_cross_entropy,
)


def batch(kinds: frozenset[Kind]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(6, 4, requires_grad=True)
    if Kind.MULTILABEL in kinds:
        return logits, (torch.rand(6, 4) > 0.5).float()
    return logits, F.one_hot(torch.tensor([0, 1, 2, 3, 0, 1]), 4).float()


@pytest.mark.parametrize("name", LOSSES)
def test_a_label_that_was_not_assessed_has_no_gradient(name: str) -> None:
    logits, targets = batch(LOSSES[name].kinds)
    targets[2] = math.nan
    total, count = LOSSES[name].function(logits, targets)
    total.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[2], torch.zeros(4))
    assert (logits.grad[[0, 1, 3, 4, 5]] != 0).all()
    assert int(count) == (20 if Kind.MULTILABEL in LOSSES[name].kinds else 5)


@pytest.mark.parametrize("name", LOSSES)
def test_two_halves_of_a_batch_add_up_to_the_whole(name: str) -> None:
    logits, targets = batch(LOSSES[name].kinds)
    whole, count = LOSSES[name].function(logits, targets)
    halves = [LOSSES[name].function(logits[r], targets[r]) for r in (slice(0, 2), slice(2, 6))]
    assert torch.isclose(halves[0][0] + halves[1][0], whole)
    assert halves[0][1] + halves[1][1] == count


@pytest.mark.parametrize("name", LOSSES)
def test_following_the_gradient_lowers_the_loss(name: str) -> None:
    logits, targets = batch(LOSSES[name].kinds)
    before, _ = LOSSES[name].function(logits, targets)
    before.backward()
    assert logits.grad is not None
    after, _ = LOSSES[name].function((logits - 0.1 * logits.grad).detach(), targets)
    assert after < before


def test_cross_entropy_equals_torchs() -> None:
    logits, targets = batch(LOSSES["cross_entropy"].kinds)
    ours, count = cross_entropy(logits, targets, smoothing=0.1)
    theirs = F.cross_entropy(logits, targets.argmax(1), label_smoothing=0.1)
    assert torch.isclose(ours / count, theirs)


def test_focal_with_gamma_zero_is_binary_cross_entropy() -> None:
    logits, targets = batch(LOSSES["focal"].kinds)
    assert torch.isclose(
        focal(logits, targets, gamma=0.0)[0],
        F.binary_cross_entropy_with_logits(logits, targets, reduction="sum"),
    )


def test_a_near_grade_costs_less_than_a_far_one() -> None:
    target = torch.tensor([[0.0, 1, 0, 0, 0]])
    near, far = torch.zeros(1, 5), torch.zeros(1, 5)
    near[0, 2], far[0, 4] = 5, 5
    assert ordinal_cross_entropy(near, target)[0] < ordinal_cross_entropy(far, target)[0]


def test_ordinal_without_softness_is_cross_entropy() -> None:
    logits, targets = batch(LOSSES["cross_entropy"].kinds)
    assert torch.equal(
        ordinal_cross_entropy(logits, targets, softness=0.0)[0], cross_entropy(logits, targets)[0]
    )


def test_every_kind_has_a_loss_that_fits_it() -> None:
    for kind in Kind:
        check_kind(AUTO[kind], kind)


def test_a_loss_for_other_labels_is_refused_with_those_that_fit() -> None:
    with pytest.raises(UsageError, match="does not fit multilabel labels; these do: binary_cross"):
        check_kind("cross_entropy", Kind.MULTILABEL)
