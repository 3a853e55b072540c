from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import BlurPool2d, DropPath
from torch import nn

from medcnn.models.backbone_names import CLASSIC_NAMES, backbone_names
from medcnn.models.backbones import BACKBONES, Normalisation, build_body, with_drop_path
from medcnn.models.lenet5 import CONNECTIONS, lenet5
from medcnn.models.published import WholeMap
from medcnn.system.errors import UsageError


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_large_100", *BACKBONES])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_contract_holds_for_all_bodies(name: str, channels: int) -> None:
    body = build_body(name, channels=channels, size_px=64)
    features = body.network.eval()(torch.rand(2, channels, 64, 64))
    assert features.shape == (2, body.num_features)
    assert len(body.normalisation.mean) == len(body.normalisation.std) == channels


@pytest.mark.parametrize("positions", [7, 9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fc6_of_vgg_is_the_convolution_that_timm_writes(
    positions: int, layout: torch.memory_format
) -> None:
    with torch.device("meta"):
        vgg: Any = build_body("vgg11", channels=3, size_px=224).network
    assert type(vgg.pre_logits.fc1) is WholeMap
    small = WholeMap(5, 6, 7).to(memory_format=layout)
    theirs = nn.Conv2d(5, 6, 7)
    theirs.load_state_dict(small.state_dict())
    maps = torch.randn(2, 5, positions, positions).to(memory_format=layout)
    torch.testing.assert_close(small(maps), theirs(maps))
    small(maps).square().sum().backward()
    theirs(maps).square().sum().backward()
    for own, other in zip(small.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_a_transformer_of_fixed_size_takes_the_size_of_the_images() -> None:
    assert build_body("vit_tiny_patch16_224", channels=3, size_px=64).num_features == 192


def test_normalisation_is_the_backbones_own() -> None:
    inception = build_body("inception_v3", channels=3, size_px=96).normalisation
    resnet = build_body("resnet18", channels=1, size_px=64).normalisation
    assert inception.mean == (0.5, 0.5, 0.5)
    assert resnet.mean == pytest.approx((0.449,))


def test_grey_normalisation_is_the_mean_of_the_colours() -> None:
    assert Normalisation.of((0.0, 0.3, 0.6), (1.0, 1.0, 1.0), 1).mean == pytest.approx((0.3,))


def test_images_that_are_too_small_are_refused_with_advice() -> None:
    with pytest.raises(UsageError, match=r"inception_v3 cannot take images of 32x32.*data.size_px"):
        build_body("inception_v3", channels=3, size_px=32)


def test_an_option_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be built"):
        build_body("resnet18", channels=3, size_px=64, options={"no_such_option": 1})
    with pytest.raises(UsageError, match="backbone lenet5 has no option"):
        build_body("lenet5", channels=3, size_px=32, options={"drop_rate": 0.1})


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_lite0"])
def test_anti_aliased_pooling_is_an_option_that_adds_no_weights(name: str) -> None:
    plain = build_body(name, channels=3, size_px=64).network
    smooth = build_body(name, channels=3, size_px=64, options={"aa_layer": "blur"}).network
    assert any(isinstance(module, BlurPool2d) for module in smooth.modules())
    assert smooth.state_dict().keys() == plain.state_dict().keys(), "published weights fit"
    with pytest.raises(UsageError, match="cannot be built"):
        build_body(name, channels=3, size_px=64, options={"aa_layer": "blurr"})


def test_stochastic_depth_leaves_out_blocks_in_training_only() -> None:
    # timm starts each block as the identity, so that leaving it out would show nothing
    options = with_drop_path({"zero_init_last": False}, 0.9)
    network = build_body("test_resnet", channels=3, size_px=64, options=options).network
    images = torch.rand(8, 3, 64, 64)
    torch.manual_seed(0)
    # BatchNorm in evaluation mode, so that only the blocks that are left out differ
    network.eval()
    still = network(images)
    assert torch.equal(network(images), still)
    for module in network.modules():
        if isinstance(module, DropPath):
            module.train()
    first, second = network(images), network(images)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("name", ["densenet121", "inception_v3", "vgg11", "alexnet", "lenet5"])
def test_a_network_without_stochastic_depth_says_so(name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"model\.drop_path: model\.backbone={name} has no blocks"
    ):
        build_body(name, channels=3, size_px=96, options=with_drop_path({}, 0.1))


@pytest.mark.parametrize("name", ["resnet18", "test_convnext", "test_efficientnet", "test_vit"])
def test_drop_path_reaches_the_blocks_of_each_family_that_has_them(name: str) -> None:
    rates = {
        rate: sum(
            m.drop_prob
            for m in build_body(
                name, channels=3, size_px=64, options=with_drop_path({}, rate)
            ).network.modules()
            if isinstance(m, DropPath)
        )
        for rate in (0.0, 0.1, 0.4)
    }
    assert rates[0.0] == 0 < rates[0.1] < rates[0.4]


def test_drop_path_is_given_once() -> None:
    assert with_drop_path({"drop_rate": 0.1}, None) == {"drop_rate": 0.1}
    with pytest.raises(UsageError, match="are the same setting"):
        with_drop_path({"drop_path_rate": 0.1}, 0.2)


def test_names_read_from_the_source_of_timm_are_those_of_timm() -> None:
    import timm

    assert set(backbone_names()) == set(timm.list_models()) | set(BACKBONES)
    assert set(CLASSIC_NAMES) == set(BACKBONES)


def test_lenet5_has_the_number_of_weights_that_its_paper_counts() -> None:
    network = lenet5(1)
    connections = sum(len(c) for c in CONNECTIONS)
    assert connections * 25 + 16 == 1516  # C3, section II.B
    assert sum(p.numel() for p in network[0].parameters()) == 156  # C1
    assert sum(p.numel() for p in network[2].parameters()) == 12  # S2
    assert sum(p.numel() for p in network[6].parameters()) == 32  # S4
    assert sum(p.numel() for p in network[8].parameters()) == 48120  # C5
    assert sum(p.numel() for p in network[12].parameters()) == 10164  # F6


def test_a_map_of_c3_sees_only_the_maps_of_its_row() -> None:
    layer = lenet5(1)[4]
    maps = torch.zeros(1, 6, 14, 14)
    maps[:, 3] = 1  # map 0 of C3 looks at maps 0, 1 and 2
    assert torch.equal(layer(maps)[0, 0], layer(torch.zeros_like(maps))[0, 0])
    assert not torch.equal(layer(maps)[0, 1], layer(torch.zeros_like(maps))[0, 1])


@pytest.mark.fault
def test_a_checkpoint_can_neither_name_a_file_nor_an_address() -> None:
    """Rows 18 and 20."""
    for name in ("hf-hub:evil/net", "local-dir:/tmp/evil", "no_such_net"):
        with pytest.raises(UsageError, match="is not a network in timm"):
            build_body(name, channels=3, size_px=64)
    for option in ("checkpoint_path", "pretrained_cfg", "cache_dir"):
        with pytest.raises(UsageError, match=f"{option} is not allowed"):
            build_body("resnet18", channels=3, size_px=64, options={option: "evil.pth"})
