"""`trainer.dry_run`: it says what a run will cost, and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medcnn.cli.compose import read_command
from medcnn.data.manifest import Split
from medcnn.pixels.batches import Batch
from medcnn.pixels.pixel_store import PixelStore
from medcnn.system.errors import DataError
from medcnn.training import epochs
from medcnn.verbs.steps import dry_run
from medcnn.verbs.train import TrainConfig
from tests.command import run

WORDS = ("train", "trainer.dry_run=true", "trainer.device=cpu", "model=lenet5", "data.size_px=32")


def test_a_dry_run_says_what_a_run_costs_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("data.patients=40", "trainer.batch_size=8", "trainer.epochs=7")
    assert run(*WORDS, *few) == 0
    said = capsys.readouterr().out
    for words in ("nothing was kept", "images/s", "for 7 epochs", "GB at the peak", "MB"):
        assert words in said
    assert " 56 images to train on, 14 to validate" in said  # not those of the few that it took
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "views"), [("lp_ft", 6), ("gradual", 2), ("lora", None)])
def test_a_dry_run_in_stages_counts_the_views_of_the_whole_run(
    mode: str,
    views: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first stage of `lp_ft` has 6 of 20 epochs, that of `gradual` 2; `lora` has one stage."""
    monkeypatch.chdir(tmp_path)
    real, seen = dry_run.costs, list[Any]()
    monkeypatch.setattr(dry_run, "costs", lambda *a: (seen.append(a[1]), real(*a))[1])
    few = ("data.patients=40", "trainer.batch_size=8", "trainer.epochs=20", f"transfer={mode}")
    more = ("transfer.views=8", "augmentation.mixup_alpha=0") if views else ()
    assert run(*WORDS, *few, *more) == 0
    said = capsys.readouterr().out
    assert "everything works" in said
    assert ("computed once for all epochs" in said) == bool(views)
    assert seen[0].get("features", {}).get("views") == views


def test_a_cpu_rehearses_on_a_part_of_a_batch_that_would_take_long_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "CPU_PIXELS", 4 * 32**2)
    real, sizes = epochs.update, []

    def watched(stepper: Any, group: list[Batch], keys: Any) -> None:
        sizes.append([len(batch.rows) for batch in group])
        real(stepper, group, keys)

    monkeypatch.setattr(epochs, "update", watched)
    assert run(*WORDS, "data.patients=40", "trainer.batch_size=8", "trainer.accumulate=2") == 0
    assert sizes == [[4], [4]]
    said = capsys.readouterr().out
    assert "trained on   4 of the 16 images of a step" in said
    assert " s, 16 images: " in said


def test_the_memory_that_is_told_is_that_of_the_gpu_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = torch.device("cuda", 1)
    monkeypatch.setattr(dry_run, "pick_device", torch.device)
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda d=None: 3e9 if d == second else 0
    )
    config = read_command("train", ["trainer.device=cuda:1"]).config
    assert isinstance(config, TrainConfig)
    speed = {"perf/images_per_s": 9.0, "perf/val_images_per_s": 9.0}
    images = dict.fromkeys(Split, 5)
    lines = dry_run.costs(config, {"images": images, "speed": speed}, {"last.safetensors": 1})
    assert "on the GPU 3.0 GB at the peak" in "".join(lines)


def test_a_dry_run_fails_as_the_run_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def breaks(*_: object) -> None:
        raise DataError("this image cannot be read any more.")

    monkeypatch.setattr(PixelStore, "take", breaks)
    assert run(*WORDS, "data.patients=40") == 4
    assert "cannot be read any more" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
