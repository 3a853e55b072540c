"""Files as other libraries write them, into timm's networks: the same pixels give the same
features, or the same tensors lie where they belong."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision

from medcnn.models.backbones import build_body
from medcnn.models.weights import Origin, load_weights
from medcnn.system.errors import UsageError

VIT = {"depth": 2, "embed_dim": 64, "num_heads": 2}


def randomised(network: nn.Module) -> nn.Module:
    """With weights and statistics that no two layers share."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=draw) * 0.1)
                if key.endswith("running_var"):
                    value += 0.5
    return network.eval()


def begun_from(
    path: Path, name: str, channels: int = 3, size_px: int = 64, **options: Any
) -> tuple[nn.Module, Origin]:
    body = build_body(name, channels=channels, size_px=size_px, options=options)
    return body.network.eval(), load_weights(body, name, str(path))


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("resnet18", torchvision.resnet18, {}),
        ("densenet121", torchvision.densenet121, {}),
        ("efficientnet_b0", torchvision.efficientnet_b0, {}),
        ("mobilenetv2_100", torchvision.mobilenet_v2, {}),
        ("mobilenetv3_small_100", torchvision.mobilenet_v3_small, {"bn_eps": 1e-3}),
        ("convnext_tiny", torchvision.convnext_tiny, {}),
        (
            "vit_base_patch16_224",
            lambda: torchvision.VisionTransformer(64, 16, 2, 2, 64, 256),
            VIT,
        ),
    ],
)
def test_a_file_of_torchvision_gives_torchvisions_features(
    tmp_path: Path, name: str, theirs: Callable[[], nn.Module], options: dict[str, Any]
) -> None:
    source: Any = randomised(theirs())
    torch.save(source.state_dict(), tmp_path / "w.pth")
    network, _ = begun_from(tmp_path / "w.pth", name, **options)
    head = next(n for n in ("fc", "heads", "classifier") if hasattr(source, n))
    last = getattr(source, head)
    if isinstance(last, nn.Sequential):
        last[-1] = nn.Identity()
    else:
        setattr(source, head, nn.Identity())
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(network(images), source(images), rtol=1e-4, atol=1e-5)


def test_a_constant_that_torchvision_trained_with_is_asked_for(tmp_path: Path) -> None:
    torch.save(torchvision.mobilenet_v3_small().state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"model\.options\.bn_eps=0\.001"):
        begun_from(tmp_path / "w.pth", "mobilenetv3_small_100")


def test_a_file_from_before_there_were_counters_is_taken(tmp_path: Path) -> None:
    state = torchvision.resnet18().state_dict()
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "w.pth")
    assert not begun_from(tmp_path / "w.pth", "resnet18")[1].notes


def test_a_whole_densenet_of_torchxrayvision_comes_with_its_range_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its DenseNet is torchvision's, names included, with one channel and 18 classes
    (torchxrayvision/models.py); its releases are pickled modules."""
    module: Any = types.ModuleType("torchxrayvision.models")
    module.DenseNet = type("DenseNet", (torchvision.DenseNet,), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, "torchxrayvision", types.ModuleType("torchxrayvision"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = module.DenseNet(num_classes=18)
    source.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    source.register_buffer("op_threshs", torch.rand(18))
    torch.save(randomised(source), tmp_path / "w.pt")
    monkeypatch.delitem(sys.modules, module.__name__)
    monkeypatch.delitem(sys.modules, "torchxrayvision")
    network, origin = begun_from(tmp_path / "w.pt", "densenet121", channels=1)
    assert torch.equal(network.state_dict()["features.conv0.weight"], source.features.conv0.weight)
    assert "(torchxrayvision)" in origin.text
    assert "classifier.weight" in origin.text
    assert origin.licence == "Apache-2.0"
    assert origin.normalisation is not None
    mean, std = origin.normalisation.mean[0], origin.normalisation.std[0]
    assert [(x - mean) / std for x in (0, 1)] == [-1024, 1024]
    # three equal channels through a colour body are the grey image through the grey one
    colour, _ = begun_from(tmp_path / "w.pt", "densenet121", channels=3)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(colour(grey.repeat(1, 3, 1, 1)), network(grey), atol=1e-4)


Names = tuple[tuple[str, str], ...]
# timm's names as others write them; the reverse of `foreign_names`, written down independently of
# it: held against files that transformers 5.24 saved, and facebookresearch/dinov2 and dinov3.
TRANSFORMERS: Names = (
    ("^cls_token", "embeddings.cls_token"),
    ("^pos_embed", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"norm1\.", "layernorm_before."),
    (r"norm2\.", "layernorm_after."),
    (r"attn\.proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
    (r"^norm\.", "layernorm."),
    (r"^blocks", "encoder.layer"),
)
SIGLIP: Names = (
    ("^pos_embed", "embeddings.position_embedding.weight"),
    (r"^patch_embed\.proj", "embeddings.patch_embedding"),
    (r"(blocks.*)norm(\d)\.", r"\1layer_norm\2."),
    (r"attn\.proj", "self_attn.out_proj"),
    (r"^norm\.", "post_layernorm."),
    (r"attn_pool\.latent", "head.probe"),
    (r"attn_pool\.mlp", "head.mlp"),
    (r"attn_pool\.norm", "head.layernorm"),
    (r"attn_pool\.proj", "head.attention.out_proj"),
    (r"^blocks", "encoder.layers"),
)


def named_by(names: Names, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    made = {}
    for key, value in state.items():
        for ours, theirs in names:
            key = re.sub(ours, theirs, key)
        made[key] = value
    return made


def split_up(state: dict[str, Tensor], qkv: str, parts: tuple[str, str, str]) -> dict[str, Tensor]:
    """Query, key and value as three layers."""
    made = {}
    for key, value in state.items():
        if qkv in key:
            made |= {key.replace(qkv, p): v for p, v in zip(parts, value.chunk(3), strict=True)}
        else:
            made[key] = value
    return made


def of_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    attention = tuple(f"attention.attention.{p}" for p in ("query", "key", "value"))
    made = split_up(named_by(TRANSFORMERS, state), "attn.qkv", attention)  # type: ignore[arg-type]
    return {f"vit.{k}": v for k, v in made.items()} | {"classifier.weight": torch.ones(3, 64)}


def of_siglip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    made = {}
    for key, value in named_by(SIGLIP, state).items():
        if "attn_pool.kv" in key:
            continue
        if "attn_pool.q" in key:
            key = key.replace("attn_pool.q.", "head.attention.in_proj_")
            kind = key.rpartition("_")[2]
            value = torch.cat([value, state[f"attn_pool.kv.{kind}"]])
        made[key] = value[0] if "position" in key else value
    made = split_up(made, "attn.qkv", tuple(f"self_attn.{p}_proj" for p in "qkv"))  # type: ignore[arg-type]
    text = {"text_model.final_layer_norm.weight": torch.ones(64), "logit_scale": torch.ones(1)}
    return {f"vision_model.{k}": v for k, v in made.items()} | text


def of_chunks(state: dict[str, Tensor]) -> dict[str, Any]:
    """A teacher of DINOv2 in training, whose layers lie in chunks, beside its student."""
    teacher = {re.sub(r"blocks\.(\d+)", r"blocks.0.\1", k): v for k, v in state.items()}
    wrapped = {f"backbone.{k}": v for k, v in teacher.items()}
    return {
        "student": {k: -v for k, v in wrapped.items()},
        "teacher": wrapped | {"dino_head.mlp.0.weight": torch.ones(3, 3)},
    }


def of_retfound(state: dict[str, Tensor]) -> dict[str, Any]:
    """A masked autoencoder with its decoder, in a checkpoint of its training."""
    more = {"mask_token": torch.ones(1, 1, 32), "decoder_blocks.0.norm1.weight": torch.ones(32)}
    return {"model": state | more, "epoch": 800}


FILES: dict[str, tuple[str, Callable[[dict[str, Tensor]], dict[str, Any]]]] = {
    "ViT of transformers": ("vit_base_patch16_224", of_transformers),
    "SigLIP of transformers": ("vit_base_patch16_siglip_224", of_siglip),
    "DINOv2 in training": ("vit_base_patch14_dinov2", of_chunks),
    "RETFound": ("vit_base_patch16_224", of_retfound),
}


@pytest.mark.parametrize("library", FILES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_transformers_of_other_libraries_are_found(
    tmp_path: Path, library: str, wrapped: bool
) -> None:
    name, stored_as = FILES[library]
    size_px = 56 if "14" in name else 64
    source = randomised(build_body(name, channels=3, size_px=size_px, options=VIT).network)
    stored = stored_as(source.state_dict())
    torch.save({"model": {"module": stored}} if wrapped else stored, tmp_path / "w.pth")
    network, origin = begun_from(tmp_path / "w.pth", name, size_px=size_px, **VIT)
    assert not origin.notes
    for key, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


@pytest.mark.parametrize("library", ["ViT of transformers", "DINOv2 in training", "RETFound"])
def test_positions_under_other_names_are_resampled_to_the_size_of_the_images(
    tmp_path: Path, library: str
) -> None:
    name, stored_as = FILES[library]
    small, large = (56, 112) if "14" in name else (64, 128)
    source = randomised(build_body(name, channels=3, size_px=small, options=VIT).network)
    torch.save(stored_as(source.state_dict()), tmp_path / "w.pth")
    torch.save(source.state_dict(), tmp_path / "ours.pth")
    theirs, _ = begun_from(tmp_path / "w.pth", name, size_px=large, **VIT)
    ours, _ = begun_from(tmp_path / "ours.pth", name, size_px=large, **VIT)
    assert theirs.state_dict()["pos_embed"].shape == (1, 65, 64)
    for key, value in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[key], value), key


def test_registers_of_meta_become_timms(tmp_path: Path) -> None:
    """DINOv2's class token carries its position; timm's has it added once and for all."""
    name = "vit_base_patch14_reg4_dinov2"
    wanted = randomised(build_body(name, channels=3, size_px=56, options=VIT).network).state_dict()
    stored = dict(wanted)
    place = torch.rand(1, 1, 64)
    stored["register_tokens"] = stored.pop("reg_token")
    stored["cls_token"] = wanted["cls_token"] - place
    stored["pos_embed"] = torch.cat([place, wanted["pos_embed"]], 1)
    stored["mask_token"] = torch.ones(1, 64)
    torch.save({"teacher": {f"backbone.{k}": v for k, v in stored.items()}}, tmp_path / "w.pth")
    network, _ = begun_from(tmp_path / "w.pth", name, size_px=56, **VIT)
    for key, value in wanted.items():
        assert torch.allclose(network.state_dict()[key], value, atol=1e-6), key


def test_a_dinov3_of_meta_is_taken_and_its_licence_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "vit_small_patch16_dinov3"
    wanted = randomised(build_body(name, channels=3, size_px=64, options={"depth": 1}).network)
    stored = {
        k.replace("reg_token", "storage_tokens")
        .replace("gamma_", "ls")
        .replace("ls1", "ls1.gamma")
        .replace("ls2", "ls2.gamma"): v
        for k, v in wanted.state_dict().items()
    }
    stored |= {"rope_embed.periods": torch.ones(16), "mask_token": torch.ones(1, 384)}
    stored["blocks.0.attn.qkv.bias"] = torch.zeros(3 * 384)  # which timm leaves out, being zero
    torch.save(stored, tmp_path / "renamed.pth")
    network, origin = begun_from(tmp_path / "renamed.pth", name, depth=1)
    for key, value in wanted.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    assert origin.licence == "DINOv3 License"
    assert "ai.meta.com/resources/models-and-libraries/dinov3-license" in origin.notes[0]
    assert not capsys.readouterr().out
