"""What is said of a network's layers: held against the published numbers, against the counters of
torch, torchinfo and fvcore, and against the gradient."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medcnn.models.anatomy import anatomy, trace
from medcnn.models.backbones import build_body
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.pages.anatomy import Anatomy
from medcnn.system.errors import UsageError


def described(backbone: str, size_px: int, **more: Any) -> Architecture:
    settings = {"options": {}, "head": "linear", "head_options": {}, "channels": 3, **more}
    return Architecture(backbone=backbone, size_px=size_px, **settings)


def inside(backbone: str, size_px: int, outputs: int = 1000, **more: Any) -> Anatomy:
    return anatomy(described(backbone, size_px, **more), outputs)


def on_meta(backbone: str, size_px: int) -> Classifier:
    with torch.device("meta"):
        return build_classifier(described(backbone, size_px), 1000)[0].eval()


# Network, pixels, parameters, billions of multiply-adds, share of these in convolutions and of
# parameters in fully connected layers, in percent: as torchvision publishes them.
PUBLISHED = [
    ("vgg16", 224, 138_357_544, 15.470, 99.20, 89.36),
    ("alexnet", 224, 61_100_840, 0.714, 91.79, 95.96),
    ("googlenet", 224, 6_624_904, 1.498, 99.93, 15.5),
    ("inception_v3", 299, 23_834_568, 5.713, 99.96, 8.6),
    ("resnet18", 224, 11_689_512, 1.814, None, None),
    ("resnet50", 224, 25_557_032, 4.089, 99.95, 8.0),
    ("densenet121", 224, 7_978_856, 2.834, 99.96, 12.85),
]


@pytest.mark.parametrize(("name", "px", "parameters", "gmac", "conv", "linear"), PUBLISHED)
def test_parameters_and_arithmetic_are_those_that_are_published(
    name: str, px: int, parameters: int, gmac: float, conv: float | None, linear: float | None
) -> None:
    found = inside(name, px)
    assert found.parameters == parameters
    assert round(found.macs / 1e9, 3) == gmac
    if conv and linear:
        assert 100 * found.conv_share == pytest.approx(conv, abs=0.006)
        assert 100 * found.linear_share == pytest.approx(linear, abs=0.051)


def test_lenet5_has_the_well_known_number_and_the_weights_of_its_subsampling() -> None:
    """61,706 is the LeNet-5 of textbooks, which pools without weights; the paper's has a factor and
    a bias for each of the 6 + 16 maps."""
    assert inside("lenet5", 32, 10, channels=1).parameters == 61_706 + 2 * (6 + 16)


@pytest.mark.parametrize(
    ("name", "px"),
    [
        *(("vgg16", 64), ("googlenet", 64), ("densenet121", 64), ("lenet5", 48), ("resnet50", 65)),
        *(("tf_efficientnet_lite0", 96), ("mobilenetv3_large_100", 64), ("convnext_tiny", 64)),
        *(("vit_tiny_patch16_224", 64), ("swin_tiny_patch4_window7_224", 224)),
    ],
)
def test_multiply_adds_are_half_of_what_torchs_counter_counts(name: str, px: int) -> None:
    counter = FlopCounterMode(display=False)
    network = on_meta(name, px)
    with counter, torch.no_grad():
        network(torch.zeros(1, 3, px, px, device="meta"))
    assert 2 * inside(name, px).macs == counter.get_total_flops()


@pytest.mark.parametrize("name", ["resnet18", "alexnet", "vgg11_bn"])
def test_torchinfo_sees_the_same_shapes_and_parameters(name: str) -> None:
    torchinfo = pytest.importorskip("torchinfo")
    body = build_body(name, channels=3, size_px=64).network.eval()
    told = torchinfo.summary(body, (1, 3, 64, 64), verbose=0, device="cpu", mode="eval")
    with torch.device("meta"):
        found = trace(build_body(name, channels=3, size_px=64).network, torch.zeros(1, 3, 64, 64))
    assert sum(layer.parameters for layer in found) == told.total_params
    # which counts the bias as one more multiply-add
    assert sum(layer.macs for layer in found) == pytest.approx(told.total_mult_adds, rel=0.01)
    theirs = [tuple(row.output_size[1:]) for row in told.summary_list if row.class_name == "Conv2d"]
    ours = [layer.made for layer in found if layer.kernel and layer.macs]
    assert sorted(ours) == sorted(theirs)


@pytest.mark.filterwarnings("ignore")  # it traces with torch.jit, which torch calls deprecated
def test_fvcore_counts_the_same_arithmetic() -> None:
    pytest.importorskip("fvcore")
    from fvcore.nn import FlopCountAnalysis

    network = build_body("resnet18", channels=3, size_px=64).network.eval()
    counted = FlopCountAnalysis(network, torch.zeros(1, 3, 64, 64))
    counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.device("meta"):
        found = trace(
            build_body("resnet18", channels=3, size_px=64).network, torch.zeros(1, 3, 64, 64)
        )
    assert sum(layer.macs for layer in found) == counted.by_operator()["conv"]


def supports(network: nn.Module, module: str, px: int) -> tuple[int, int]:
    """Height and width of the pixels that change the position in the middle of a module's map.

    With positive weights and pixels nothing cancels, and no ReLU is off; a mean in the place of a
    maximum lets every pixel of its window through.
    """
    for name, child in list(network.named_modules()):
        if isinstance(child, nn.MaxPool2d):
            mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
            network.set_submodule(name, mean)
        elif isinstance(child, nn.Conv2d):
            nn.init.constant_(child.weight, 1 / child.weight[0].numel())
        elif isinstance(child, nn.BatchNorm2d):
            nn.init.ones_(child.weight)  # the last one of a residual block begins with zeros
    seen: list[Tensor] = []
    network.get_submodule(module).register_forward_hook(lambda *given: seen.append(given[2]))
    image = torch.ones(1, 3, px, px, requires_grad=True)
    network.eval()(image)
    middle = seen[0].shape[2] // 2
    seen[0][0, :, middle, middle].sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad[0].abs().sum(0) > 0).nonzero(as_tuple=True)
    return int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)


@pytest.mark.parametrize(
    ("name", "module", "px"),
    [
        ("lenet5", "6", 64),
        ("alexnet", "features.12", 300),
        ("vgg11", "features.15", 160),
        ("googlenet", "inception4b", 288),
        ("inception_v3", "Mixed_6b", 400),
        ("resnet18", "layer3", 320),
        ("densenet121", "features.transition1", 128),
        ("tf_efficientnet_lite0", "blocks.3.0", 224),
    ],
)
def test_what_a_position_sees_is_what_the_gradient_reaches(name: str, module: str, px: int) -> None:
    with torch.device("meta"):
        meta = build_body(name, channels=3, size_px=px).network
        layers = trace(meta, torch.zeros(1, 3, px, px))
    last = [la for la in layers if f"{la.name}.".startswith(f"{module}.")][-1]
    body = build_body(name, channels=3, size_px=px).network
    found = supports(body, module, px)
    assert max(found) < px, "the image is too small for this test"
    assert found == last.sees_px


def test_receptive_fields_are_those_of_the_literature() -> None:
    """Araujo, Norris and Sim 2019, Distill: VGG-16 212 px, Inception-v3 1311 px."""
    for name, px, sees in (("vgg16", 224, 212), ("inception_v3", 299, 1311)):
        last = inside(name, px).last_map
        assert last is not None
        assert last.sees_px == (sees, sees)


def of_layers(*layers: nn.Module, px: int) -> Any:
    return trace(nn.Sequential(*layers), torch.zeros(1, 3, px, px, device="meta"))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 0), (2, 2, 0), (4, 3, 1)])
def test_pixels_that_no_window_reaches_have_no_gradient(
    kernel: int, stride: int, padding: int, ceil: bool
) -> None:
    for px in range(8, 14):
        pool = nn.AvgPool2d(kernel, stride, padding, ceil)
        image = torch.ones(1, 3, px, px, requires_grad=True)
        pool(image).sum().backward()
        assert image.grad is not None
        reached = int((image.grad[0, 0].sum(1) != 0).sum())
        (layer,) = of_layers(pool, px=px)
        assert layer.unread == (px - reached,) * 2
        assert layer.made[1] == pool(image).shape[2]
        value = layer.formula().translate(str.maketrans("⌊⌋⌈⌉·−", "()()*-"))
        exact = eval(value.partition(" = ")[0].removesuffix(" + 1"))
        assert (-(-exact // 1) if "⌈" in layer.formula() else exact // 1) + 1 == layer.made[1]


def test_a_window_that_skips_everywhere_is_no_loss_at_the_border() -> None:
    (layer,) = of_layers(nn.Conv2d(3, 4, 1, stride=2, device="meta"), px=8)
    assert layer.unread == (0, 0)


def test_operations_without_a_module_are_seen() -> None:
    """Functional ones, which hooks on modules miss."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, device="meta")

        def forward(self, maps: Tensor) -> Tensor:
            maps = nn.functional.max_pool2d(nn.functional.pad(maps, (0, 1, 0, 1)), 2, stride=2)
            return torch.cat([self.conv(maps).relu(), maps[:, :, 1:-1, 1:-1]], 1).mean((2, 3))

    kinds = [layer.kind for layer in of_layers(Functional(), px=15)]
    assert kinds == ["max pool", "conv", "activation", "concat", "average pool"]


def test_padding_that_comes_before_a_layer_is_counted_with_it() -> None:
    first = next(la for la in inside("tf_mobilenetv3_small_100", 64).layers if la.kernel)
    assert first.padding == (0, 1, 0, 1)
    assert first.unread == (0, 0)
    assert "0 + 1" in first.formula()


def test_squeeze_and_attention_see_everything_and_windows_of_attention_are_not_known() -> None:
    def last(name: str, px: int) -> Any:
        return inside(name, px).layers[-1].sees_px

    assert last("mobilenetv3_small_100", 64) == (float("inf"),) * 2
    assert last("vit_tiny_patch16_224", 64) == (float("inf"),) * 2
    assert last("swin_tiny_patch4_window7_224", 224) is None


@pytest.mark.parametrize("pooling", ["avg", "max", "gem", "lse", "attention"])
def test_every_pooling_sees_all_positions(pooling: str) -> None:
    auto, found = (inside("resnet18", 64, pooling=p) for p in ("auto", pooling))
    sees = found.layers[-1].sees_px
    assert sees in (auto.layers[-1].sees_px, (float("inf"),) * 2)
    assert found.parameters >= auto.parameters


def test_the_head_is_the_one_that_train_would_build() -> None:
    plain, hidden, published = (
        inside("vgg11", 64, 7, head=h) for h in ("linear", "mlp", "original")
    )
    assert [la.parameters for la in plain.layers if la.name.startswith("head")] == [4097 * 7]
    assert hidden.parameters > plain.parameters
    assert published.parameters == plain.parameters
    assert published.layers[-1].made == (7,)


def test_images_that_are_too_small_are_answered_with_the_least_that_do() -> None:
    with pytest.raises(UsageError, match=r"at least data\.size_px=32"):
        inside("lenet5", 31)
    inside("lenet5", 32)


def test_a_map_of_one_position_is_answered_with_the_least_that_leaves_more() -> None:
    found = inside("resnet18", 32)
    assert found.roomy_px == 33
    assert inside("resnet18", 33).vanishes is None


def test_a_network_is_taken_apart_within_seconds() -> None:
    before = time.process_time()
    inside("densenet121", 224)
    assert time.process_time() - before < 5
