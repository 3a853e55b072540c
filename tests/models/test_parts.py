"""A body as parts: every parameter in one of them, in the order of the arithmetic."""

from __future__ import annotations

from itertools import chain

import pytest
from torch import nn

from medcnn.models.backbones import build_body
from medcnn.models.parts import parts_of, undecayed

FAMILIES = {
    "resnet18": 5,
    "densenet121": 5,
    "vgg11": 9,
    "vgg11_bn": 9,
    "inception_v3": 13,
    "efficientnet_lite0": 8,
    "mobilenetv3_small_100": 8,
    "convnext_atto": 5,
    "vit_tiny_patch16_224": 13,
    "alexnet": 7,
    "googlenet": 12,
    "lenet5": 6,
}


def body_of(name: str) -> nn.Module:
    return build_body(name, channels=3, size_px=96 if name != "alexnet" else 64).network


@pytest.mark.parametrize("name", FAMILIES)
def test_each_parameter_stands_in_one_part_and_parts_follow_the_network(name: str) -> None:
    body = body_of(name)
    parts = parts_of(body)
    names = [n for n, _ in body.named_parameters()]
    assert sorted(chain(*parts.values())) == sorted(names)
    assert len(parts) == FAMILIES[name]
    first = [names.index(part[0]) for part in parts.values()]
    assert first == sorted(first)
    assert next(iter(parts)) == "stem"
    weights = dict(body.named_parameters())
    for part in parts.values():
        assert any(weights[n].ndim > 1 for n in part)  # no part of normalisation alone


def test_the_parts_of_a_resnet_bear_the_names_that_its_paper_gives_them() -> None:
    assert list(parts_of(body_of("resnet18"))) == ["stem", "layer1", "layer2", "layer3", "layer4"]


def test_class_token_and_positions_have_no_weight_decay() -> None:
    body = body_of("vit_tiny_patch16_224")
    still = undecayed(body)
    assert {"cls_token", "pos_embed", "blocks.0.norm1.weight", "patch_embed.proj.bias"} <= still
    assert "blocks.0.mlp.fc1.weight" not in still
