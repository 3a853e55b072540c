"""`trainer.dry_run`: it says what a run will cost, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcnn.cli import main
from medcnn.errors import DataError
from medcnn.loading.pixel_store import PixelStore

WORDS = ("train", "trainer.dry_run=true", "trainer.device=cpu", "model=lenet5", "data.size_px=32")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


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
