"""The folder of a run that fails: removed if nothing was computed, else kept."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

import pytest

from medcnn.system.errors import UsageError
from medcnn.system.run_folder import open_run

FULL = OSError(errno.ENOSPC, "No space left on device", "metrics.json")


def fail(path: Path, error: Exception, *, resumable: bool, left: str = "") -> None:
    opened = open_run(path, {"seed": 0}, ["medcnn"], resumable=resumable)
    run = opened.__enter__()
    if left:
        (run.path / left).write_text("")
    assert not opened.__exit__(type(error), error, None)


def test_an_evaluation_that_fills_the_disk_leaves_no_folder_behind(tmp_path: Path) -> None:
    fail(tmp_path / "a", FULL, resumable=False)
    assert not (tmp_path / "a").exists()


def test_predictions_are_kept_when_the_disk_is_full(tmp_path: Path) -> None:
    fail(tmp_path / "a", FULL, resumable=False, left="predictions_test.csv")
    assert json.loads((tmp_path / "a" / "run.json").read_text())["exit"]["code"] == 1


def test_a_training_that_fills_the_disk_is_kept_to_be_resumed(tmp_path: Path) -> None:
    fail(tmp_path / "a", FULL, resumable=True)
    assert (tmp_path / "a" / "run.json").is_file()


def test_a_folder_that_is_removed_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "medcnn"):
        fail(tmp_path / "a", UsageError("transfer.n=99"), resumable=True, left="audit.html")
    assert not (tmp_path / "a").exists()
    assert f"{tmp_path / 'a'} was removed, since nothing had been computed yet" in caplog.text
