"""The auxiliary classifiers of GoogLeNet and Inception-v3."""

from __future__ import annotations

import copy
import importlib

import pytest
import torch
from torch import nn

from medcnn.config import Choice
from medcnn.data.labels import Kind, LabelSpace
from medcnn.models.auxiliary import BRANCHES, PREFIX, Auxiliary
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.lora import unmerged
from medcnn.system.errors import UsageError
from medcnn.training.tasks import task_of
from medcnn.training.transfer import TRANSFERS, planned


def make(backbone: str, size_px: int = 96) -> Classifier:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone=backbone, options={}, head="linear", head_options={}, channels=3, size_px=size_px
    )
    classifier, body = build_classifier(architecture, 4)
    classifier.auxiliary = Auxiliary(body.network, backbone, 4)
    return classifier


@pytest.mark.parametrize(
    ("backbone", "weights"), [("googlenet", [0.3, 0.3]), ("inception_v3", [0.4])]
)
def test_training_gives_all_logits_with_the_published_weights_and_evaluation_one(
    backbone: str, weights: list[float]
) -> None:
    classifier = make(backbone)
    averaged = copy.deepcopy(classifier).eval()
    images = torch.rand(2, 3, 96, 96)
    outputs = classifier.train()(images)
    assert [weight for weight, _ in outputs] == [1.0, *weights]
    assert all(logits.shape == (2, 4) for _, logits in outputs)
    assert averaged(images).shape == (2, 4)
    assert averaged.auxiliary is not None
    assert not averaged.auxiliary.maps, "a copy has hooks of its own"
    outputs[-1][1].square().sum().backward()
    assert next(classifier.body.parameters()).grad is not None
    head_only = classifier.head[1].weight.grad  # type: ignore[union-attr]
    assert head_only is None, "an auxiliary loss does not teach the head"


def test_a_forward_pass_that_broke_off_leaves_nothing_behind() -> None:
    classifier = make("googlenet").train()
    handle = classifier.body.get_submodule("inception5a").register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        classifier(torch.rand(2, 3, 96, 96))
    handle.remove()
    (_, first), (_, second), _ = classifier(torch.rand(3, 3, 96, 96))
    assert first.shape == second.shape == (3, 4)


def test_the_heads_are_those_of_torchvision_and_timm() -> None:
    """With equal weights, on the maps of 224 and 299 px."""
    (first, _), (only,) = BRANCHES["googlenet"], BRANCHES["inception_v3"]
    # packages hide these modules behind functions of the same name
    googlenet = importlib.import_module("torchvision.models.googlenet")
    inception_v3 = importlib.import_module("timm.models.inception_v3")
    theirs = googlenet.InceptionAux(512, 4).eval()
    ours = first.make(512, 4).eval()
    ours.load_state_dict(theirs.state_dict())
    maps = torch.rand(2, 512, 14, 14)
    torch.testing.assert_close(ours(maps), theirs(maps))
    published = inception_v3.InceptionAux(768, 4).eval()
    made = only.make(768, 4).eval()
    with torch.no_grad():
        for own, other in zip(made.parameters(), published.parameters(), strict=True):
            own.copy_(other)
    maps = torch.rand(2, 768, 17, 17)
    torch.testing.assert_close(made(maps), published(maps))


def test_they_train_with_the_head_and_start_afresh_when_a_finished_run_goes_on() -> None:
    classifier = make("googlenet")
    plan = planned(TRANSFERS["full"], classifier, 1)
    own = {n for n, _ in classifier.named_parameters() if n.startswith(PREFIX)}
    assert own
    assert own <= set(plan.groups()["head"])
    stored = {k: v for k, v in classifier.state_dict().items() if not k.startswith(PREFIX)}
    taken_up = unmerged(classifier, stored)
    assert taken_up.keys() == classifier.state_dict().keys()


def test_the_loss_is_the_weighted_sum_and_counts_each_label_once() -> None:
    labels = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c", "d"))
    targets = torch.eye(4)
    task = task_of(
        labels, Choice(name="cross_entropy", options={}), "auto", targets.numpy(), epochs=1
    )
    logits = [torch.randn(4, 4) for _ in range(3)]
    own, first, second = (task.loss(each, targets, 0)[0] for each in logits)
    total, count = task.total([(1.0, logits[0]), (0.3, logits[1]), (0.3, logits[2])], targets, 0)
    torch.testing.assert_close(total, own + 0.3 * (first + second))
    assert count == task.total(logits[0], targets, 0)[1] == 4
    assert task.total(logits[0], targets, 0)[0].equal(own)
    halves = [
        task.total(
            [(w, z[part]) for w, z in zip((1, 0.3, 0.3), logits, strict=True)], targets[part], 0
        )
        for part in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(halves[0][0] + halves[1][0], total)


def test_other_networks_refuse_them() -> None:
    with pytest.raises(UsageError, match=r"auxiliary=true: .*resnet18 was published without"):
        Auxiliary(nn.Identity(), "resnet18", 4)
