"""Every head, and the fully connected layers that VGG and AlexNet were published with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from medcnn.models.averaging import between
from medcnn.models.backbones import Body
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.cosine import CosineLinear
from medcnn.models.heads import HEADS, keep_rows, output_layer
from medcnn.models.weights import load_weights
from medcnn.system.errors import UsageError
from medcnn.verbs.steps.blending import fresh_rows

# VGG's hidden layers at a hundredth of their width
NARROW = {"mlp_ratio": 0.01}


def make(
    head: str, backbone: str = "test_resnet", *, size_px: int = 64, pooling: str = "auto"
) -> tuple[Classifier, Body]:
    architecture = Architecture(
        backbone=backbone,
        options=NARROW if backbone.startswith("vgg") else {},
        head=head,
        head_options={},
        channels=3,
        size_px=size_px,
        pooling=pooling,
    )
    torch.manual_seed(0)
    return build_classifier(architecture, 4)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_finite_logits_and_teaches_the_body(head: str) -> None:
    classifier, _ = make(head, "vgg11" if head == "original" else "test_resnet")
    images = torch.rand(3, 3, 64, 64)
    features = classifier.eval().features(images)
    logits = classifier(images)
    assert features.ndim == 2
    assert logits.shape == (3, 4)
    assert logits.isfinite().all()
    alone = torch.cat([classifier(image[None]) for image in images])
    torch.testing.assert_close(alone, logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(classifier.head(features), logits)
    logits.square().sum().backward()
    for name, parameter in classifier.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    first = next(classifier.body.parameters()).grad
    assert first is not None
    assert first.any()


def test_logits_of_cosine_are_bounded_and_do_not_know_how_long_features_are() -> None:
    head = CosineLinear(8, 4, scale=10.0)
    features = torch.randn(5, 8)
    cosines = nn.functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), 10 * cosines)
    torch.testing.assert_close(head(features * 1e4), head(features), atol=1e-5, rtol=1e-5)
    assert head(features * 1e4).abs().max() <= 10


def test_features_of_zero_give_cosine_a_finite_gradient() -> None:
    features = torch.zeros(2, 8, requires_grad=True)
    CosineLinear(8, 4, scale=10.0)(features).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def published(backbone: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """torchvision's network of four classes, and a file of it; VGG's hidden layers are narrow, so
    that it fits into a test."""
    theirs: Any = getattr(torchvision.models, backbone)(num_classes=4, dropout=0.5)
    if backbone == "alexnet":
        return theirs, theirs.state_dict()
    theirs.classifier[0], theirs.classifier[3] = nn.Linear(25088, 40), nn.Linear(40, 4096)
    stored = {k: v for k, v in theirs.state_dict().items() if k.startswith("features")}
    for name, layer, shape in (("fc1", 0, (40, 512, 7, 7)), ("fc2", 3, (4096, 40, 1, 1))):
        stored[f"pre_logits.{name}.weight"] = theirs.classifier[layer].weight.reshape(shape)
        stored[f"pre_logits.{name}.bias"] = theirs.classifier[layer].bias
    return theirs, stored


@pytest.mark.parametrize(
    ("backbone", "size_px", "features"), [("vgg11", 224, 512 * 7 * 7), ("alexnet", 96, 256 * 6 * 6)]
)
def test_original_gives_the_logits_of_the_published_network(
    backbone: str, size_px: int, features: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda weight, **_: weight)  # which is slow
    theirs, stored = published(backbone)
    torch.save(stored, tmp_path / "published.pth")
    classifier, body = make("original", backbone, size_px=size_px)
    assert load_weights(body, backbone, str(tmp_path / "published.pth")).notes == ()
    output_layer(classifier.head).load_state_dict(theirs.classifier[-1].state_dict())
    images = torch.rand(2, 3, size_px, size_px)
    with torch.inference_mode():
        assert classifier.eval().features(images).shape == (2, features)
        normalised = (images - classifier.mean) / classifier.std
        torch.testing.assert_close(
            classifier(images), theirs.eval()(normalised), atol=1e-5, rtol=1e-4
        )


def test_the_layers_of_original_train_with_the_head_and_with_dropout() -> None:
    classifier, _ = make("original", "vgg11")
    plain, _ = make("linear", "vgg11")
    assert not [n for n, _ in classifier.body.named_parameters() if "pre_logits" in n]
    assert [n for n, _ in plain.body.named_parameters() if "pre_logits" in n]
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in classifier.head) == 2
    assert [p.shape[0] for p in classifier.head.parameters() if p.ndim == 2] == [40, 4096, 4]


def test_original_is_refused_where_no_such_layers_were_published() -> None:
    with pytest.raises(UsageError, match=r"head=original: only VGG and AlexNet .*test_resnet"):
        make("original")
    with pytest.raises(UsageError, match=r"pooling=gem has no effect with head=original"):
        make("original", "vgg11", pooling="gem")


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_classes_that_are_kept_answer_as_before(head: str) -> None:
    old, new = (output_layer(make(head)[0].head) for _ in range(2))
    nn.init.normal_(new.weight)
    with torch.no_grad():
        for p in old.parameters():
            p.mul_(2)
    keep_rows(new, old, {0: 3, 2: 1})
    features = torch.rand(5, old.in_features)
    assert torch.equal(new(features)[:, [0, 2]], old(features)[:, [3, 1]])
    assert not torch.equal(new(features)[:, 1], old(features)[:, 1])


def test_a_head_that_keeps_no_class_keeps_nothing() -> None:
    old, new = (CosineLinear(3, 2, scale) for scale in (5.0, 9.0))
    before = [p.clone() for p in new.parameters()]
    keep_rows(new, old, {})
    assert all(torch.equal(a, b) for a, b in zip(before, new.parameters(), strict=True))


@pytest.mark.parametrize("head", ["mlp", "cosine"])
def test_new_classes_are_not_averaged_with_what_a_head_had_before(head: str) -> None:
    classifier, _ = make(head)
    now = classifier.state_dict()
    old = {name: torch.zeros_like(value) for name, value in now.items()}
    found = between(old, now, 0.5, fresh_rows(classifier, [1]))
    weight = f"head.{len(classifier.head) - 1}.weight"
    assert torch.equal(found[weight][1], now[weight][1])
    assert torch.equal(found[weight][0], now[weight][0] / 2)
