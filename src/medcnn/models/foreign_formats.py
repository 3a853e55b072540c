"""A classifier in the folders that other projects load: a MONAI bundle, and a folder for timm, the
form of timm models on the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medcnn import __version__
from medcnn.models.backbones import BACKBONES
from medcnn.models.deployed import Model
from medcnn.models.exporting import MOST_APART, GateError, extremes, quiet
from medcnn.models.pooling import AUTO
from medcnn.system.errors import UsageError

NOT_A_DEVICE = "Research software, not a medical device."
# How timm brings a rectangle into the square.
CROP_MODES = {"pad": "border", "crop": "center", "squash": "squash"}


def write_bundle(model: Model, folder: Path, file: str) -> None:
    """Turns a folder with an exported program, its runner and its images into a MONAI bundle.

    Args:
        file: of the program, below `folder`.
    """
    how, labels = model.preprocessing, model.labels
    colours = ("red", "green", "blue") if how.channels == 3 else ("grey",)
    task = f"Classification of {model.checkpoint.modality} images"
    (folder / "configs").mkdir()
    (folder / "docs").mkdir()
    shape = {"type": "image", "num_channels": how.channels, "is_patch_data": False}
    image = {
        **shape,
        "format": "magnitude",
        "spatial_shape": [how.size_px, how.size_px],
        "dtype": "uint8" if how.bits == 8 else "uint16",
        "value_range": [0, 255 if how.bits == 8 else 65535],
        "channel_def": dict(enumerate(colours)),
    }
    pred = {
        "type": "probabilities",
        "format": "classification",
        "num_channels": len(labels.outputs),
        "spatial_shape": [],
        "dtype": "float64",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": dict(enumerate(labels.outputs)),
    }
    metadata = {
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by medcnn {__version__}"},
        "monai_version": "1.5.0",
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"pillow": "12.2"},
        "task": task,
        "description": f"{model.checkpoint.architecture.backbone}: images [B, H, W, C] -> logits, "
        "calibrated probabilities, decisions, features.",
        "intended_use": NOT_A_DEVICE,
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }
    inference = {
        "imports": ["$import runpy", "$import torch"],
        "bundle_root": ".",
        "images": [],
        "device": "cpu",
        "network_def": f"$torch.export.load(@bundle_root + '/{file}').module()",
        "runner": "$runpy.run_path(@bundle_root + '/run.py')",
        "preprocessing": "$@runner['pixels']",
        "run": ["$@runner['main'](@images)"],
    }
    for name, content in (("metadata", metadata), ("inference", inference)):
        text = json.dumps(content, indent=2) + "\n"
        (folder / "configs" / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / "docs" / "README.md").write_text(
        f"# {task}\n\n{NOT_A_DEVICE}\n\n    python -m monai.bundle run --config_file "
        "configs/inference.json --images \"['image.png']\"\n",
        encoding="utf-8",
    )


def write_timm(model: Model, folder: Path) -> dict[str, Any]:
    """A folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads: the network
    alone. Returns what the gate found.

    Raises:
        UsageError: timm has no place for this backbone, pooling or head.
        GateError: the network that timm loads returns other logits.
    """
    import timm
    from timm.models import save_for_hf

    checkpoint, how = model.checkpoint, model.preprocessing
    built, linear = checkpoint.architecture, model.classifier.head[-1]
    if built.backbone in BACKBONES or built.pooling != AUTO or built.head != "linear":
        raise UsageError(
            f"to=timm: timm has only its own networks, with their own pooling and a linear head. "
            f"This is {built.backbone} with pooling={built.pooling}, head={built.head}. Use "
            "to=onnx, to=torch or to=monai."
        )
    body, count = model.classifier.body, len(model.labels.outputs)
    options = dict(built.options)
    if body.pretrained_cfg.get("fixed_input_size"):  # type: ignore[union-attr, operator]
        options.setdefault("img_size", how.size_px)
    with quiet():
        network: Any = timm.create_model(
            built.backbone, num_classes=count, in_chans=how.channels, **options
        )
        last = network.get_classifier()
        if not isinstance(last, nn.Linear) or last.weight.shape != linear.weight.shape:
            raise UsageError(
                f"to=timm: the last layer of timm's {built.backbone} is not one linear layer. Use "
                "to=onnx, to=torch or to=monai."
            )
        lost = network.load_state_dict(body.state_dict(), strict=False)
        last.load_state_dict(linear.state_dict())
        own = {id(p) for p in last.parameters()}
        names = [n for n, p in network.named_parameters() if id(p) in own]
        if lost.unexpected_keys or set(lost.missing_keys) != set(names):
            raise GateError(f"timm's {built.backbone} has other weights with a head than without")
        normalisation = checkpoint.normalisation
        save_for_hf(
            network.eval(),
            str(folder),
            model_config={
                "label_names": list(model.labels.outputs),
                "pretrained_cfg": {
                    "tag": "medcnn",  # not that of weights that may have been trained on
                    "input_size": (how.channels, how.size_px, how.size_px),
                    "test_input_size": (how.channels, how.size_px, how.size_px),
                    "mean": normalisation.mean,
                    "std": normalisation.std,
                    "interpolation": "bilinear",
                    "crop_pct": 1.0,
                    "crop_mode": CROP_MODES[how.fit],
                },
            },
            model_args=options,
            safe_serialization=True,
        )
        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    (folder / "README.md").write_text(_card(model), encoding="utf-8")
    apart = _apart(model, loaded, extremes(how))
    if not apart <= MOST_APART:
        raise GateError(f"the network that timm loads has other logits, by up to {apart:.2g}")
    return {"most": MOST_APART, "apart": {"logits": apart}}


def _apart(model: Model, network: nn.Module, pixels: NDArray[Any]) -> float:
    """How far the logits of `network` (of normalised images) are from ours, unmirrored."""
    images = torch.from_numpy(pixels)
    own = model.classifier
    with torch.no_grad():
        floats = images.float() / np.iinfo(pixels.dtype).max
        found = network((floats - own.mean) / own.std) - own(images)
    return float(found.abs().max())


def _card(model: Model) -> str:
    """The README that the Hugging Face hub reads."""
    labels = ", ".join(model.labels.outputs)
    return (
        "---\nlibrary_name: timm\npipeline_tag: image-classification\n"
        "tags: [timm, image-classification, medical]\n---\n"
        f"# {model.checkpoint.architecture.backbone} for {model.checkpoint.modality} images\n\n"
        f"Classes: {labels}. {NOT_A_DEVICE}\n\nThe network alone, as medcnn {__version__} trained "
        "it: its logits are for one view, without the mirror images, calibration and thresholds of "
        "the checkpoint, which `export.json` lists.\n"
    )
