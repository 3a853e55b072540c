"""Maps of what decided: exact laws, and other implementations as oracles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medcnn.config import EXPLANATIONS, Choice
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Modality
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.backbones import Normalisation
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.deployed import Model, load_model
from medcnn.models.explained import as_large, explain_image, most_probable
from medcnn.models.explaining import (
    METHODS,
    Logit,
    explained,
    gradcam,
    hirescam,
    integrated_gradients,
    last_layer,
    occlusion,
)
from medcnn.statistics.decisions import Readout
from medcnn.system.errors import UsageError

GOLDEN = Path(__file__).parents[1] / "golden/run/checkpoints/best.safetensors"
CLASSES = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c"))


def architecture(backbone: str, **more: Any) -> Architecture:
    made = {"options": {}, "head": "linear", "head_options": {}, "channels": 3, "size_px": 64}
    return Architecture(backbone=backbone, **{**made, **more})


def network(backbone: str, **more: Any) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(architecture(backbone, **more), 3)[0].eval()


def images(count: int = 2, size_px: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def resnet() -> Logit:
    return Logit(classifier=network("resnet18"), output=1)


# Of every family: the layer, and how many positions it has a side at 64 px.
FAMILIES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "alexnet": ("features.11", 3, {}),  # at 64 px its last pooling leaves one position
    "convnext_atto": ("norm_pre", 2, {}),
    "densenet121": ("features", 2, {}),  # which ends in norm and ReLU
    "efficientnet_lite0": ("bn2", 2, {}),
    "googlenet": ("inception5b", 2, {}),
    "inception_v3": ("Mixed_7c", 2, {"size_px": 128}),
    "lenet5": ("9", 9, {}),
    "mobilenetv3_small_050": ("blocks", 2, {}),
    "resnet18": ("layer4", 2, {}),
    "resnet50": ("layer3", 2, {"size_px": 32}),  # layer4 has one position, whatever its branches
    "swin_tiny_patch4_window7_224": ("norm", 7, {"size_px": 224}),
    "vgg11": ("features", 2, {"options": {"mlp_ratio": 0.01}}),
    "vit_tiny_patch16_224": ("blocks.11.norm1", 4, {}),
}


@pytest.mark.parametrize("backbone", FAMILIES)
def test_the_last_layer_with_positions_is_found_in_every_family(backbone: str) -> None:
    name, side, more = FAMILIES[backbone]
    classifier = network(backbone, **more)
    layer = last_layer(Logit(classifier=classifier, output=0), images(1, more.get("size_px", 64)))
    assert (layer.name, layer.maps.shape[2:]) == (name, (side, side))
    assert layer.slopes.shape == layer.maps.shape
    assert layer.slopes.abs().sum() > 0, "the logit depends on it"
    if backbone == "densenet121":
        assert layer.maps.min() == 0, "after the ReLU"


def test_a_network_without_positions_is_told_which_methods_it_can_have() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4))
    classifier = Classifier(body, nn.Sequential(nn.Linear(4, 3)), Normalisation((0.5,), (0.5,)))
    logit = Logit(classifier=classifier.eval(), output=0)
    with pytest.raises(UsageError, match="occlusion"):
        gradcam(logit, images())
    assert occlusion(logit, images(), patch=0.5).abs().sum() > 0


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "efficientnet_lite0", "googlenet"])
def test_where_the_mean_goes_into_a_linear_head_a_map_sums_to_the_logit_minus_its_bias(
    backbone: str,
) -> None:
    logit = Logit(classifier=network(backbone), output=1)
    with torch.no_grad():
        wanted = logit(images()) - logit.classifier.head[-1].bias[1]
    maps = hirescam(logit, images())
    torch.testing.assert_close(maps.sum((1, 2)), wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradcam(logit, images()), maps, rtol=1e-4, atol=1e-7)


def test_where_a_network_pools_by_the_maximum_the_two_differ() -> None:
    logit = Logit(classifier=network("resnet18", pooling="max"), output=1)
    assert (gradcam(logit, images()) - hirescam(logit, images())).abs().max() > 1e-3


@pytest.mark.parametrize("flips", ["h", "v", "hv"])
def test_a_map_of_mirrored_views_sums_to_the_mean_of_their_logits(
    resnet: Logit, flips: str
) -> None:
    maps = explained(hirescam, resnet, images(), flips)
    dims = {"h": ((), (3,)), "v": ((), (2,)), "hv": ((), (3,), (2,), (2, 3))}[flips]
    with torch.no_grad():
        views = torch.stack([resnet(images().flip(d)) for d in dims]).mean(0)
    wanted = views - resnet.classifier.head[-1].bias[1]
    torch.testing.assert_close(maps.sum((1, 2)), wanted, rtol=1e-4, atol=1e-7)
    mirrored = explained(hirescam, resnet, images().flip(dims[-1]), flips)
    torch.testing.assert_close(mirrored.flip([d - 1 for d in dims[-1]]), maps)


def test_integrated_gradients_add_up_to_the_change_of_the_logit(resnet: Logit) -> None:
    given = images(1) * torch.linspace(0, 1, 64)
    even = given.mean((2, 3), keepdim=True).expand_as(given)
    with torch.no_grad():
        wanted = resnet(given) - resnet(even)
    found = integrated_gradients(resnet, given, steps=8).sum((1, 2))
    assert ((found - wanted).abs() <= 0.01 * wanted.abs()).all()


def test_the_maps_are_those_of_captum() -> None:
    oracle = pytest.importorskip("captum.attr")
    lenet, given = Logit(classifier=network("lenet5"), output=1), images(1)
    even = given.mean((2, 3), keepdim=True).expand_as(given).contiguous()
    cam = oracle.LayerGradCam(lenet, lenet.classifier.body[9]).attribute(given)
    torch.testing.assert_close(gradcam(lenet, given), cam[:, 0].detach())
    slid = oracle.Occlusion(lenet).attribute(given, (3, 16, 16), strides=(3, 8, 8), baselines=even)
    torch.testing.assert_close(occlusion(lenet, given, patch=0.25), slid[:, 0], atol=1e-6, rtol=0)
    way = oracle.IntegratedGradients(lenet).attribute(
        given, even, n_steps=64, method="riemann_middle"
    )
    found = integrated_gradients(lenet, given, steps=64)
    torch.testing.assert_close(found, way.sum(1).float(), atol=1e-5, rtol=0)


class OnlyTopLeft(nn.Module):
    """Sees the mean of the first quarter of the image, and nothing else."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        half = given.shape[-1] // 2
        return given[:, :, :half, :half].mean((1, 2, 3))[:, None]


def test_occlusion_finds_the_only_part_that_is_looked_at() -> None:
    head = nn.Sequential(nn.Linear(1, 3))
    plain = Normalisation((0.0,), (1.0,))
    logit = Logit(classifier=Classifier(OnlyTopLeft(), head, plain).eval(), output=0)
    given = torch.zeros(1, 3, 64, 64)
    given[:, :, :32, :32] = 1
    found = occlusion(logit, given)[0].detach().abs()
    assert found[:28, :28].min() > 0
    assert found[36:].max() == found[:, 36:].max() == 0


def test_the_negative_class_of_a_binary_label_is_explained_by_the_other_sign(
    resnet: Logit,
) -> None:
    binary = LabelSpace(kind=Kind.BINARY, names=("well", "ill"))
    well, ill = (Logit.of(resnet.classifier, binary, name) for name in binary.names)
    torch.testing.assert_close(gradcam(well, images()), -gradcam(ill, images()))
    assert [most_probable(binary, [np.array([[p]])]) for p in (0.3, 0.9)] == ["well", "ill"]
    with pytest.raises(UsageError, match="did you mean 'ill'"):
        Logit.of(resnet.classifier, binary, "il")


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("gradcm", {}, "did you mean 'gradcam'"),
        ("occlusion", {"patch": 0.9}, "from 0.02 to 0.5"),
        ("gradcam", {"steps": 3}, "has no option 'steps'"),
    ],
)
def test_a_wrong_method_or_option_is_named(method: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        METHODS.bind(method, options)


def test_enlarging_a_map_leaves_its_mean() -> None:
    maps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    large = as_large(maps, 8)
    assert large.shape == (1, 8, 8)
    assert large.mean() == pytest.approx(1.5)
    assert large[0, 0, 0] == 0
    assert large[0, -1, -1] == 3


@pytest.fixture(scope="module")
def model() -> Model:
    described = Checkpoint(
        architecture=architecture("resnet18"),
        labels=CLASSES,
        preprocessing=Preprocessing(size_px=64),
        readout=Readout(),
        normalisation=Normalisation((0.5,) * 3, (0.5,) * 3),
        modality=Modality.OTHER,
        training={},
        provenance={},
        flips="h",
    )
    return Model(
        checkpoint=described,
        network=network("resnet18"),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def test_an_explanation_is_as_large_as_its_image(model: Model) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 130, 3), np.uint8)
    said = model.predict(pixels)
    found = model.explain(pixels, method="hirescam")
    assert found.map.shape == (90, 130)
    assert np.isfinite(found.map).all(), "padding is not a part of the image"
    best = int(said.logits[0].argmax())
    assert found.label == CLASSES.names[best]
    assert found.logit == pytest.approx(float(said.logits[0, best]), abs=1e-5)
    other = model.explain(pixels, "abc"[(best + 1) % 3])
    assert not np.allclose(other.map, found.map)


def test_what_cannot_be_explained_is_refused_with_the_reason(model: Model, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="cannot be read"):
        model.explain(tmp_path / "broken.png")
    with pytest.raises(UsageError, match="one image at a time, found 2"):
        model.explain(np.zeros((2, 64, 64, 3), np.uint8))
    with pytest.raises(UsageError, match="no class is called 'd'"):
        model.explain(np.zeros((64, 64, 3), np.uint8), "d")


def test_settings_know_every_method() -> None:
    assert tuple(METHODS) == EXPLANATIONS


def test_a_transformer_that_pools_all_positions_is_watched_where_they_are_pooled() -> None:
    options = {"global_pool": "avg", "class_token": False}
    classifier = network("vit_tiny_patch16_224", options=options)
    assert last_layer(Logit(classifier=classifier, output=0), images(1)).name == "blocks.11"


@pytest.mark.parametrize("label", [0, 4])
def test_a_class_whose_name_is_a_number_can_be_explained(label: Any) -> None:
    model = load_model(GOLDEN, device="cpu")
    seen = np.zeros((3, *(model.preprocessing.size_px,) * 2), np.uint8)
    how = Choice(name="gradcam", options={})
    found = explain_image(model, seen, np.zeros((40, 40, 3), np.uint8), how, label)
    assert found.label == str(label)
