"""What is written holds no folder of this machine, and what must be found is found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from medcnn.cli.compose import read_command
from medcnn.config import to_json
from medcnn.models.checkpoint import Checkpoint
from medcnn.system.run_folder import open_run
from medcnn.system.run_places import placeless
from medcnn.verbs.steps.judged_images import own_data
from tests.command import run
from tests.conftest import write_colours
from tests.reading import everything_in

QUICK = ("model=lenet5", "data.size_px=32", "trainer.epochs=1", "trainer.device=cpu")


@pytest.mark.fault
def test_a_run_names_no_folder_of_this_machine_and_evaluate_finds_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row A3: `init` of a folder with a table outside of it, then train, evaluate, report."""
    images = tmp_path / "Dr WAYFARER's folder" / "export"
    labels = tmp_path / "Mrs_WAYFARER" / "labels.csv"
    of = write_colours(images, 36)
    labels.parent.mkdir()
    cells = [f"{i:03d}.png,p{i},{('red', 'green', 'blue')[c]}" for i, c in enumerate(of)]
    labels.write_text("\n".join(["file,patient,colour", *cells]) + "\n")
    work = tmp_path / "work_of_WAYFARER"
    work.mkdir()
    monkeypatch.chdir(work)
    assert run("init", str(images), str(labels), f"output={work}/conf/data/ours.yaml") == 0
    data = ("data=ours", "--config-dir", str(work / "conf"))
    assert run("audit", *data, f"output={work}/audit.html") == 0
    place = f"run_dir={work}/run"
    assert run("train", *data, *QUICK, place, f"data.cache={tmp_path}/WAYFARER/cache") == 0
    best = "checkpoint=run/checkpoints/best.safetensors"
    assert run("evaluate", f"checkpoint={work}/{best[11:]}", f"run_dir={work}/again") == 0
    assert run("report", "run=again") == 0
    said = capsys.readouterr()
    assert "these are not exactly the images" not in said.out + said.err
    shared = [work / "audit.html", *(work / "run").rglob("*"), *(work / "again").rglob("*")]
    holding = [
        f"{path.name}: {where}"
        for path in shared
        if path.is_file()
        for where, content in everything_in(path)
        if b"wayfarer" in content.lower()
    ]
    assert holding == []
    assert run("train", *data, *QUICK, place, f"data.cache={tmp_path}/WAYFARER/cache") == 0


@pytest.mark.fault
@pytest.mark.parametrize("folder", ["Mrs_WAYFARER", "Mrs WAYFARER"])
def test_a_table_that_is_named_from_the_images_is_found_again_and_its_folders_are_not_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: str,
) -> None:
    """Row A3: `table: ../folder/labels.csv` lies beside the images, wherever medcnn was started."""
    of = write_colours(tmp_path / "images", 36)
    (tmp_path / folder).mkdir()
    cells = [f"{i:03d}.png,p{i},{('red', 'green', 'blue')[c]}" for i, c in enumerate(of)]
    (tmp_path / folder / "labels.csv").write_text("\n".join(["file,patient,colour", *cells]) + "\n")
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "ours.yaml").write_text(
        f"defaults: [table]\nroot: {tmp_path}/images\ntable: ../{folder}/labels.csv\n"
        "image: file\nlabel: colour\npatient: patient\n"
    )
    work = tmp_path / "deep" / "down" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    data = ("data=ours", "--config-dir", str(tmp_path / "conf"))
    assert run("audit", *data, "output=audit.html") == 0
    assert run("train", *data, *QUICK, "run_dir=run") == 0
    capsys.readouterr()
    best = "checkpoint=run/checkpoints/best.safetensors"
    assert run("evaluate", best, "run_dir=again") == 0, capsys.readouterr().err
    holding = [
        f"{path.name}: {where}"
        for path in (work / "audit.html", *(work / "run").rglob("*"), *(work / "again").rglob("*"))
        if path.is_file()
        for where, content in everything_in(path)
        if b"wayfarer" in content.lower()
    ]
    assert holding == []


def test_a_table_beside_the_images_is_looked_for_beside_moved_images(tmp_path: Path) -> None:
    for place in ("old", "new", "alone"):
        (tmp_path / place / "images").mkdir(parents=True)
    for place in ("old", "new"):
        (tmp_path / place / "labels.csv").write_text("file,colour\n")
    words = ["data=table", f"data.root={tmp_path}/old/images", "data.table=../labels.csv"]
    config = to_json(read_command("train", [*words, "data.image=file", "data.label=colour"]).config)
    with open_run(tmp_path / "run", config, ["train"], resumable=True) as run:
        run.checkpoints.mkdir()
    trained = cast(Checkpoint, SimpleNamespace(training=placeless(config), plugins=()))

    def table(**moved: str) -> object:
        return own_data(run.best, trained, moved).options["table"]

    assert table() == f"{tmp_path}/old/labels.csv"
    assert table(root=f"{tmp_path}/new/images") == f"{tmp_path}/new/labels.csv"
    assert table(root=f"{tmp_path}/alone/images") == f"{tmp_path}/old/labels.csv"
    assert table(root=f"{tmp_path}/new/images", table="mine.csv") == "mine.csv"


@pytest.mark.fault
def test_other_images_under_the_same_name_are_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row A3: a finished run is not taken for that of another folder of the same name."""
    monkeypatch.chdir(tmp_path)
    for place in ("one", "two"):
        of = write_colours(tmp_path / place / "export", 36)
        for i, c in enumerate(of):
            folder = tmp_path / place / "export" / ("red", "green", "blue")[c]
            folder.mkdir(exist_ok=True)
            (tmp_path / place / "export" / f"{i:03d}.png").rename(folder / f"{i:03d}.png")
    words = ("train", "data=table", *QUICK, "run_dir=run")
    assert run(*words, f"data.root={tmp_path}/one/export") == 0
    capsys.readouterr()
    assert run(*words, f"data.root={tmp_path}/two/export") == 2
    assert "data.root: another .../export" in capsys.readouterr().err
