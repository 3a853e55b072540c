"""The folder of a run that fails: removed if nothing was computed, else kept."""

from __future__ import annotations

import errno
import json
import logging
import shlex
from pathlib import Path

import pytest

from medcnn.system.errors import UsageError
from medcnn.system.run_folder import open_run, shorter_run

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


def test_a_look_at_test_of_a_run_that_still_trains_is_kept_and_counted(tmp_path: Path) -> None:
    def looks() -> list[str]:
        facts = json.loads((tmp_path / "trains/run.json").read_text())
        return [look["command"] for look in facts["test_looks"]]

    with open_run(tmp_path / "trains", {}, ["train"], resumable=True) as trains:
        trains.checkpoints.mkdir()
        trains.facts["manifest"] = "of these images"
        trains.write_facts()
        with open_run(tmp_path / "looks", {}, ["evaluate"], resumable=False) as other:
            other.looks_at_test_of("of these images", [tmp_path / "trains/run.json"])
        trains.write_facts()
        assert looks() == ["medcnn evaluate"]
        with open_run(tmp_path / "again", {}, ["external"], resumable=False) as other:
            other.looks_at_test_of("of these images", [tmp_path / "trains/run.json"])
        trains.looks_at_test()
    assert looks() == ["medcnn evaluate", "medcnn external", "medcnn train"]
    assert any("look number 3 at the test split" in note for note in trains.facts["notes"])


@pytest.mark.parametrize(
    "content",
    ['{"config": "fast"}', '{"config": {"optimizer": "adam", "trainer": 3}}', "{}", "[1]", "\x00"],
)
def test_a_run_of_another_program_is_neither_continued_nor_overwritten(
    tmp_path: Path, content: str
) -> None:
    there = tmp_path / "x"
    (there / "checkpoints").mkdir(parents=True)
    (there / "checkpoints/resume.pt").write_text("")
    (there / "run.json").write_text(content)
    config = {"optimizer": {"lr": None}, "data": None, "trainer": {"epochs": 9}}
    assert shorter_run(tmp_path / "new", config) is None
    with (
        pytest.raises(UsageError, match=r"not of medcnn.*give another run_dir"),
        open_run(there, config, ["train"], resumable=True),
    ):
        pass
    assert (there / "run.json").read_text() == content


def test_a_folder_that_is_removed_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "medcnn"):
        fail(tmp_path / "a", UsageError("transfer.n=99"), resumable=True, left="audit.html")
    assert not (tmp_path / "a").exists()
    assert f"{tmp_path / 'a'} was removed, since nothing had been computed yet" in caplog.text


def test_the_command_of_a_run_keeps_no_folders_of_paths_however_they_are_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Meier").mkdir()
    (tmp_path / "Meier" / "r.csv").write_text("")
    typed = {
        "data.root=exports/Meier_Anna_1961/png": "data.root=.../png",
        "data.root='Meier, Anna/a=b/png/'": "data.root=.../png",
        "+data.table=[Meier/a.csv,Meier/b.csv]": "+data.table=[.../a.csv,.../b.csv]",
        "Meier/best.safetensors": ".../best.safetensors",
        "--config-dir=Meier/conf": "--config-dir=.../conf",
        "readers=Meier/r.csv": "readers=.../r.csv",
        "data.separator=/": "data.separator=/",
        "model.backbone=timm/resnet18": "model.backbone=timm/resnet18",
    }
    with open_run(tmp_path / "r", {}, ["train", *typed], resumable=False) as run:
        run.looks_at_test()
        command = run.facts["command"]
        assert [look["command"] for look in run.facts["test_looks"]] == [command]
    assert shlex.split(command) == ["medcnn", "train", *typed.values()]
