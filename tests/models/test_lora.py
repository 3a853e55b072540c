"""LoRA starts where the network is, and ends as a network of the same shape."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medcnn.models.backbones import build_body
from medcnn.models.lora import LowRank, adapt, factors, merged, unmerged

BODIES = ("resnet18", "efficientnet_lite0", "vit_tiny_patch16_224", "googlenet")


def body_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_body(name, channels=3, size_px=64).network.eval()


def trained(body: nn.Module) -> None:
    """As if some steps had been taken."""
    with torch.no_grad():
        for module in body.modules():
            if isinstance(module, LowRank):
                module.up.normal_(std=0.02)


@pytest.mark.parametrize("name", BODIES)
def test_at_the_start_nothing_changes_to_the_bit_and_merged_weights_answer_alike(name: str) -> None:
    body, images = body_of(name), torch.rand(2, 3, 64, 64)
    plain = copy.deepcopy(body)
    adapt(body, rank=4, alpha=8)
    assert torch.equal(body(images), plain(images))
    assert merged(body).keys() == plain.state_dict().keys()
    trained(body)
    learnt = body(images)
    assert not torch.equal(learnt, plain(images))
    plain.load_state_dict(merged(body))
    assert torch.allclose(plain(images), learnt, rtol=1e-5, atol=1e-5)


def test_depthwise_convolutions_are_left_out() -> None:
    body = body_of("efficientnet_lite0")
    adapt(body, rank=4, alpha=8)
    adapted = {name.split(".parametrizations")[0] for name in factors(body)}
    for name, module in body.named_modules():
        if isinstance(module, nn.Conv2d):
            assert (name in adapted) is (module.groups == 1), name


def test_a_rank_is_no_larger_than_the_weight() -> None:
    body = nn.Sequential(nn.Linear(3, 20))
    adapt(body, rank=8, alpha=8)
    assert {p.shape for n, p in body.named_parameters() if n.endswith(("up", "down"))} == {
        (20, 3),
        (3, 3),
    }


def test_merged_weights_can_be_taken_up_and_adapted_once_more() -> None:
    body = body_of("resnet18")
    adapt(body, rank=2, alpha=2)
    trained(body)
    state, images = merged(body), torch.rand(1, 3, 64, 64)
    before = body(images)
    body.load_state_dict(unmerged(body, state))
    assert torch.allclose(body(images), before, rtol=1e-5, atol=1e-5)
    assert all(not m.up.any() for m in body.modules() if isinstance(m, LowRank))
