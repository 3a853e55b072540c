"""Expensive truths on a tiny set: exact resume, divergence, signals, what is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medcnn.config import Choice
from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest
from medcnn.training import epochs as epochs_module
from medcnn.training.epochs import is_better
from medcnn.verbs import train as train_verb
from medcnn.verbs.steps import auditing
from medcnn.verbs.train import TrainConfig
from tests.killing import killed

Settings = dict[str, Any]


_DONE: list[Path] = []


@pytest.fixture
def uninterrupted(
    settings: Callable[..., TrainConfig], train: Callable[[TrainConfig], Path]
) -> Path:
    """A run from start to end; trained once, since it is a function of its settings."""
    if not _DONE:
        _DONE.append(train(settings("whole")))
    return _DONE[0]


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"{name}.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[k], right[k]) for k in left.keys() | right.keys())


@pytest.mark.fault
@pytest.mark.parametrize("at_update", [1, 5, 12])
def test_a_killed_run_ends_with_the_same_weights_to_the_bit(
    settings: Callable[..., TrainConfig],
    train: Callable[[TrainConfig], Path],
    uninterrupted: Path,
    at_update: int,
) -> None:
    """Rows 1 and 2."""
    whole = uninterrupted
    config = settings("killed", save_every_s=1e-6)
    killed(config, train, at_update)
    resumed = train(config)
    for name in ("best", "last"):
        assert same(weights(whole, name), weights(resumed, name))
    assert (whole / "metrics.json").read_text() == (resumed / "metrics.json").read_text()


def test_the_proof_of_equal_weights_can_fail(
    settings: Callable[..., TrainConfig], train: Callable[[TrainConfig], Path], uninterrupted: Path
) -> None:
    other = train(settings("other", clip_norm=0.01))
    assert not same(weights(uninterrupted), weights(other))


def test_an_undefined_score_is_never_better() -> None:
    assert is_better(0.1, None, True)
    assert not is_better(math.nan, 0.1, True)
    assert not is_better(math.nan, 0.1, False)
    assert is_better(0.2, 0.1, True)
    assert is_better(0.1, 0.2, False)


@pytest.mark.parametrize(("mode", "epochs"), [("full", 1), ("gradual", 2), ("lora", 1)])
def test_accumulated_micro_batches_take_the_step_of_the_whole_batch(
    settings: Callable[..., TrainConfig],
    colours: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    epochs: int,
) -> None:
    monkeypatch.setattr(auditing, "manifest_to_audit", lambda *_: (colours(), ""))
    same_but: Settings = {"epochs": epochs, "warmup_share": 0, "ema_decay": 0}
    runs = []
    for name, sizes in (("whole", (32, 1, 32)), ("parts", (8, 4, 3))):
        sized = dict(zip(("batch_size", "accumulate", "micro_batch"), sizes, strict=True))
        config = settings(name, **sized, **same_but)
        # without BatchNorm, dropout and mixup the parts of a batch do not see each other
        config = replace(
            config,
            model=replace(config.model, backbone="lenet5", options={}),
            head=replace(config.head, name="linear", options={}),
            augmentation=replace(config.augmentation, preset="none"),
            optimizer=replace(config.optimizer, name="sgd", lr=0.1),
            transfer=Choice(name=mode, options={}),
        )
        runs.append(weights(train_verb.train(config, ["train"])))
    for name in runs[0]:
        assert torch.allclose(runs[0][name], runs[1][name], atol=1e-6), name


def test_training_stops_early_when_validation_no_longer_improves(
    settings: Callable[..., TrainConfig],
    train: Callable[[TrainConfig], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = iter([0.6, 0.7, 0.5, 0.5, 0.9, 0.9])
    monkeypatch.setattr(epochs_module.metrics, "score", lambda *_: next(scores, 0.5))
    run = train(settings("early", epochs=6, patience=2))
    facts = json.loads((run / "run.json").read_text())
    assert facts["best_epoch"] == 2
    assert "stopped early" in (run / "log.txt").read_text()


def test_a_finished_run_is_not_trained_again(
    settings: Callable[..., TrainConfig], train: Callable[[TrainConfig], Path]
) -> None:
    run = train(settings("once", epochs=1))
    before = (run / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    train(settings("once", epochs=1))
    assert (run / "checkpoints" / "last.safetensors").stat().st_mtime_ns == before


def test_a_run_folder_holds_all_that_it_should(
    settings: Callable[..., TrainConfig], train: Callable[[TrainConfig], Path]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(settings("all", epochs=2))
    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert {
        "config.yaml",
        "run.json",
        "log.txt",
        "manifest.csv",
        "metrics.json",
        "report.html",
        "predictions_test.csv",
        "predictions_validation.json",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/resume.pt",
    } <= names
    torch.load(run / "checkpoints" / "resume.pt", weights_only=True)
    board = EventAccumulator(str(run / "events")).Reload()
    tags = board.Tags()
    expected = {"train/loss", "val/auroc", "lr/body", "lr/head", "perf/images_per_s"}
    assert expected <= set(tags["scalars"])
    assert "images/as_the_network_sees_them" in tags["images"]
    assert "confusion_matrix/test" in tags["images"]
    assert {"pr_test/red", "_hparams_/experiment"} <= set(tags["tensors"]) | set(
        board.summary_metadata
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_precision_takes_the_same_path(
    settings: Callable[..., TrainConfig], train: Callable[[TrainConfig], Path], precision: str
) -> None:
    run = train(settings(precision, epochs=1, precision=precision))
    assert all(t.dtype != torch.bfloat16 for t in weights(run).values())


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.MULTILABEL, Kind.ORDINAL])
def test_every_kind_of_label_trains_to_a_report(
    settings: Callable[..., TrainConfig],
    colours: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
) -> None:
    manifest = colours(kind=kind)
    monkeypatch.setattr(auditing, "manifest_to_audit", lambda *_: (manifest, ""))
    run = train_verb.train(settings(kind, epochs=1), ["train"])
    assert (run / "report.html").stat().st_size > 10_000


def test_the_progress_line_says_no_number_that_is_not_there_yet(
    settings: Callable[..., TrainConfig],
    train: Callable[[TrainConfig], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = []

    def track(items: Any, total: int, title: str, detail: Callable[[], str]) -> Any:
        for item in items:
            yield item
            said.append(detail())

    monkeypatch.setattr(epochs_module, "track", track)
    monkeypatch.setattr(epochs_module, "LOOK_EVERY_S", -1.0)
    config = settings("said", epochs=1)
    assert config.model is not None
    train(replace(config, model=replace(config.model, backbone="lenet5", options={})))
    assert "nan" not in " ".join(said)
    assert "images/s" not in said[0]
    assert said[-1].startswith("loss ")
    assert said[-1].endswith("waiting for data")
