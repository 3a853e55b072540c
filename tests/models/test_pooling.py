"""Every pooling on every kind of body, and the laws of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor

from medcnn.models.backbones import Body, build_body
from medcnn.models.lora import adapt, factors
from medcnn.models.parts import parts_of
from medcnn.models.pooling import POOLINGS, GatedAttention, GeneralisedMean, Pool, of_pooling
from medcnn.models.weights import load_weights
from medcnn.system.errors import UsageError

# Of each way to pool one: nothing after it, a convolution, a norm, channels last, not timm's own.
BODIES = {
    "test_resnet": 64,
    "mobilenetv3_small_050": 64,
    "test_convnext": 64,
    "swin_tiny_patch4_window7_224": 64,
    "lenet5": 48,
}
SMALL_SWIN = {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 2]}


def build(name: str, pooling: str, **options: object) -> Body:
    own: dict[str, object] = SMALL_SWIN if name.startswith("swin") else {}
    own = {"mlp_ratio": 0.01} if name.startswith("vgg") else own
    torch.manual_seed(0)
    return build_body(
        name,
        channels=3,
        size_px=BODIES.get(name, 96),
        options=own,
        pooling=pooling,
        pooling_options=options,
    )


def maps(*, scale: float = 1.0) -> Tensor:
    """Positive [4, 6, 5, 7], as after a ReLU, with some zeros."""
    torch.manual_seed(1)
    return (torch.randn(4, 6, 5, 7) * scale).relu()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", BODIES)
def test_every_body_gives_one_row_of_finite_features_under_every_pooling(
    name: str, pooling: str
) -> None:
    body = build(name, pooling)
    images = torch.rand(2, 3, BODIES[name], BODIES[name])
    features = body.network.eval()(images)
    assert features.shape == (2, body.num_features)
    assert body.num_features == build(name, "auto").num_features
    assert features.isfinite().all()
    alone = torch.cat([body.network(image[None]) for image in images])
    torch.testing.assert_close(alone, features, atol=1e-5, rtol=1e-4)
    last = body.network.to(memory_format=torch.channels_last)
    again = last(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(again, features, atol=1e-5, rtol=1e-4)
    features = body.network.train()(images)
    (features * torch.randn_like(features)).sum().backward()
    first = next(body.network.parameters())
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.any()


@pytest.mark.parametrize("name", [*BODIES, "googlenet"])
def test_avg_is_what_these_bodies_do_themselves(name: str) -> None:
    own, avg = build(name, "auto").network.eval(), build(name, "avg").network.eval()
    avg.load_state_dict(own.state_dict())
    images = torch.rand(2, 3, BODIES.get(name, 96), BODIES.get(name, 96))
    torch.testing.assert_close(avg(images), own(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_avg_and_max_are_those_of_timm(pooling: str) -> None:
    own = POOLINGS[pooling](6)
    torch.testing.assert_close(own(maps()), SelectAdaptivePool2d(1, pooling, True)(maps()))


def test_a_pooling_of_another_package_is_chosen_by_its_name(package: Callable[..., None]) -> None:
    code = """
from torch import nn
class Top(nn.Module):
    def __init__(self, share):
        super().__init__()
        self.share = share
    def forward(self, maps):
        flat = maps.flatten(2).sort(dim=2, descending=True).values
        return flat[..., : max(1, round(self.share * flat.shape[2]))].mean(dim=2)
def top(channels, *, share: float = 0.1):
    return Top(share)
"""
    package("ours", "1.0", {"poolings": ["top"]}, code)
    everything, largest = (build("test_resnet", "top", share=share) for share in (1.0, 1e-6))
    images = torch.rand(2, 3, 64, 64)
    for ours, theirs in ((everything, "avg"), (largest, "max")):
        other = build("test_resnet", theirs)
        torch.testing.assert_close(ours.network.eval()(images), other.network.eval()(images))


def test_gem_lies_between_mean_and_maximum_and_reaches_both() -> None:
    mean, most = maps().mean((2, 3)), maps().amax((2, 3))
    torch.testing.assert_close(GeneralisedMean(1.0)(maps()), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(GeneralisedMean(1e4)(maps()), most, atol=1e-5, rtol=1e-3)
    means = [GeneralisedMean(p)(maps()) for p in (1.0, 2.0, 4.0, 16.0)]
    assert all((a < b).all() for a, b in pairwise(means))
    torch.testing.assert_close(means[1], maps().square().mean((2, 3)).sqrt())


def test_lse_lies_between_mean_and_maximum_and_reaches_both() -> None:
    mean, most = maps().mean((2, 3)), maps().amax((2, 3))
    at = {s: POOLINGS.bind("lse", {"sharpness": s})(6)(maps()) for s in (1e-3, 1.0, 10.0, 1e3)}
    torch.testing.assert_close(at[1e-3], mean, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(at[1e3], most, atol=5e-3, rtol=1e-3)
    assert (at[1e-3] < at[1.0]).all()
    assert (at[1.0] < at[10.0]).all()
    by_hand = torch.log(torch.exp(maps()).mean((2, 3)))
    torch.testing.assert_close(at[1.0], by_hand)


def test_attention_starts_as_the_mean_and_can_choose_one_position() -> None:
    pool = GatedAttention(6, 3)
    torch.testing.assert_close(pool(maps()), maps().mean((2, 3)))
    torch.nn.init.normal_(pool.score.weight)
    weights = pool.weights(maps())
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    by_hand = (maps().flatten(2) * weights[:, None]).sum(2)
    torch.testing.assert_close(pool(maps()), by_hand)
    with torch.no_grad():
        pool.score.weight.mul_(1e4)
    assert (pool.weights(maps()).max(1).values > 0.99).all()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_activations_of_half_precision_stay_finite_and_give_finite_gradients(
    pooling: str, dtype: torch.dtype
) -> None:
    """At 3e4 a plain cube, or exp, leaves even float32."""
    pool = Pool(POOLINGS[pooling](6), last=False, flat=True)
    given = maps(scale=1e4).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        features = pool(given)
    assert features.dtype == torch.float32
    features.sum().backward()
    assert features.isfinite().all()
    assert given.grad is not None
    assert given.grad.isfinite().all()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert (features >= given.float().mean((2, 3)) * 0.999).all()
    assert (features <= given.float().amax((2, 3)) * 1.001).all()


def test_a_map_of_zeros_has_features_of_zero() -> None:
    for pooling in POOLINGS:
        given = torch.zeros(1, 6, 2, 2, requires_grad=True)
        features = POOLINGS[pooling](6)(given)
        features.sum().backward()
        assert features.abs().max() <= 1e-5, pooling
        assert given.grad is not None
        assert given.grad.isfinite().all(), pooling


def test_vgg_and_alexnet_pool_the_map_in_place_of_their_fully_connected_layers() -> None:
    for name, features in (("vgg11", 512), ("alexnet", 256)):
        body = build(name, "gem")
        assert body.num_features == features
        weights = [p for p in body.network.parameters() if p.ndim > 1]
        assert max(p.shape[0] for p in weights) < 4096, name


def test_a_network_without_a_map_of_positions_says_what_it_can_do() -> None:
    message = r"pooling=gem needs .*test_vit has no such places.*model\.options\.global_pool=avg"
    with pytest.raises(UsageError, match=message):
        build("test_vit", "gem")
    with pytest.raises(UsageError, match=r"lenet5 has one at data.size_px=32.*larger"):
        build_body("lenet5", channels=1, size_px=32, pooling="max")


def test_images_that_are_too_small_are_refused_as_without_a_pooling() -> None:
    with pytest.raises(UsageError, match="cannot take images of 8x8"):
        build_body("googlenet", channels=3, size_px=8, pooling="max")


@pytest.mark.parametrize("pooling", ["gem", "attention"])
def test_what_a_pooling_learns_is_no_part_of_the_body_that_was_pretrained(
    pooling: str, tmp_path: object
) -> None:
    body, own = build("test_resnet", pooling), build("test_resnet", "auto")
    path = f"{tmp_path}/w.pth"
    torch.save(own.network.state_dict(), path)
    origin = load_weights(body, "test_resnet", path)
    assert origin.notes == ()
    assert parts_of(body.network) == parts_of(own.network)
    learned = [n for n, _ in body.network.named_parameters() if of_pooling(n)]
    assert learned
    adapt(body.network, rank=2, alpha=1.0)
    assert not [n for n in factors(body.network) if of_pooling(n)]
    assert [n for n, _ in body.network.named_parameters() if of_pooling(n)] == learned


@pytest.mark.parametrize(
    ("before", "now", "options"),
    [("attention", "gem", {}), ("gem", "attention", {}), ("attention", "attention", {"hidden": 3})],
)
def test_a_body_trained_with_one_pooling_starts_another_one(
    before: str, now: str, options: dict[str, object], tmp_path: Path
) -> None:
    old, new = build("test_resnet", before), build("test_resnet", now, **options)
    torch.save(old.network.state_dict(), tmp_path / "w.pth")
    own = {n: v.clone() for n, v in new.network.state_dict().items() if of_pooling(n)}
    load_weights(new, "test_resnet", str(tmp_path / "w.pth"))
    found = new.network.state_dict()
    assert all(found[n].equal(v) for n, v in old.network.state_dict().items() if not of_pooling(n))
    assert all(found[n].equal(v) for n, v in own.items())


def test_the_power_of_gem_is_learned_towards_the_maximum_where_that_helps() -> None:
    pool = GeneralisedMean(2.0)
    optimizer = torch.optim.SGD(pool.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        (pool(maps()) - maps().amax((2, 3))).square().mean().backward()
        optimizer.step()
    assert math.exp(pool.log_power.item()) > 3
