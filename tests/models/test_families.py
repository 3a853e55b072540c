"""One contract for every network of the field's history: heads, parts, features, and the layer that
explains. On tensors without content, since VGG alone has half a gigabyte of weights."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
import yaml

from medcnn.models.anatomy import anatomy
from medcnn.models.auxiliary import BRANCHES, Auxiliary
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.explaining import Logit, last_layer
from medcnn.models.parts import parts_of
from medcnn.system.paths import config_folder

FAMILY = {
    *("lenet5", "alexnet", "googlenet", "inception_v3", "convnext_tiny", "mobilenetv3"),
    *(f"vgg{n}{norm}" for n in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"resnet{n}" for n in (18, 34, 50, 101, 152)),
    *(f"densenet{n}" for n in (121, 161, 169, 201)),
    *(f"efficientnet_lite{n}" for n in range(5)),
}
PX = 96


def described(name: str, head: str = "linear") -> Architecture:
    file = config_folder() / "model" / f"{name}.yaml"
    return Architecture(
        backbone=yaml.safe_load(file.read_text(encoding="utf-8"))["backbone"],
        options={},
        head=head,
        head_options={},
        channels=3,
        size_px=PX,
    )


def built(name: str, head: str = "linear") -> Classifier:
    with torch.device("meta"):
        return build_classifier(described(name, head), 5)[0].eval()


def test_every_network_of_the_family_has_its_yaml() -> None:
    assert {path.stem for path in (config_folder() / "model").glob("*.yaml")} >= FAMILY


@pytest.mark.parametrize("name", sorted(FAMILY))
def test_a_network_gives_features_logits_parts_and_a_layer_that_explains(name: str) -> None:
    classifier = built(name)
    images = torch.zeros(2, 3, PX, PX, device="meta")
    features = classifier.features(images)
    assert features.shape == (2, classifier.head[-1].in_features)
    assert classifier(images).shape == (2, 5)
    parts = parts_of(classifier.body)
    assert next(iter(parts)) == "stem"
    assert len(parts) >= 5
    held = sorted(chain.from_iterable(parts.values()))
    assert held == sorted(n for n, _ in classifier.body.named_parameters())
    layer = last_layer(Logit(classifier=classifier, output=1), images)
    last = anatomy(described(name), 5).last_map
    assert last is not None
    assert tuple(layer.maps.shape[2:]) == last.map, "what explains is the last map"
    assert layer.slopes.shape == layer.maps.shape


@pytest.mark.parametrize("name", ["resnet152", "densenet201", "googlenet", "vgg19", "alexnet"])
def test_other_heads_take_the_same_features(name: str) -> None:
    images = torch.zeros(2, 3, PX, PX, device="meta")
    assert built(name, "mlp")(images).shape == (2, 5)
    if name in ("vgg19", "alexnet"):
        assert built(name, "original")(images).shape == (2, 5)


@pytest.mark.parametrize(("name", "weights"), [("googlenet", [0.3, 0.3]), ("inception_v3", [0.4])])
def test_auxiliary_classifiers_have_the_published_weights_and_are_dropped_at_the_end(
    name: str, weights: list[float]
) -> None:
    assert set(BRANCHES) == {"googlenet", "inception_v3"}
    classifier, images = built(name), torch.zeros(2, 3, PX, PX, device="meta")
    with torch.device("meta"):
        classifier.auxiliary = Auxiliary(classifier.body, name, 5)
    (own, logits), *others = classifier.train()(images)
    assert own == 1
    assert [weight for weight, _ in others] == weights
    assert {tuple(seen.shape) for _, seen in others} == {tuple(logits.shape)} == {(2, 5)}
    assert classifier.eval()(images).shape == (2, 5)
