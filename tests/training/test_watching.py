"""Dead ReLUs and gradients: seen where they are, and seen without changing anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from medcnn.models.backbones import Normalisation
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.training.tasks import Task
from medcnn.training.watching import trouble, watched
from tests.command import SMALL, run


class Functional(nn.Module):
    """Two ReLUs without a module of their own; half of the channels of the first never fire."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
        with torch.no_grad():
            self.first.weight.abs_()
            self.second.weight.abs_()
            assert self.first.bias is not None
            self.first.bias.copy_(torch.tensor([1.0, 1.0, -99.0, -99.0]))

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu_(self.second(torch.relu(self.first(images))))
        return maps.mean((2, 3))


def task() -> Task:
    def loss(logits: Tensor, targets: Tensor, _: int) -> tuple[Tensor, Tensor]:
        return ((logits - targets) ** 2).sum(), torch.tensor(targets.numel())

    return Task(labels=None, loss=loss, score="auroc")  # type: ignore[arg-type]


def classifier() -> Classifier:
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))
    return Classifier(Functional(), head, Normalisation((0.0,) * 3, (1.0,) * 3))


IMAGES, TARGETS = (
    torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(0)),
    torch.ones(4, 1),
)


def test_the_share_of_dead_channels_is_that_of_the_layer() -> None:
    found = watched(classifier(), task(), IMAGES, TARGETS)
    assert sorted(v for n, v in found.items() if n.startswith("dead")) == [0.0, 0.5]
    assert found["dead/body"] == 0.5, "the first one, which has no module"
    assert any("dead ReLUs" in line for line in trouble(found))
    assert trouble({n: v for n, v in found.items() if v}, share=0.6) == []


def test_gradients_are_relative_to_the_weights_and_none_is_said_to_be_missing() -> None:
    network = classifier()
    found = watched(network, task(), IMAGES, TARGETS)
    network.eval()
    total, count = task().loss(network(IMAGES), TARGETS, 0)
    weight = network.body.second.weight
    (slope,) = torch.autograd.grad(total / count, weight)
    assert found["gradient/body.second.weight"] == pytest.approx(
        float(slope.norm() / weight.detach().norm())
    )
    with torch.no_grad():
        network.head[1].weight.zero_()
    assert any(
        "no gradient arrives" in line for line in trouble(watched(network, task(), IMAGES, TARGETS))
    )


def test_frozen_weights_have_no_gradient_to_show() -> None:
    network = classifier()
    network.train_only({"head.1.weight", "head.1.bias"})
    found = watched(network, task(), IMAGES, TARGETS)
    assert [n for n in found if n.startswith("gradient")] == ["gradient/head.1.weight"]


def test_an_auxiliary_classifier_is_not_said_to_miss_its_gradient() -> None:
    network = classifier()
    network.auxiliary = nn.Linear(2, 1)  # computed in training mode only
    assert trouble(watched(network, task(), IMAGES, TARGETS), share=0.6) == []


def test_looking_changes_neither_weights_nor_statistics_nor_randomness() -> None:
    settings = {"options": {}, "head": "linear", "head_options": {}, "channels": 3}
    network, _ = build_classifier(Architecture(backbone="test_resnet", size_px=32, **settings), 1)
    network.train()
    before = {n: v.clone() for n, v in network.state_dict().items()}
    state = torch.get_rng_state()
    assert watched(
        network, task(), torch.rand(2, 3, 32, 32, generator=torch.Generator()), TARGETS[:2]
    )
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in network.parameters())
    assert network.training


def test_a_watched_run_writes_curves_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    words = [w for w in SMALL if not w.startswith("model=")]
    words = ["train", *words, "model.backbone=test_resnet", "audit.allow=[classes]"]
    assert run(*words, f"run_dir={tmp_path}/plain") == 0
    assert run(*words, f"run_dir={tmp_path}/seen", "trainer.watch=true") == 0
    plain, seen = (
        (tmp_path / name / "checkpoints" / "last.safetensors").read_bytes()[-40_000:]
        for name in ("plain", "seen")
    )
    assert plain == seen
    events = EventAccumulator(str(tmp_path / "seen" / "events"))
    tags = events.Reload().Tags()["scalars"]
    assert any(tag.startswith("dead/body.") for tag in tags)
    assert any(tag.startswith("gradient/head.") for tag in tags)
    assert [e.step for e in events.Scalars("gradient/head.1.weight")] == [0, 1]
