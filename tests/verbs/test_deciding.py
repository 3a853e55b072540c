from __future__ import annotations

from pathlib import Path

import pytest

from medcnn.cli.compose import read_command
from medcnn.config import to_json
from medcnn.models import weights
from medcnn.system.run_facts import as_begun, differences
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.steps.deciding import FROM_SCRATCH, PRETRAINED, decided
from medcnn.verbs.train import TrainConfig

SMALL = ("data=medmnist", "data.path=retinamnist.npz")


def settings(*words: str) -> TrainConfig:
    config = read_command("train", [*SMALL, *words]).config
    assert isinstance(config, TrainConfig)
    return config


def after(config: TrainConfig, **begun: object) -> tuple[float | None, int | None]:
    """Learning rate and size that `decided` takes, which the facts of the run then hold too."""
    run = RunFolder(Path("run"), {"config": as_begun(begun, to_json(config))}, finished=False)
    done = decided(config, run)
    stored = run.facts["config"]
    assert stored["optimizer"]["lr"] == done.optimizer.lr
    assert stored["data"]["size_px"] == done.data.size_px
    return done.optimizer.lr, done.data.size_px


def test_random_weights_take_the_rate_and_size_for_random_weights() -> None:
    own = (FROM_SCRATCH.lr, FROM_SCRATCH.size_px)
    assert after(settings("model.weights=none")) == own
    assert after(settings("transfer=scratch", "model=efficientnet_lite0")) == own


def test_pretrained_weights_take_the_rate_and_size_for_pretrained_weights(tmp_path: Path) -> None:
    own = (PRETRAINED.lr, PRETRAINED.size_px)
    assert own != (FROM_SCRATCH.lr, FROM_SCRATCH.size_px)
    assert after(settings("model.weights=pretrained")) == own
    assert after(settings(f"model.weights={tmp_path / 'body.safetensors'}")) == own


@pytest.mark.parametrize("found", [True, False])
def test_auto_follows_whether_weights_are_at_hand(
    found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_not_to_be_had", lambda source: "" if found else "no network")
    expected = PRETRAINED if found else FROM_SCRATCH
    assert after(settings("model=resnet18")) == (expected.lr, expected.size_px)


def test_what_the_user_says_is_not_changed() -> None:
    said = settings("model.weights=pretrained", "optimizer.lr=0.007", "data.size_px=64")
    assert after(said) == (0.007, 64)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("model.weights=pretrained",),
            "transfer=full optimizer.lr=0.001 trainer.epochs=40 data.size_px=96: "
            "no other choice was clearly better from pretrained weights (docs/transfer.md)",
        ),
        (
            ("model.weights=none", "optimizer.lr=0.1", "trainer.epochs=7"),
            "transfer=full data.size_px=48: random weights have to learn in all layers "
            "(docs/transfer.md)",
        ),
        (
            ("transfer=scratch", "data.size_px=64"),
            "optimizer.lr=0.001 trainer.epochs=40: random weights have to learn in all layers "
            "(docs/transfer.md)",
        ),
    ],
)
def test_one_line_says_what_was_not_given_and_why(
    words: tuple[str, ...], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        after(settings(*words))
    assert caplog.messages == [said]


def test_a_run_that_goes_on_keeps_what_it_decided() -> None:
    begun = {"optimizer": {"lr": 0.002}, "data": {"size_px": 40}}
    assert after(settings("model.weights=pretrained"), **begun) == (0.002, 40)


def test_a_run_from_before_rates_were_left_open_is_the_same_run() -> None:
    now = to_json(settings())
    before = {**now, "optimizer": {**now["optimizer"], "lr": 0.001}}
    before["data"] = {**now["data"], "size_px": 48}
    assert differences(before, as_begun(before, now)) == []
    other = to_json(settings("optimizer.lr=0.5"))
    assert differences(before, as_begun(before, other)) == ["optimizer.lr: 0.001 there, 0.5 now"]
