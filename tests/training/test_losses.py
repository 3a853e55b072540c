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


EXTREME = (0.0, 1.0, -1.0, 17.0, 18.0, -18.0, 88.0, 100.0, -104.0, 1e4, -1e4, 6e4, -6e4)
OPTIONS: dict[str, tuple[dict[str, float], ...]] = {
    "binary_cross_entropy": ({}, {"smoothing": 0.1}),
    "cross_entropy": ({}, {"smoothing": 0.1}),
    "focal": tuple({"gamma": g} for g in (0.0, 0.01, 0.5, 0.999, 1.0, 2.0, 20.0)),
    "ordinal_cross_entropy": tuple({"softness": s} for s in (0.0, 1e-3, 0.4, 100.0)),
}


@pytest.mark.fault
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_of_extreme_logits_are_finite(name: str, dtype: torch.dtype) -> None:
    """Row B3. Right and wrong answers, mixed ones and such as were not assessed."""
    logit = torch.tensor(EXTREME).clamp(-6.5e4, 6.5e4)
    grid = torch.cartesian_prod(logit, logit)
    for target in ([1.0, 0.0], [0.0, 1.0], [0.3, 0.7], [math.nan, math.nan]):
        for options in OPTIONS[name]:
            logits = grid.to(dtype).requires_grad_()
            targets = torch.tensor(target).expand_as(logits).clone()
            total, _ = LOSSES[name].function(logits, targets, **options)
            total.backward()
            assert logits.grad is not None
            assert total.isfinite(), (target, options)
            assert logits.grad.isfinite().all(), (target, options)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("mixed", [False, True])
def test_focal_loss_is_its_formula(gamma: float, mixed: bool) -> None:
    """Lin et al. 2017, equation 4, in double precision."""
    logits = torch.linspace(-12, 12, 40, dtype=torch.float64)[:, None]
    targets = torch.rand(40, 1, dtype=torch.float64) if mixed else (torch.arange(40) % 2)[:, None]
    p = torch.sigmoid(logits)
    wrong = p * (1 - targets) + (1 - p) * targets
    each = -(targets * p.log() + (1 - targets) * (1 - p).log()) * wrong**gamma
    total, _ = focal(logits, targets, gamma=gamma)
    assert float(total) == pytest.approx(float(each.sum()), rel=1e-5)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("focal", {"gamma": -0.5}),
        ("focal", {"gamma": math.nan}),
        ("focal", {"gamma": math.inf}),
        ("cross_entropy", {"smoothing": 1.0}),
        ("binary_cross_entropy", {"smoothing": -0.1}),
        ("ordinal_cross_entropy", {"softness": -1.0}),
    ],
)
def test_options_out_of_their_range_are_refused_by_name(
    name: str, options: dict[str, float]
) -> None:
    """Row B3."""
    (option,) = options
    with pytest.raises(UsageError, match=rf"loss {name}: {option}=.* should be from"):
        LOSSES.bind(name, options)
