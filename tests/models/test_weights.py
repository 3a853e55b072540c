from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import safetensors.torch
import torch

from medcnn.models import weights
from medcnn.models.backbones import Body, build_body
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
    with pytest.raises(UsageError, match=r"do not fit resnet18: tensors .* missing \(conv1.weight"):
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
        (socket.gaierror(-2, "Name or service not known"), "no network, or one that does not know"),
        (ConnectionRefusedError(111, "Connection refused"), "(Connection refused;"),
    ],
)
def test_a_missing_network_is_told_in_words(
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
    assert "trained from scratch" in origin.text


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
