"""Modes of transfer: what trains, at which rate, and from which epoch on."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.parts import HEAD, parts_of
from medcnn.system.errors import UsageError
from medcnn.training.transfer import TRANSFERS, Plan, planned
from tests.models.test_parts import FAMILIES


@pytest.mark.parametrize("mode", ["linear_probe", "lora"])
def test_a_pooling_that_learns_trains_with_the_head_while_the_body_is_frozen(mode: str) -> None:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="test_resnet",
        options={},
        pooling="gem",
        head="linear",
        head_options={},
        channels=3,
        size_px=64,
    )
    classifier, _ = build_classifier(architecture, 3)
    plan = planned(TRANSFERS[mode], classifier, 1)
    (power,) = (n for n, _ in classifier.named_parameters() if n.endswith("log_power"))
    assert set(plan.groups()["head"]) == {power, "head.1.weight", "head.1.bias"}
    classifier.train_only(plan.training(plan.stages[0]))
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    classifier.train()(torch.rand(2, 3, 64, 64)).square().sum().backward()
    torch.optim.SGD([p for p in classifier.parameters() if p.grad is not None], 0.1).step()
    changed = {k for k, v in classifier.state_dict().items() if not torch.equal(v, before[k])}
    assert power in changed
    assert not [k for k in changed if "running" in k]
    if mode == "linear_probe":
        assert changed == {power, "head.1.weight", "head.1.bias"}


PARTS = ["stem", "layer1", "layer2", "layer3", "layer4"]


def make(backbone: str = "resnet18", size_px: int = 32) -> Classifier:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone=backbone, options={}, head="linear", head_options={}, channels=3, size_px=size_px
    )
    return build_classifier(architecture, 3)[0]


def plan_of(mode: str, epochs: int = 10, **options: float) -> Plan:
    return planned(partial(TRANSFERS[mode], **options), make(), epochs)


@pytest.mark.parametrize("mode", TRANSFERS)
@pytest.mark.parametrize("epochs", [2, 3, 10, 41])
def test_the_stages_of_every_mode_fill_the_run_and_train_the_head(mode: str, epochs: int) -> None:
    plan = plan_of(mode, epochs)
    assert sum(stage.epochs for stage in plan.stages) == epochs
    assert all(stage.epochs > 0 and stage.rates[HEAD] > 0 for stage in plan.stages)
    covered = set()
    for epoch in range(epochs):
        begin, length = plan.course(epoch)
        assert begin <= epoch < begin + length
        covered |= set(range(begin, begin + length))
    assert covered == set(range(epochs))


@pytest.mark.parametrize(
    ("mode", "training"),
    [
        ("full", [*PARTS, HEAD]),
        ("scratch", [*PARTS, HEAD]),
        ("layerwise", [*PARTS, HEAD]),
        ("linear_probe", [HEAD]),
        ("last_n", ["layer4", HEAD]),
        ("lora", ["lora", HEAD]),
    ],
)
def test_a_mode_of_one_stage_trains_what_its_name_says(mode: str, training: list[str]) -> None:
    (stage,) = plan_of(mode).stages
    assert list(stage.rates) == training


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "vgg11", "efficientnet_lite0"])
def test_layerwise_leaves_the_stem_of_every_family_at_the_share_that_was_asked_for(
    backbone: str,
) -> None:
    mode = partial(TRANSFERS["layerwise"], stem_scale=0.05)
    (stage,) = planned(mode, make(backbone, 64), 5).stages
    rates = [stage.rates[part] for part in parts_of(make(backbone, 64).body)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[-1] == 1.0
    steps = [b / a for a, b in pairwise(rates)]
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_gradual_lets_parts_join_from_the_last_one_to_the_stem_and_keeps_the_schedule() -> None:
    plan = plan_of("gradual", 10, share=0.5)
    joined = [list(stage.rates) for stage in plan.stages]
    assert joined == [[*PARTS[5 - k :], HEAD] if k else [HEAD] for k in range(6)]
    assert [plan.first(stage) for stage in plan.stages] == [0, 1, 2, 3, 4, 5]
    assert plan.course(7) == (0, 10)
    # with fewer epochs than parts several join at once
    assert list(plan_of("gradual", 3).stages[-1].rates) == [*PARTS, HEAD]


def test_lp_ft_trains_everything_from_a_new_warm_up_on() -> None:
    plan = plan_of("lp_ft", 10, probe_share=0.3, rate=0.2)
    probe, rest = plan.stages
    assert (list(probe.rates), probe.epochs) == ([HEAD], 3)
    assert set(rest.rates.values()) == {0.2}
    assert plan.course(2) == (0, 3)
    assert plan.course(3) == plan.course(9) == (3, 7)


@pytest.mark.parametrize("mode", ["gradual", "lp_ft"])
def test_a_mode_of_several_stages_needs_as_many_epochs(mode: str) -> None:
    with pytest.raises(UsageError, match="needs 2 epochs or more"):
        plan_of(mode, 1)


def test_more_parts_than_a_body_has_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"transfer.n=9: this body has 5 parts \(stem, layer1"):
        plan_of("last_n", n=9)


def test_parts_of_one_rate_are_one_group_of_the_optimizer() -> None:
    assert list(plan_of("full").groups()) == ["body", HEAD]
    assert list(plan_of("linear_probe").groups()) == [HEAD]
    assert list(plan_of("layerwise").groups()) == [*PARTS, HEAD]
    assert list(plan_of("last_n", n=2).groups()) == ["layer3 to layer4", HEAD]


def reaching(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the first module that trains is given, and the logits."""
    first = next(
        m for m in classifier.modules() if any(p.requires_grad for p in m.parameters(recurse=False))
    )
    given: list[Tensor] = []
    handle = first.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
    logits = classifier(images)
    handle.remove()
    return given[0], logits


@pytest.mark.parametrize(
    ("mode", "backbone"),
    {(mode, "resnet18"): 0 for mode in TRANSFERS} | {("last_n", name): 0 for name in FAMILIES},
)
def test_what_is_frozen_does_not_move_by_a_bit_nor_do_its_statistics(
    mode: str, backbone: str
) -> None:
    classifier = make(backbone, 32 if backbone == "resnet18" else 96)
    plan = planned(TRANSFERS[mode], classifier, 10)
    for stage in plan.stages:
        names = plan.training(stage)
        classifier.train_only(names, still=stage.still)
        before = {k: v.clone() for k, v in classifier.state_dict().items()}
        classifier.train()
        optimizer = torch.optim.SGD(classifier.parameters(), lr=0.1, weight_decay=0.1)
        images = torch.rand(8, 3, 32, 32) if backbone == "resnet18" else torch.rand(2, 3, 96, 96)
        first, _ = reaching(classifier, images)
        again, logits = reaching(classifier, images)
        assert torch.equal(first, again), "frozen parts have no dropout"
        logits.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        moved = {k for k, v in classifier.state_dict().items() if not torch.equal(v, before[k])}
        weights = {n for n, _ in classifier.named_parameters()}
        assert moved & weights <= names
        assert all(any(n in moved for n in plan.parts[part]) for part in stage.rates)
        training = {n.rpartition(".")[0] for n in names} if not stage.still else set()
        assert {n.rpartition(".")[0] for n in moved - weights} <= training


@pytest.mark.parametrize("backbone", ["resnet18", "alexnet"])  # alexnet has dropout
def test_fine_tuning_begins_with_the_answers_that_the_probe_ended_with(backbone: str) -> None:
    classifier, images = make(backbone, 64), torch.rand(8, 3, 64, 64)
    probe, rest = (plan := planned(TRANSFERS["lp_ft"], classifier, 10)).stages
    for stage in (probe, rest):
        classifier.train_only(plan.training(stage), still=stage.still)
        classifier.train()
        stage_logits = classifier(images).detach()
        if stage is probe:
            before = stage_logits
    assert torch.equal(stage_logits, before)
    classifier.train_only(plan.training(rest))  # else it would not
    assert not torch.allclose(classifier.train()(images), before)


def test_a_frozen_stem_costs_no_gradients() -> None:
    classifier = make()
    plan = planned(TRANSFERS["last_n"], classifier, 1)
    classifier.train_only(plan.training(plan.stages[0]))
    seen: list[bool] = []
    stem = classifier.body.get_submodule("layer1")
    stem.register_forward_hook(lambda _m, _i, out: seen.append(out.requires_grad))
    classifier.train()(torch.rand(2, 3, 32, 32))
    assert seen == [False]
    assert isinstance(stem, nn.Module)
    assert not stem.training
