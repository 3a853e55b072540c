"""Laws over every loss, for each way of having labels that it makes sense for, and oracles."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coral_pytorch.losses import coral_loss, corn_loss
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from medcnn.config import Choice
from medcnn.data.labels import Kind, LabelSpace
from medcnn.system.errors import UsageError
from medcnn.training.class_counts import Counts, counts_of, weights_of
from medcnn.training.loss_checks import CORRECTING, check_batches, check_kind, check_options
from medcnn.training.losses import AUTO, EXCLUSIVE, INDEPENDENT, LOSSES
from medcnn.training.ordinal_losses import distance_by_chance
from medcnn.training.tasks import task_of

# A loss that makes sense for both ways of having labels is tested for both.
CASES = [
    (name, exclusive)
    for name in LOSSES
    for exclusive, kinds in ((True, EXCLUSIVE), (False, INDEPENDENT))
    if kinds & LOSSES[name].kinds and not LOSSES[name].paired
]
PAIRED = [name for name in LOSSES if LOSSES[name].paired]
WEIGHTINGS = ("none", "balanced", "effective_number")
law = pytest.mark.parametrize(("name", "exclusive"), CASES)


def counts(exclusive: bool, *found: float) -> Counts:
    """Of 4 labels, 40 images with an answer for each."""
    found = found or (24, 10, 5, 1)
    return Counts(exclusive=exclusive, found=found, assessed=(40.0,) * len(found))


def batch(exclusive: bool) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(6, 4, requires_grad=True)
    if exclusive:
        return logits, F.one_hot(torch.tensor([0, 1, 2, 3, 0, 1]), 4).float()
    return logits, (torch.rand(6, 4) > 0.5).float()


def loss_of(
    name: str, logits: Tensor, targets: Tensor, exclusive: bool, **options: Any
) -> tuple[Tensor, Tensor]:
    """With the counts of 40 images; `twice` where a loss asks for it."""
    if options.get("weighting", "none") != "none" and name in CORRECTING:
        options["twice"] = True
    check_options(name, options)
    total, count = LOSSES[name].function(logits, targets, counts(exclusive), **options)
    return total, count


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@law
def test_a_label_that_was_not_assessed_has_no_gradient(
    name: str, exclusive: bool, weighting: str
) -> None:
    logits, targets = batch(exclusive)
    targets[2] = math.nan
    total, count = loss_of(name, logits, targets, exclusive, weighting=weighting)
    total.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[2], torch.zeros(4))
    assert (logits.grad[[0, 1, 3, 4, 5]] != 0).all()
    assert int(count) == (5 if exclusive else 20)
    others = [0, 1, 3, 4, 5]
    without, _ = loss_of(name, logits[others], targets[others], exclusive, weighting=weighting)
    assert torch.isclose(total, without)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@law
def test_two_halves_of_a_batch_add_up_to_the_whole(
    name: str, exclusive: bool, weighting: str
) -> None:
    logits, targets = batch(exclusive)
    whole, count = loss_of(name, logits, targets, exclusive, weighting=weighting)
    halves = [
        loss_of(name, logits[r], targets[r], exclusive, weighting=weighting)
        for r in (slice(0, 2), slice(2, 6))
    ]
    assert torch.isclose(halves[0][0] + halves[1][0], whole)
    assert halves[0][1] + halves[1][1] == count


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@law
def test_raising_the_right_logit_lowers_the_loss(
    name: str, exclusive: bool, weighting: str
) -> None:
    logits, targets = batch(exclusive)
    before, _ = loss_of(name, logits, targets, exclusive, weighting=weighting)
    before.backward()
    assert logits.grad is not None
    assert (logits.grad[targets == 1] < 0).all()
    raised = (logits + 0.05 * targets).detach()
    after, _ = loss_of(name, raised, targets, exclusive, weighting=weighting)
    assert after < before


@law
def test_a_mixed_target_costs_the_mixture(name: str, exclusive: bool) -> None:
    logits, targets = batch(exclusive)
    other = targets.flip(0)
    for weighting in WEIGHTINGS:
        losses = [
            loss_of(name, logits, t, exclusive, weighting=weighting)[0]
            for t in (0.3 * targets + 0.7 * other, targets, other)
        ]
        assert torch.isclose(losses[0], 0.3 * losses[1] + 0.7 * losses[2])


@law
def test_weighting_multiplies_the_loss_of_each_label(name: str, exclusive: bool) -> None:
    """One image at a time, each with one answer that weighs."""
    logits, _ = batch(exclusive)
    logit = logits[:1].detach()
    for k, present in itertools.product(range(4), (True,) if exclusive else (True, False)):
        target = torch.zeros(1, 4)
        if not exclusive:
            target = torch.full((1, 4), math.nan)
        target[0, k] = float(present)
        found = counts(exclusive).found
        sizes = found if exclusive else (40 - found[k], found[k])
        weight = weights_of(sizes, "balanced", 0.0)[k if exclusive else int(present)]
        plain, _ = loss_of(name, logit, target, exclusive)
        weighted, _ = loss_of(name, logit, target, exclusive, weighting="balanced")
        assert float(weighted) == pytest.approx(weight * float(plain), rel=1e-5)


@law
def test_equal_counts_weigh_nothing(name: str, exclusive: bool) -> None:
    logits, targets = batch(exclusive)
    equal = counts(exclusive, 10, 10, 10, 10) if exclusive else counts(exclusive, 20, 20, 20, 20)
    function = LOSSES[name].function
    weighted, _ = function(logits, targets, equal, weighting="balanced")
    assert torch.isclose(weighted, function(logits, targets, equal)[0])


EXTREME = (0.0, 1.0, -1.0, 17.0, 18.0, -18.0, 88.0, 100.0, -104.0, 1e4, -1e4, 6e4, -6e4)
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "asymmetric": tuple(
        {"gamma_pos": p, "gamma_neg": n, "shift": s}
        for p, n, s in itertools.product((0.0, 0.01, 20.0), (0.0, 0.01, 4.0), (0.0, 1e-6, 0.5))
    ),
    "binary_cross_entropy": ({}, {"smoothing": 0.1}),
    "cross_entropy": ({}, {"smoothing": 0.1}),
    "focal": tuple({"gamma": g} for g in (0.0, 0.01, 0.5, 0.999, 1.0, 2.0, 20.0)),
    "ldam": tuple({"margin": m} for m in (0.0, 0.5, 10.0)),
    "logit_adjusted": tuple({"tau": t} for t in (0.0, 1.0, 10.0)),
    "ordinal_cross_entropy": tuple({"softness": s} for s in (0.0, 1e-3, 0.4, 100.0)),
}


@pytest.mark.fault
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@law
def test_loss_and_gradient_of_extreme_logits_are_finite(
    name: str, exclusive: bool, dtype: torch.dtype
) -> None:
    """Row B3. Right and wrong answers, mixed ones and such as were not assessed."""
    logit = torch.tensor(EXTREME).clamp(-6.5e4, 6.5e4)
    grid = torch.cartesian_prod(logit, logit)
    for target in ([1.0, 0.0], [0.0, 1.0], [0.3, 0.7], [math.nan, math.nan]):
        for options in OPTIONS.get(name, ({},)):
            logits = grid.to(dtype).requires_grad_()
            targets = torch.tensor(target).expand_as(logits).clone()
            seen = counts(exclusive, 40, 0)  # the second was never found
            total, _ = LOSSES[name].function(logits, targets, seen, **options)
            total.backward()
            assert logits.grad is not None
            assert total.isfinite(), (target, options)
            assert logits.grad.isfinite().all(), (target, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("asymmetric", {"gamma_pos": 0.0, "gamma_neg": 0.0, "shift": 0.0}),
        ("binary_cross_entropy", {}),
        ("cross_entropy", {}),
        ("focal", {"gamma": 0.0}),
        ("ldam", {"margin": 0.0}),
        ("logit_adjusted", {"tau": 0.0}),
        ("ordinal_cross_entropy", {"softness": 0.0}),
    ],
)
def test_without_what_sets_it_apart_a_loss_is_cross_entropy(
    name: str, options: dict[str, Any]
) -> None:
    for exclusive in [e for n, e in CASES if n == name]:
        logits, targets = batch(exclusive)
        plain = F.cross_entropy if exclusive else F.binary_cross_entropy_with_logits
        total, _ = loss_of(name, logits, targets, exclusive, **options)
        assert torch.isclose(total, plain(logits, targets, reduction="sum"))


def test_of_two_grades_the_cumulative_cross_entropy_is_cross_entropy() -> None:
    """One question is left."""
    logits, targets = batch(True)[0][:, :2], batch(True)[1][:, [0, 1]]
    targets[2:4] = torch.tensor([0.3, 0.7])
    total, _ = LOSSES["cumulative_cross_entropy"].function(logits, targets, counts(True, 24, 16))
    assert torch.isclose(total, F.cross_entropy(logits, targets, reduction="sum"))


def test_cross_entropy_equals_torchs() -> None:
    logits, targets = batch(True)
    ours, count = loss_of("cross_entropy", logits, targets, True, smoothing=0.1)
    theirs = F.cross_entropy(logits, targets.argmax(1), label_smoothing=0.1)
    assert torch.isclose(ours / count, theirs)


def test_weighted_cross_entropy_equals_torchs_with_the_same_weights() -> None:
    found = counts(True).found
    weight = torch.tensor([40 / 4 / n for n in found])
    logits, targets = batch(True)
    ours, _ = loss_of("cross_entropy", logits, targets, True, weighting="balanced")
    assert torch.isclose(ours, F.cross_entropy(logits, targets, weight, reduction="sum"))


def test_weighted_binary_cross_entropy_equals_torchs_with_pos_weight() -> None:
    """Up to the share that sets the mean weight of each label to 1."""
    found = torch.tensor(counts(False).found)
    logits, targets = batch(False)
    ours, _ = loss_of("binary_cross_entropy", logits, targets, False, weighting="balanced")
    theirs = F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=(40 - found) / found, reduction="none"
    )
    assert torch.isclose(ours, (theirs * 40 / 2 / (40 - found)).sum())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_equals_torchvisions(gamma: float) -> None:
    logits = torch.linspace(-12, 12, 40)[:, None].repeat(1, 4)
    targets = (torch.arange(160) % 2).reshape(40, 4).float()
    ours, _ = loss_of("focal", logits, targets, False, gamma=gamma)
    theirs = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=gamma, reduction="sum")
    assert torch.isclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_classes_is_its_formula(gamma: float) -> None:
    """Lin et al. 2017, equation 4, in double precision."""
    logits, targets = batch(True)
    logits = 4 * logits.detach()
    right = torch.softmax(logits.double(), dim=1)[targets == 1]
    ours, _ = loss_of("focal", logits, targets, True, gamma=gamma)
    each = -((1 - right) ** gamma) * right.log()
    assert float(ours) == pytest.approx(float(each.sum()), rel=1e-5)


@pytest.mark.parametrize(("gamma_pos", "gamma_neg", "shift"), [(0, 4, 0.05), (1, 2, 0.2)])
def test_asymmetric_loss_equals_timms(gamma_pos: float, gamma_neg: float, shift: float) -> None:
    # one image of 160 labels: timm's versions differ in whether they take the mean over images
    logits = torch.linspace(-8, 8, 160)[None].requires_grad_()
    targets = (torch.arange(160) % 2).float()[None]
    options = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg}
    seen = counts(False, *[20.0] * 160)
    ours, _ = LOSSES["asymmetric"].function(logits, targets, seen, **options, shift=shift)
    (slope,) = torch.autograd.grad(ours, logits)
    theirs = AsymmetricLossMultiLabel(**options, clip=shift)(logits, targets)
    (their_slope,) = torch.autograd.grad(theirs, logits)
    assert torch.isclose(ours, theirs, rtol=1e-4)
    torch.testing.assert_close(slope, their_slope, rtol=1e-3, atol=1e-5)


def test_adjusted_logits_add_the_logarithm_of_each_classs_share() -> None:
    logits, targets = batch(True)
    share = torch.tensor(counts(True).found) / 40
    ours, _ = loss_of("logit_adjusted", logits, targets, True, tau=1.5)
    assert torch.isclose(
        ours, F.cross_entropy(logits + 1.5 * share.log(), targets, reduction="sum")
    )


def test_the_margin_lowers_the_right_logit_by_the_fourth_root_of_the_count() -> None:
    logits, targets = batch(True)
    margins = 2.0 * torch.tensor(counts(True).found) ** -0.25  # the rarest has one image
    ours, _ = loss_of("ldam", logits, targets, True, margin=2.0)
    lowered = logits - margins * targets
    assert torch.isclose(ours, F.cross_entropy(lowered, targets, reduction="sum"))


def test_a_near_grade_costs_less_than_a_far_one() -> None:
    target = torch.tensor([[0.0, 1, 0, 0, 0]])
    near, far = torch.zeros(1, 5), torch.zeros(1, 5)
    near[0, 2], far[0, 4] = 5, 5
    seen = counts(True, 10, 10, 10, 5, 5)
    ordinal = [name for name in LOSSES if LOSSES[name].kinds == {Kind.ORDINAL}]
    assert len(ordinal) == 4
    for name in ordinal:
        function = LOSSES[name].function
        assert function(near, target, seen)[0] < function(far, target, seen)[0]


def test_cumulative_cross_entropy_asks_whether_each_grade_is_reached() -> None:
    logits, targets = batch(True)
    reached = torch.softmax(logits, dim=1).flip(1).cumsum(1).flip(1)[:, 1:]
    truth = targets.flip(1).cumsum(1).flip(1)[:, 1:]
    ours, _ = loss_of("cumulative_cross_entropy", logits, targets, True)
    assert torch.isclose(ours, F.binary_cross_entropy(reached, truth, reduction="sum"))


def test_the_mean_grade_alone_counts_for_the_squared_grade() -> None:
    """Grades 0 and 2 with half of the probability each, where the truth is 1."""
    logits = torch.tensor([[0.0, -40.0, 0.0]])
    function, seen = LOSSES["squared_grade"].function, counts(True, 1, 1, 1)
    assert float(function(logits, torch.tensor([[0.0, 1, 0]]), seen)[0]) == pytest.approx(0)
    assert float(function(logits, torch.tensor([[1.0, 0, 0]]), seen)[0]) == pytest.approx(1)


def test_who_guesses_by_the_training_split_has_a_kappa_of_zero() -> None:
    found = (24.0, 10.0, 5.0, 1.0)
    seen, function = counts(True, *found), LOSSES["quadratic_kappa"].function
    guess = torch.tensor(found).log().repeat(40, 1)
    targets = torch.eye(4).repeat_interleave(torch.tensor(found).int(), dim=0)
    total, count = function(guess, targets, seen)
    assert float(total / count) == pytest.approx(1, rel=1e-5)
    assert float(function(100 * targets, targets, seen)[0]) == pytest.approx(0)
    grade = np.repeat(np.arange(4), np.array(found, int))
    assert distance_by_chance(seen) == pytest.approx(2 * grade.var())


def test_cumulative_cross_entropy_is_the_coral_loss() -> None:
    """Of the answers to "this grade or a higher one?" that the softmax gives."""
    logits, targets = batch(True)
    answers = torch.stack(
        [logits[:, k:].logsumexp(1) - logits[:, :k].logsumexp(1) for k in range(1, 4)], dim=1
    )
    reached = (targets.argmax(1)[:, None] > torch.arange(3)).float()
    ours, _ = loss_of("cumulative_cross_entropy", logits, targets, True)
    assert torch.isclose(ours, coral_loss(answers, reached, reduction="sum"))


def test_cross_entropy_is_the_corn_loss() -> None:
    """Of the answers to "a higher grade than this one?" that the softmax gives."""
    logits, targets = batch(True)
    answers = torch.stack([logits[:, k + 1 :].logsumexp(1) - logits[:, k] for k in range(3)], dim=1)
    grade = targets.argmax(1)
    asked = sum(int((grade >= k).sum()) for k in range(3))  # theirs is a mean over questions
    ours, _ = loss_of("cross_entropy", logits, targets, True)
    assert torch.isclose(ours, asked * corn_loss(answers, grade, 4))


def margin_of(logits: Tensor, targets: Tensor, **options: float) -> tuple[Tensor, Tensor]:
    seen = Counts(exclusive=False, found=(1.0,), assessed=(2.0,))
    return LOSSES["auc_margin"].function(logits, targets, seen, **options)


@pytest.mark.parametrize("margin", [1.0, 2.0])
def test_the_margin_of_auroc_is_the_mean_over_pairs(margin: float) -> None:
    """Yuan et al. 2021, equation 4, with its inner problem solved."""
    torch.manual_seed(0)
    logits, targets = 2 * torch.randn(12, 1), (torch.arange(12) % 3 == 0).float()[:, None]
    p = torch.sigmoid(logits[:, 0])
    pairs = (margin - (p[::3, None] - p[targets[:, 0] == 0])) ** 2
    total, count = margin_of(logits, targets, margin=margin)
    assert int(count) == 12
    assert torch.isclose(total / count, pairs.mean())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_margin_of_auroc_is_monais_loss_at_its_best_means_and_multiplier(version: str) -> None:
    """Whose first version also weighs by the shares of the two classes."""
    theirs = pytest.importorskip("monai.losses.aucm_loss", reason="needs monai 1.6")
    torch.manual_seed(0)
    logits = 2 * torch.randn(12, 1, requires_grad=True)
    targets = (torch.arange(12) % 3 == 0).float()[:, None]
    p = torch.sigmoid(logits)
    loss = theirs.AUCMLoss(margin=1.5, version=version)
    best = p[targets == 1].mean(), p[targets == 0].mean()
    for name, value in zip(("a", "b", "alpha"), (*best, 1.5 - best[0] + best[1]), strict=True):
        getattr(loss, name).data = value.detach()
    found = loss(p, targets)
    total, count = margin_of(logits, targets, margin=1.5)
    ours = total / count * (1 / 3 * 2 / 3 if version == "v1" else 1)
    torch.testing.assert_close(ours, found)
    (slope,), (their_slope,) = (
        torch.autograd.grad(x, logits, retain_graph=True) for x in (ours, found)
    )
    torch.testing.assert_close(slope, their_slope)


def test_who_keeps_the_margin_of_auroc_pays_for_the_spread_alone() -> None:
    p = torch.tensor([[0.9], [0.7], [0.2], [0.1]])
    total, count = margin_of(torch.logit(p), torch.tensor([[1.0], [1], [0], [0]]), margin=0.5)
    assert float(total / count) == pytest.approx(0.1**2 + 0.05**2, rel=1e-4)


def test_a_label_without_both_answers_has_no_pairs() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, requires_grad=True)
    nan = math.nan
    targets = torch.tensor([[1, 0, 1], [0, 0, nan], [1, 0, 1], [nan, 0, nan]])
    total, count = margin_of(logits, targets)
    total.backward()
    assert logits.grad is not None
    assert int(count) == 3
    assert torch.equal(logits.grad[:, 1:], torch.zeros(4, 2))
    assert (logits.grad[:3, 0] != 0).all()
    assert float(logits.grad[3, 0]) == 0
    alone, _ = margin_of(logits[:3, :1], targets[:3, :1])
    assert torch.isclose(total, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_paired_loss_of_extreme_logits_is_finite_and_falls_for_the_right_answer(
    dtype: torch.dtype,
) -> None:
    for name, margin in itertools.product(PAIRED, (0.0, 1.0, 10.0)):
        logits = torch.tensor(EXTREME).clamp(-6.5e4, 6.5e4).to(dtype)[:, None].requires_grad_()
        targets = (torch.arange(len(EXTREME)) % 2).float()[:, None]
        targets[0], targets[3] = 0.3, math.nan
        total, _ = LOSSES[name].function(logits, targets, counts(False, 20), margin=margin)
        total.backward()
        assert total.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
    logits = torch.randn(8, 1, requires_grad=True)
    targets = torch.tensor([[1.0], [0]]).repeat(4, 1)
    for name in PAIRED:
        total, _ = LOSSES[name].function(logits, targets, counts(False, 20))
        (slope,) = torch.autograd.grad(total, logits)
        assert (slope[::2] < 0).all()
        assert (slope[1::2] > 0).all()


@pytest.mark.parametrize(("at_once", "processes"), [(4, 1), (None, 2)])
def test_a_paired_loss_without_the_whole_batch_is_refused(
    at_once: int | None, processes: int
) -> None:
    with pytest.raises(UsageError, match="compares the images of a batch with each other"):
        check_batches("auc_margin", at_once=at_once, batch_size=8, processes=processes)
    check_batches("auc_margin", at_once=8, batch_size=8, processes=1)
    check_batches("focal", at_once=at_once, batch_size=8, processes=processes)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_mean_weight_of_all_images_is_one(weighting: Any) -> None:
    for sizes in ((24.0, 10.0, 5.0, 1.0), (40.0, 0.0), (1e6, 3.0), (0.5, 7.25)):
        weights = np.array(weights_of(sizes, weighting, 0.99))
        assert (weights * sizes).sum() / sum(sizes) == pytest.approx(1)
        assert (np.diff(weights[np.argsort(sizes)]) <= 0).all(), "the rarer, the heavier"
    assert weights_of((0.0, 0.0), weighting, 0.99) == (1.0, 1.0)


def test_the_effective_number_lies_between_no_weighting_and_balance() -> None:
    sizes = (24.0, 10.0, 5.0, 1.0)
    assert weights_of(sizes, "effective_number", 0.0) == pytest.approx((1, 1, 1, 1))
    balanced = weights_of(sizes, "balanced", 0.0)
    assert weights_of(sizes, "effective_number", 0.9999999) == pytest.approx(balanced, rel=1e-5)
    half = [(1 - 0.5) / (1 - 0.5**n) for n in sizes]  # Cui et al. 2019
    ours = np.array(weights_of(sizes, "effective_number", 0.5))
    assert ours / ours[0] == pytest.approx(np.array(half) / half[0])


def test_only_assessed_labels_are_counted() -> None:
    nan = math.nan
    each = np.array([[1, 0], [nan, 1], [1, nan], [0, 1]])
    assert counts_of(each, exclusive=False) == Counts(
        exclusive=False, found=(2, 2), assessed=(3, 3)
    )
    one = np.array([[1, 0], [nan, nan], [0.25, 0.75], [0, 1]])
    assert counts_of(one, exclusive=True) == Counts(
        exclusive=True, found=(1.25, 1.75), assessed=(3, 3)
    )


def test_a_task_weighs_by_the_targets_that_it_is_given() -> None:
    labels = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b"))
    targets = np.array([[1.0, 0]] * 3 + [[0.0, 1]])
    loss = Choice(name="auto", options={"weighting": "balanced"})
    task = task_of(labels, loss, "auto", targets, epochs=1)
    total, count = task.loss(torch.zeros(4, 2), torch.from_numpy(targets), 0)
    assert float(total / count) == pytest.approx(math.log(2))
    rare, _ = task.loss(torch.zeros(1, 2), torch.tensor([[0.0, 1]]), 0)
    assert float(rare) == pytest.approx(2 * math.log(2))


def test_every_kind_has_a_loss_that_fits_it() -> None:
    for kind in Kind:
        check_kind(AUTO[kind], kind)


def test_a_loss_for_other_labels_is_refused_with_those_that_fit() -> None:
    with pytest.raises(UsageError, match="does not fit multilabel labels; these do: asymmetric"):
        check_kind("cross_entropy", Kind.MULTILABEL)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("asymmetric", {"shift": 0.6}),
        ("focal", {"gamma": -0.5}),
        ("focal", {"gamma": math.nan}),
        ("focal", {"gamma": math.inf}),
        ("cross_entropy", {"smoothing": 1.0}),
        ("cross_entropy", {"beta": 1.0}),
        ("binary_cross_entropy", {"smoothing": -0.1}),
        ("ldam", {"margin": 11.0}),
        ("logit_adjusted", {"tau": -1.0}),
        ("ordinal_cross_entropy", {"softness": -1.0}),
    ],
)
def test_options_out_of_their_range_are_refused_by_name(
    name: str, options: dict[str, float]
) -> None:
    """Row B3."""
    (option,) = options
    with pytest.raises(UsageError, match=rf"loss {name}: {option}=.* should be from"):
        check_options(name, options)


def test_deferred_weighting_begins_at_its_share_of_the_epochs() -> None:
    """Cao et al. 2019 begin at 0.8 of theirs."""
    labels = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b"))
    targets = np.array([[1.0, 0]] * 3 + [[0.0, 1]])
    logits, rare = torch.zeros(1, 2), torch.tensor([[0.0, 1]])
    options = {"weighting": "balanced", "defer": 0.8, "margin": 0.0}
    task = task_of(labels, Choice(name="ldam", options=options), "auto", targets, epochs=10)
    costs = [float(task.loss(logits, rare, epoch)[0]) / math.log(2) for epoch in range(10)]
    assert costs == pytest.approx([1] * 8 + [2] * 2)


@pytest.mark.parametrize(
    ("name", "options", "sampler", "named"),
    [
        ("ldam", {"weighting": "balanced"}, "shuffle", ["loss=ldam", "loss.weighting=balanced"]),
        ("auto", {"weighting": "balanced"}, "balanced", ["loss.weighting", "sampler=balanced"]),
        ("logit_adjusted", {}, "square_root", ["loss=logit_adjusted", "sampler=square_root"]),
        ("ldam", {"weighting": "balanced", "defer": 0.8}, "progressive", ["sampler=progressive"]),
    ],
)
def test_correcting_twice_is_refused_unless_it_is_asked_for(
    name: str, options: dict[str, Any], sampler: str, named: list[str]
) -> None:
    with pytest.raises(UsageError, match="each correct for rare classes") as refused:
        check_options(name, options, sampler)
    assert all(setting in str(refused.value) for setting in named)
    check_options(name, {**options, "twice": True}, sampler)


def test_correcting_once_is_not_refused() -> None:
    check_options("ldam", {"weighting": "effective_number", "defer": 0.8})
    check_options("focal", {"weighting": "balanced"})
    check_options("cross_entropy", {}, "balanced")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"twice": True}, "loss.twice=true has no effect"),
        ({"defer": 0.5}, "loss.defer=0.5 has no effect with loss.weighting=none"),
        ({"beta": 0.9}, "loss.beta=0.9 has no effect with loss.weighting=none"),
        ({"weighting": "balance"}, "should be one of none, balanced, effective_number"),
    ],
)
def test_an_option_without_effect_is_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        check_options("ldam", options)
