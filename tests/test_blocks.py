"""Every command in README and docs is run, on phantoms, or docs/not-run.md says why not."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medcnn.data.phantoms.drawing import TABLE
from tests.command import run
from tests.test_site import PAGES, TOP, blocks, lines

NOT_RUN = dict(
    tuple(cell.strip().strip("`").replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:3])
    for row in (TOP / "docs" / "not-run.md").read_text("utf-8").splitlines()
    if row.startswith("| `")
)
SHELL = [
    (page.relative_to(TOP).as_posix(), line)
    for page in (TOP / "README.md", *PAGES)
    for language, block in blocks(page)
    if language in ("", "sh")
    for line in lines(block)
    if language == "sh" or line.startswith("medcnn ")
]


def reason(page: str, line: str) -> str:
    """Why no test runs it; empty for one that is run."""
    told = f"docs/{page.split('/')[-1]}" if "tutorial" in page else line
    return next((why for row, why in NOT_RUN.items() if re.search(row, told)), "")


RUN: dict[str, list[str]] = {}
for of_page, command in dict.fromkeys(SHELL):
    if not reason(of_page, command):
        RUN.setdefault(of_page, []).append(command)


def test_every_block_is_run_or_has_a_reason_why_not() -> None:
    assert [line for of in RUN.values() for line in of if not line.startswith("medcnn ")] == []
    assert sum(map(len, RUN.values())) >= 35, "most of the commands run"


@pytest.mark.parametrize("row", NOT_RUN)
def test_no_reason_is_left_without_its_line(row: str) -> None:
    told = [f"docs/{p.split('/')[-1]}" if "tutorial" in p else line for p, line in SHELL]
    assert NOT_RUN[row]
    assert any(re.search(row, line) for line in told)


HOSPITAL = """
name: table
root: {root}
table: {table}
image: image
label: diagnosis
patient: lesion
classes: [nevus, melanoma, keratosis, basal_cell]
size_px: 32
attributes: [sex, age]
group_noun: lesion
"""
BEST = "first-run/checkpoints/best.safetensors"
QUICK = ("trainer.device=cpu", "trainer.threads=1")
TRAINS = ("trainer.epochs=1", "trainer.batch_size=10", "explain=null", *QUICK)


@pytest.fixture(scope="module")
def workplace(drawn: Callable[[str, int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages suppose: runs, a checkpoint, images in folders, tables and YAML."""
    place = tmp_path_factory.mktemp("workplace")
    images = drawn("dermoscopy", 40)
    for folder in ("my-configs", "conf"):
        (place / folder / "data").mkdir(parents=True)
        for name in ("my_hospital", "other_hospital"):
            text = HOSPITAL.format(root=images, table=TABLE)
            (place / folder / "data" / f"{name}.yaml").write_text(text)
    first = place / "first"  # the hospital of best.safetensors has other patients
    first.mkdir()
    shutil.copytree(images / "images", first / "images")
    for file in sorted((first / "images").iterdir()):
        file.rename(file.with_name(f"F{file.name}"))
    text = (images / TABLE).read_text().replace("images/L", "images/FL").replace(",L", ",FL")
    (first / TABLE).write_text(text)
    text = HOSPITAL.format(root=first, table=TABLE)
    (place / "conf" / "data" / "first.yaml").write_text(text)
    demo, other = place / "runs" / "demo", place / "runs" / "b"
    for name, folder, model in (
        ("my_hospital", demo, "resnet18"),
        ("my_hospital", other, "lenet5"),
        ("first", place / "first-run", "lenet5"),
    ):
        words = (f"data={name}", "--config-dir", place / "conf", f"run_dir={folder}", *TRAINS)
        assert run("train", *words, f"model={model}", "audit.copies=false") == 0
    for name in ("a", "c", "old", "resnet18"):
        shutil.copytree(demo, place / "runs" / name)
    shutil.copytree(other, place / "runs" / "resnet50")
    some = sorted((images / "images").iterdir())[:4]
    shutil.copy(some[0], place / "image.png")
    for folder in ("new_patients", "new_images", "data/new_patients", "data/march"):
        for number, file in enumerate(some):
            (place / folder / f"p{number // 2}").mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place / folder / f"p{number // 2}")
    shutil.copytree(TOP / "examples", place / "examples")
    (place / "records").mkdir()
    with (place / "readings.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["case", "reader", "condition", "truth", "score", "call"])
        for case in range(20):
            truth = case % 2
            for reader, condition in (
                *((f"r{n}", c) for n in range(3) for c in ("alone", "with model")),
                ("net", "model"),
            ):
                score = 0.3 * truth + (case * 7 + len(reader + condition)) % 10 / 20
                rows.writerow([case, reader, condition, truth, score, int(score > 0.4)])
    with (demo / "predictions_test.csv").open(newline="") as file:
        judged = list(csv.DictReader(file))
    with (place / "our-readers.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "reader", "label", "call"])
        for number, row in enumerate(judged):
            for reader in ("Ames", "Bell"):
                rows.writerow([row["image_id"], reader, "nevus", (number + len(reader)) % 2])
    return place


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_commands_of_a_page_run_one_after_the_other(
    page: str,
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / "here"
    shutil.copytree(workplace, here, copy_function=os.link)
    monkeypatch.chdir(here)
    for line in RUN[page]:
        # places of the reader's machine lie in this folder
        words = shlex.split(re.sub(r"(?<=[ =])/(data|records)/", r"\1/", line))[1:]
        words = [BEST if word == "best.safetensors" else word for word in words]
        if "data=my_hospital" in words and "--config-dir" not in words:
            words += ["--config-dir", "my-configs"]
        if words[0] in ("train", "finetune"):
            words += [*TRAINS, *(["model=lenet5"] if words[0] == "train" else [])]
        if words[0] == "predict":  # lines that are alternatives write the same table
            for old in (here / word for word in words if word.endswith(".csv")):
                old.unlink(missing_ok=True)
                old.with_suffix(".json").unlink(missing_ok=True)
                shutil.rmtree(old.with_name(f"{old.stem}-maps"), ignore_errors=True)
        assert run(*words) == 0, f"{line}\n{capsys.readouterr().err}"
