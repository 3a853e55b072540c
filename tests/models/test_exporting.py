"""Graphs of every family answer as torch does, and other projects load what is written for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Modality
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import exporting, foreign_formats
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.models.deployed import Model
from medcnn.models.graph import decided, probabilities
from medcnn.statistics.calibration import CALIBRATIONS, fit_calibration
from medcnn.statistics.decisions import Readout
from medcnn.statistics.operating import OperatingPoint
from medcnn.system.errors import UsageError

GRADES = LabelSpace(kind=Kind.ORDINAL, names=tuple("01234"))


def model(
    backbone: str = "resnet18",
    *,
    labels: LabelSpace = GRADES,
    px: int = 64,
    flips: str = "hv",
    channels: int = 3,
    bits: int = 8,
    readout: Readout | None = None,
    **parts: Any,
) -> Model:
    """With random weights, and statistics of BatchNorm that keep activations near 1."""
    torch.manual_seed(0)
    architecture = Architecture(
        backbone=backbone,
        options={},
        head=parts.pop("head", "linear"),
        head_options={},
        channels=channels,
        size_px=px,
        **parts,
    )
    classifier, _ = build_classifier(architecture, len(labels.outputs))
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        classifier.train()(torch.rand(8, channels, px, px))
    checkpoint = Checkpoint(
        architecture=architecture,
        labels=labels,
        preprocessing=Preprocessing(size_px=px, channels=channels, bits=bits),
        readout=readout or Readout(),
        normalisation=classifier.normalisation,
        modality=Modality.OTHER,
        training={},
        provenance={},
        flips=flips,
    )
    return Model(
        checkpoint=checkpoint,
        network=classifier.eval(),
        device=torch.device("cpu"),
        dtype=torch.float32,
        provenance={"checkpoint": "best.safetensors", "checkpoint_sha256": "0" * 64},
    )


def noise(of: Model, count: int = 8) -> Any:
    how = of.preprocessing
    shape = (count, how.channels, how.size_px, how.size_px)
    return np.random.default_rng(3).integers(0, np.iinfo(how.dtype).max, shape, how.dtype)


def through_the_gate(of: Model) -> float:
    proto = exporting.as_onnx(exporting.program_of(of), 0)
    content = exporting.with_description(proto, of.checkpoint, exporting.origin_of(of))
    found = exporting.gate(of, exporting.answers_of_onnx(content), noise(of))
    return float(found["apart"]["logits"])


POOLED = [("gem", "linear"), ("attention", "cosine"), ("lse", "mlp")]
FAMILIES = [
    *(("lenet5", 32), ("alexnet", 96), ("vgg11", 64), ("vgg11_bn", 64), ("googlenet", 64)),
    *(("inception_v3", 160), ("resnet18", 64), ("densenet121", 64), ("convnext_tiny", 64)),
    *(("efficientnet_lite0", 64), ("mobilenetv3_large_100", 64), ("vit_tiny_patch16_224", 224)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "px"), FAMILIES)
def test_every_family_passes_the_gate(backbone: str, px: int) -> None:
    assert through_the_gate(model(backbone, px=px)) <= exporting.MOST_APART


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "head"), POOLED)
def test_poolings_and_heads_of_our_own_pass_the_gate(pooling: str, head: str) -> None:
    assert through_the_gate(model(pooling=pooling, head=head)) <= exporting.MOST_APART


@pytest.mark.slow
def test_published_heads_sixteen_bits_and_grey_pass_the_gate() -> None:
    assert through_the_gate(model("vgg11", head="original")) <= exporting.MOST_APART
    assert through_the_gate(model("lenet5", px=32, channels=1, bits=16)) <= exporting.MOST_APART


@pytest.mark.slow
def test_eight_bits_take_the_body_and_leave_the_head() -> None:
    from medcnn.models.quantising import quantised

    of = model("resnet18", flips="h")
    proto = exporting.as_onnx(exporting.program_of(of), 0)
    pixels = noise(of, 12)
    small = quantised(proto, np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)))
    made_by = {name: node for node in small.graph.node for name in node.output}
    for node in small.graph.node:
        if node.op_type == "Conv":
            assert made_by[node.input[0]].op_type == "DequantizeLinear", node.name
        if node.op_type in ("Gemm", "MatMul"):
            assert made_by[node.input[0]].op_type != "DequantizeLinear", node.name
    content = exporting.with_description(small, of.checkpoint, exporting.origin_of(of, int8=True))
    found = exporting.answers_of_onnx(content)(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)))
    assert np.corrcoef(found[3].ravel(), _features(of, pixels).ravel())[0, 1] > 0.98
    assert found[0].shape == (12, 5)


def _features(of: Model, pixels: Any) -> Any:
    with torch.no_grad():
        return of.classifier.features(torch.from_numpy(pixels)).numpy()


KINDS = {
    Kind.BINARY: LabelSpace(kind=Kind.BINARY, names=("no", "yes")),
    Kind.MULTICLASS: LabelSpace(kind=Kind.MULTICLASS, names=tuple("abc")),
    Kind.MULTILABEL: LabelSpace(kind=Kind.MULTILABEL, names=tuple("abc")),
    Kind.ORDINAL: LabelSpace(kind=Kind.ORDINAL, names=tuple("012")),
}


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("name", ["none", *CALIBRATIONS])
def test_probabilities_and_decisions_in_torch_are_those_of_the_readout(
    kind: Kind, name: str
) -> None:
    if name in CALIBRATIONS and kind not in CALIBRATIONS[name].kinds:
        return
    labels, rng = KINDS[kind], np.random.default_rng(1)
    logits = rng.normal(size=(300, len(labels.outputs))).astype(np.float32)
    if labels.exclusive:
        targets = np.eye(3, dtype=np.float32)[rng.integers(3, size=300)]
    else:
        targets = (rng.random(logits.shape) < 0.4).astype(np.float32)
    calibration = fit_calibration(name, labels, logits + targets, targets)
    cuts = (0.3, 1.7)[: len(labels.outputs)]
    own = OperatingPoint(name="kappa", thresholds=cuts, grades=True)
    points = [(), (own,)] if kind is Kind.ORDINAL else [()]
    if not labels.exclusive:
        exact = Readout(calibration=calibration).probabilities(labels, logits)[17]
        points.append((OperatingPoint(name="youden", thresholds=tuple(exact)),))
    for chosen in points:
        readout = Readout(calibration=calibration, points=chosen)
        right = readout.probabilities(labels, logits)
        found = probabilities(labels, calibration, torch.from_numpy(logits).double())
        assert np.allclose(found.numpy(), right, atol=1e-12)
        decisions = decided(labels, readout, torch.from_numpy(right)).numpy()
        assert (decisions == readout.decide(labels, right)).all()


def test_a_calibration_of_the_table_has_its_graph() -> None:
    from medcnn.models.graph import APPLIED

    assert set(APPLIED) == set(CALIBRATIONS)


@pytest.mark.parametrize("modality", list(Modality))
def test_golden_images_are_drawn_and_are_the_same_each_time(
    modality: Modality, tmp_path: Path
) -> None:
    names = exporting.draw_golden(tmp_path / "a", modality)
    assert len(names) == 20
    if modality is Modality.DERMOSCOPY:
        again = exporting.draw_golden(tmp_path / "b", modality)
        assert [(tmp_path / "a" / n).read_bytes() for n in names] == [
            (tmp_path / "b" / n).read_bytes() for n in again
        ]


def test_timm_loads_the_folder_and_finds_the_logits(tmp_path: Path) -> None:
    import timm

    of = model("resnet18", flips="", px=48)
    (tmp_path / "t").mkdir()
    found = foreign_formats.write_timm(of, tmp_path / "t")
    assert found["apart"]["logits"] <= 1e-4
    network = timm.create_model(f"local-dir:{tmp_path / 't'}", pretrained=True).eval()
    images = torch.from_numpy(noise(of))
    settings = timm.data.resolve_model_data_config(network, use_test_size=True)
    assert settings["input_size"] == (3, 48, 48)
    assert settings["crop_mode"] == "border"
    mean, std = (torch.tensor(settings[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        theirs = network((images / 255 - mean) / std)
        assert torch.allclose(theirs, of.classifier(images), atol=1e-5)
    config = json.loads((tmp_path / "t" / "config.json").read_text(encoding="utf-8"))
    assert config["label_names"] == list("01234")
    assert "library_name: timm" in (tmp_path / "t" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("parts", [{"head": "cosine"}, {"pooling": "gem"}, {"backbone": "lenet5"}])
def test_what_timm_has_no_place_for_is_refused(parts: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="timm has only its own networks"):
        foreign_formats.write_timm(model(px=48, **parts), tmp_path)
