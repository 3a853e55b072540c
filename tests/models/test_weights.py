from __future__ import annotations

import argparse
import datetime
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from medcnn.models import weights
from medcnn.models.backbones import Body, Normalisation, build_body
from medcnn.models.known_weights import recognised
from medcnn.models.weights import load_weights
from medcnn.system.errors import UsageError


def resnet(channels: int = 3):  # type: ignore[no-untyped-def]
    return build_body("resnet18", channels=channels, size_px=64)


def test_a_local_safetensors_file_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = resnet()
    safetensors.torch.save_file(source.network.state_dict(), tmp_path / "w.safetensors")
    target = resnet()
    origin = load_weights(target, "resnet18", str(tmp_path / "w.safetensors"))
    assert origin.pretrained
    for name, tensor in target.network.state_dict().items():
        assert torch.equal(tensor, source.network.state_dict()[name])


def test_a_classifier_and_a_wrapper_in_the_file_are_left_out(tmp_path: Path) -> None:
    source = resnet().network.state_dict()
    wrapped = {f"module.{k}": v for k, v in source.items()} | {
        "module.fc.weight": torch.ones(5, 512)
    }
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "w.pth")
    target = resnet()
    load_weights(target, "resnet18", str(tmp_path / "w.pth"))
    assert torch.equal(target.network.state_dict()["conv1.weight"], source["conv1.weight"])


def test_colour_weights_are_summed_for_grey_images(tmp_path: Path) -> None:
    source = resnet().network.state_dict()
    torch.save(source, tmp_path / "w.pth")
    target = resnet(channels=1)
    load_weights(target, "resnet18", str(tmp_path / "w.pth"))
    grey = target.network.state_dict()["conv1.weight"]
    assert torch.allclose(grey, source["conv1.weight"].sum(1, keepdim=True), atol=1e-6)


@pytest.mark.fault
def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    """Row 18."""

    class Bomb:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Bomb()}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="never code"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.fault
def test_weights_of_another_network_are_refused_by_the_names_that_do_not_fit(
    tmp_path: Path,
) -> None:
    """Row 13."""
    other = build_body("mobilenetv3_large_100", channels=3, size_px=64)
    torch.save(other.network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"do not fit resnet18\. Tensors: .* missing \(conv1"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"))


def test_a_path_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_weights(resnet(), "resnet18", "nowhere.pth")


@pytest.mark.fault
def test_without_network_pretrained_says_what_to_do_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 91."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # a server that takes the connection and never answers is the slowest fault
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"model.weights=/path/to/weights.safetensors"):
        load_weights(resnet(), "resnet18", "pretrained")
    assert time.monotonic() - started < 3 * weights.REACH_TIMEOUT_S


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "no network, or one that cannot resolve",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "(Connection refused;"),
    ],
)
def test_a_missing_network_is_reported_in_words(
    monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError(error)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    said = load_weights(resnet(), "resnet18", "auto").text
    assert words in said
    assert "Errno" not in said


@pytest.mark.fault
def test_a_server_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 91."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights, "REACH_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        origin = load_weights(resnet(), "resnet18", "auto")
    assert not origin.pretrained
    assert "random weights" in origin.text


def test_a_network_without_pretrained_weights_says_so() -> None:
    body = build_body("lenet5", channels=1, size_px=32)
    assert "there are no pretrained weights" in load_weights(body, "lenet5", "auto").text
    with pytest.raises(UsageError, match="there are no pretrained weights"):
        load_weights(body, "lenet5", "pretrained")


def test_none_starts_from_scratch_without_asking_anyone() -> None:
    assert not load_weights(resnet(), "resnet18", "none").pretrained


def test_real_pretrained_weights_are_loaded_from_a_file(shared: Path) -> None:
    from timm.models.efficientnet import _gen_mobilenet_v1

    network = _gen_mobilenet_v1(
        "mobilenetv1_100", channel_multiplier=0.25, fix_stem_head=False, num_classes=0
    )
    body = Body(network, 256, resnet().normalisation, None)
    folder = shared / "weights"
    name = "mobilenetv1_025_leaky_timm_statedict.pth"
    assert load_weights(body, "mobilenetv1_025", str(folder / name)).pretrained
    stored = torch.load(folder / name, weights_only=True)
    assert torch.equal(network.state_dict()["conv_stem.weight"], stored["conv_stem.weight"])
    with pytest.raises(UsageError, match="do not fit"):
        load_weights(body, "mobilenetv1_025", str(folder / "mobilenetV1X0.25_imagenet.pth.tar"))


VITS = ("vit_tiny_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch14_reg4_dinov2")


def random_like(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Other weights than any that a network begins with."""
    draw = torch.Generator().manual_seed(0)
    return {
        k: torch.rand(v.shape, generator=draw) if v.is_floating_point() else v
        for k, v in network.state_dict().items()
    }


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("resnet18", {"fc.weight": (1000, 512), "fc.bias": (1000,)}),
        ("resnet18", {"AuxLogits.fc.weight": (1000, 768), "AuxLogits.conv0.conv.weight": (8, 8)}),
        ("deit_tiny_distilled_patch16_224", {"head_dist.weight": (1000, 192), "head.bias": (9,)}),
        ("vit_tiny_patch16_224", {"decoder_blocks.0.norm1.weight": (512,), "mask_token": (1, 192)}),
    ],
)
def test_classifiers_and_branches_that_a_body_does_not_have_are_left_out(
    tmp_path: Path, name: str, more: dict[str, tuple[int, ...]]
) -> None:
    """Row B1."""
    body = build_body(name, channels=3, size_px=224)
    wanted = random_like(body.network)
    stored = {**wanted, **{k: torch.ones(shape) for k, shape in more.items()}}
    torch.save(stored, tmp_path / "w.pth")
    assert load_weights(body, name, str(tmp_path / "w.pth")).pretrained
    assert all(torch.equal(v, wanted[k]) for k, v in body.network.state_dict().items())


@pytest.mark.fault
def test_a_network_of_more_layers_is_not_taken_apart(tmp_path: Path) -> None:
    """Row B1. All of a resnet18 lies in a resnet34, under the same names and shapes."""
    larger = build_body("resnet34", channels=3, size_px=64)
    torch.save(larger.network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"do not fit resnet18\. Tensors: .* unknown \(layer1\.2"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"))


def stored_elsewhere(monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    """What the download would give."""

    def download(_: str) -> object:
        if isinstance(content, Exception):
            raise content
        return content

    monkeypatch.setattr(weights, "_cached", lambda _: True)
    monkeypatch.setattr(weights, "_download", download)


@pytest.mark.fault
@pytest.mark.parametrize(
    "content",
    [
        {},
        {"conv1.weight": torch.ones(64, 3, 3, 3)},
        {"blocks.0.weight": torch.ones(3)},
        RuntimeError('invalid hash value (expected "5c106cde", got "e3b0c442")'),
        EOFError("Ran out of input"),
        KeyError("model"),
    ],
)
def test_pretrained_weights_that_do_not_fit_never_end_a_run_under_auto(
    monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    """Row B1."""
    stored_elsewhere(monkeypatch, content)
    origin = load_weights(resnet(), "resnet18", "auto")
    assert not origin.pretrained
    assert "random weights: " in origin.text
    with pytest.raises(UsageError, match=r"weights=pretrained was set for resnet18, but .*none"):
        load_weights(resnet(), "resnet18", "pretrained")


@pytest.mark.fault
@pytest.mark.filterwarnings("ignore:.*(non-contiguous|non-tuple)")  # timm's own
@pytest.mark.parametrize(
    ("name", "size_px"),
    [
        *((name, 112) for name in VITS),
        ("maxvit_rmlp_pico_rw_256", 192),
        ("swinv2_tiny_window8_256", 192),
        ("beit_base_patch16_224", 96),
    ],
)
def test_weights_of_another_size_are_resampled_as_timm_does_it(
    tmp_path: Path, name: str, size_px: int
) -> None:
    """Row B2. Positions are interpolated by timm's own function, to the same numbers."""
    trained = timm.create_model(name, num_classes=0)
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    body = build_body(name, channels=3, size_px=size_px)
    load_weights(body, name, str(tmp_path / "w.pth"))
    theirs = timm.create_model(
        name,
        pretrained=True,
        num_classes=0,
        img_size=size_px,
        pretrained_cfg_overlay={"file": str(tmp_path / "w.pth")},
    )
    for key, value in theirs.state_dict().items():
        assert torch.equal(body.network.state_dict()[key], value), key


@pytest.mark.fault
def test_weights_that_cannot_be_resampled_name_the_size_that_fits(tmp_path: Path) -> None:
    """Row B2."""
    name = "resmlp_12_224"
    torch.save(timm.create_model(name).state_dict(), tmp_path / "w.pth")
    other = build_body(name, channels=3, size_px=64)
    with pytest.raises(UsageError, match=r"only at 224 px.* set data\.size_px=224"):
        load_weights(other, name, str(tmp_path / "w.pth"))
    with pytest.raises(UsageError, match=r"made for data\.size_px=224\. "):
        build_body("efficientformer_l1", channels=3, size_px=96)


def below(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{k}": v for k, v in state.items()}


WRAPPED = {
    "compiled": lambda s: below("_orig_mod.", s),
    "compiled in parallel": lambda s: {"model": below("module._orig_mod.", s), "epoch": 3},
    "parallel, compiled": lambda s: below("_orig_mod.module.", s),
    "compiled inside": lambda s: {k.replace("layer1.", "layer1._orig_mod."): s[k] for k in s},
    "Lightning": lambda s: {"state_dict": below("net.", s), "hyper_parameters": {"lr": 1e-3}},
    "a Lightning task": lambda s: {"state_dict": below("model.model.backbone.", s)},
    "MoCo": lambda s: {
        "state_dict": {
            **below("module.encoder_q.", s),
            **below("module.encoder_k.", {k: -v for k, v in s.items()}),
            "module.queue": torch.ones(128, 9),
        }
    },
    "DINO": lambda s: {
        "student": below("module.backbone.", {k: -v for k, v in s.items()}),
        "teacher": {**below("backbone.", s), "head.last_layer.weight": torch.ones(3)},
    },
    "an average": lambda s: {
        "model": {k: -v for k, v in s.items()},
        "model_ema": s,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
    },
    "a hub's": lambda s: {"model_state_dict": below("timm_model.", s)},
    "a segmenter's": lambda s: {"network_weights": {"a": {"b": {"c": below("encoder.", s)}}}},
    "its settings": lambda s: {"args": argparse.Namespace(lr=0.1, path=Path("x")), "state_dict": s},
    "its numbers": lambda s: {
        "best": np.float64(0.5),
        "when": datetime.datetime(2024, 1, 1),
        "state_dict": OrderedDict(s),
    },
    "a list": lambda s: [s],
    "a list of models": lambda s: {"models": [below("module.", s)], "epoch": 3},
    "numpy": lambda s: {"params": {k: v.numpy() for k, v in s.items()}},
    "a sequence of children": lambda s: numbered(s),
    "a sequence in an encoder": lambda s: {"state_dict": below("module.f.", numbered(s))},
    "itself": lambda s: holds_itself({"state_dict": s}),
}


def numbered(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As `nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])` names them."""
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    parted = ((*key.partition("."), value) for key, value in state.items())
    return {f"{places[child]}.{rest}": value for child, _, rest, value in parted}


def holds_itself(state: dict[str, Any]) -> dict[str, Any]:
    state["again"] = state
    return state


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_are_found_under_whatever_wraps_them(tmp_path: Path, how: str) -> None:
    wanted = random_like(resnet().network)
    torch.save(WRAPPED[how](wanted), tmp_path / "w.pth")
    body = resnet()
    assert load_weights(body, "resnet18", str(tmp_path / "w.pth")).pretrained
    assert all(torch.equal(v, wanted[k]) for k, v in body.network.state_dict().items())


def test_a_whole_module_gives_its_tensors_and_nothing_else(tmp_path: Path) -> None:
    source = resnet().network
    torch.save(source, tmp_path / "w.pt")
    body = resnet()
    load_weights(body, "resnet18", str(tmp_path / "w.pt"))
    assert torch.equal(body.network.state_dict()["conv1.weight"], source.conv1.weight)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"args": argparse.Namespace(lr=0.1)}, r"no tensors, only objects of argparse\.Namespace"),
        ({"epoch": 3}, "no tensors, only a dict"),
        ([1, 2], "no tensors, only a list"),
        ({"a": print}, r"holds print, which is not a tensor"),
        ({"a": subprocess.Popen}, r"holds commands\.Popen"),  # as pickles of protocol 2 call it
        ({"a": os.system}, r"holds posix\.system"),
    ],
)
def test_a_file_without_weights_names_what_it_holds_and_the_way_out(
    tmp_path: Path, content: object, words: str
) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=rf"{words}.*never code; save the state_dict alone"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"))


def test_a_torchscript_archive_is_refused_with_the_line_that_saves_its_tensors(
    tmp_path: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch no longer recommends what others have saved
        torch.jit.script(torch.nn.Conv2d(3, 2, 1)).save(str(tmp_path / "w.pt"))
    with pytest.raises(UsageError, match=r"TorchScript archive, .*torch.jit.load\(file\)"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pt"))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = resnet().network.state_dict()
    state["layer1.0.conv1.weight"][0] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"not finite, in layer1\.0\.conv1\.weight"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"))


def timm_folder(folder: Path, file: str = "model.safetensors", **config: Any) -> Path:
    """As `timm.models.save_for_hf` and a snapshot of the Hugging Face hub have it."""
    folder.mkdir()
    stored = random_like(timm.create_model("resnet18"))
    if file.endswith(".safetensors"):
        safetensors.torch.save_file(stored, folder / file)
    else:
        torch.save(stored, folder / file)
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", **config}))
    return folder


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_timm_gives_weights_normalisation_and_licence(
    tmp_path: Path, file: str
) -> None:
    cfg = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "license": "cc-by-nc-4.0"}
    folder = timm_folder(tmp_path / "hub", file, pretrained_cfg=cfg)
    for given in (folder, folder / file):
        body = resnet()
        origin = load_weights(body, "resnet18", str(given))
        wanted = random_like(timm.create_model("resnet18"))
        assert torch.equal(body.network.state_dict()["conv1.weight"], wanted["conv1.weight"])
        assert origin.normalisation == Normalisation((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
        assert origin.licence == "cc-by-nc-4.0"
        assert origin.notes == (
            "the licence of these weights, cc-by-nc-4.0, excludes commercial use",
        )


def test_a_licence_is_read_from_the_card_beside_the_weights(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "hub")
    (folder / "README.md").write_text("---\ntags:\n- timm\nlicense: mit\n---\n# A network\n")
    assert load_weights(resnet(), "resnet18", str(folder)).licence == "mit"


@pytest.mark.parametrize("text", ["", "[1]", '{"pretrained_cfg": 3, "mean": "x", "license": 4}'])
def test_a_folder_whose_description_makes_no_sense_still_gives_its_weights(
    tmp_path: Path, text: str
) -> None:
    folder = timm_folder(tmp_path / "hub")
    (folder / "config.json").write_text(text)
    assert load_weights(resnet(), "resnet18", str(folder)).normalisation is None


@pytest.mark.fault
def test_a_folder_of_another_network_names_the_backbone_to_take(tmp_path: Path) -> None:
    """Row 13."""
    folder = timm_folder(tmp_path / "hub")
    with pytest.raises(UsageError, match=r"of resnet18, .* set model\.backbone=resnet18"):
        load_weights(build_body("resnet34", channels=3, size_px=64), "resnet34", str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"folder without model\.safetensors"):
        load_weights(resnet(), "resnet18", str(folder))


def test_up_to_a_tenth_of_a_body_may_be_missing_and_is_named(tmp_path: Path) -> None:
    state = random_like(resnet().network)
    fresh = resnet().network.state_dict()
    del state["layer1.0.bn1.weight"], state["layer1.0.bn1.bias"]
    torch.save(state, tmp_path / "w.pth")
    body = resnet()
    origin = load_weights(body, "resnet18", str(tmp_path / "w.pth"))
    assert "2 of the body's 100 tensors are not in the file" in origin.notes[0]
    assert "layer1.0.bn1.weight, layer1.0.bn1.bias" in origin.notes[0]
    now = body.network.state_dict()
    assert torch.equal(now["layer1.0.bn1.weight"], fresh["layer1.0.bn1.weight"])
    assert torch.equal(now["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("lost", ["bn", "layer4"])
def test_less_than_nine_tenths_is_taken_only_where_part_is_asked_for(
    tmp_path: Path, lost: str
) -> None:
    """Many small tensors, or the few that hold most of the numbers."""
    state = {k: v for k, v in random_like(resnet().network).items() if lost not in k}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        UsageError, match=r"missing \(.* would fit: model\.partial=true loads those"
    ):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"))
    body = resnet()
    origin = load_weights(body, "resnet18", str(tmp_path / "w.pth"), partial=True)
    assert origin.notes
    assert torch.equal(body.network.state_dict()["conv1.weight"], state["conv1.weight"])


def test_part_of_a_larger_network_is_taken_only_where_part_is_asked_for(tmp_path: Path) -> None:
    larger = random_like(build_body("resnet34", channels=3, size_px=64).network)
    torch.save(larger, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"unknown \(layer1\.2.*model\.partial=true"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"))
    body = resnet()
    text = load_weights(body, "resnet18", str(tmp_path / "w.pth"), partial=True).text
    assert "left out (layer1.2" in text
    assert torch.equal(body.network.state_dict()["conv1.weight"], larger["conv1.weight"])


def test_partial_takes_nothing_from_a_file_in_which_nothing_fits(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(3)}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="do not fit"):
        load_weights(resnet(), "resnet18", str(tmp_path / "w.pth"), partial=True)
    with pytest.raises(UsageError, match=r"no effect on model\.weights=none"):
        load_weights(resnet(), "resnet18", "none", partial=True)


@pytest.mark.parametrize(
    ("file", "licence", "terms"),
    [
        ("RETFound_mae_natureCFP.pth", "CC BY-NC 4.0", "no commercial use"),
        ("dinov3_vits16_pretrain_lvd1689m-08c60483.pth", "DINOv3 License", "passing on"),
        ("medsiglip-448/weights.pth", "Health AI Developer Foundations", "every use"),
        ("nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt", "Apache-2.0", ""),
        ("retfoundgreen_statedict.pth", "", ""),
        ("dino_deitsmall16_pretrain.pth", "Apache-2.0", ""),
        ("dino_vitbase8_pretrain.pth", "Apache-2.0", ""),
        ("dino_xcit_small_12_p16_pretrain.pth", "Apache-2.0", ""),
        ("dino_vit_small_patch16_ep200.torch", "", ""),  # pathology, not for commercial use
        ("mine.pth", "", ""),
    ],
)
def test_the_licence_of_known_weights_is_named_once(
    tmp_path: Path, file: str, licence: str, terms: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    torch.save(resnet().network.state_dict(), path)
    origin = load_weights(resnet(), "resnet18", str(path))
    assert origin.licence.startswith(licence)
    assert bool(origin.licence) == bool(licence)
    assert len(origin.notes) == bool(terms)
    assert terms in "".join(origin.notes)
    assert all("https://" in note for note in origin.notes)


@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("RETFound_mae_natureCFP.pth", True),
        ("dino_deitsmall16_pretrain.pth", True),
        ("mine.pth", False),
    ],
)
def test_known_weights_see_pixels_as_they_were_trained_on(
    tmp_path: Path, file: str, known: bool
) -> None:
    body = build_body("vit_tiny_patch16_224", channels=3, size_px=64)
    assert body.normalisation.mean == (0.5,) * 3, "timm's default weights for this name"
    torch.save(body.network.state_dict(), tmp_path / file)
    origin = load_weights(body, "vit_tiny_patch16_224", str(tmp_path / file))
    expected = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if known else None
    assert origin.normalisation == expected


def test_a_vit_of_torchvision_is_known_by_its_tensors() -> None:
    held = ["class_token", "conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"]
    known = recognised("weights.pth", held)
    assert known
    assert known.normalisation == Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert known.licence == "", "it differs by file"
