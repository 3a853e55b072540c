"""`medcnn inspect` as a user meets it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.command import run


def test_networks_stand_side_by_side_in_the_terminal_on_a_page_and_in_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("lenet5", "alexnet", "efficientnet_lite0", "data.size_px=80", "inspect.lesion_px=12")
    assert run("inspect", *words, f"output={tmp_path}/i.html") == 0
    said = capsys.readouterr().out
    html = (tmp_path / "i.html").read_text(encoding="utf-8")
    with (tmp_path / "i.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["network"] for row in rows} == {"lenet5", "alexnet", "efficientnet_lite0"}
    total = sum(int(row["parameters"]) for row in rows if row["network"] == "alexnet")
    for text in (said, html):
        assert f"{total:,}" in text
        assert "A lesion of 12 px is first seen whole" in " ".join(text.split())
    assert "body.features.0" in said
    assert "⌊(80 + 2·2 − 1·(11 − 1) − 1) / 4⌋ + 1 = 19" in html
    assert "<script" not in html
    assert run("inspect", *words, f"output={tmp_path}/i.html") == 0  # its own page is replaced


def test_the_words_of_a_train_command_are_taken_and_a_lesion_may_be_given_in_mm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lesion = ("inspect.lesion_mm=0.7", "inspect.pixel_mm=0.05", "inspect.image_px=896")
    words = ("model=resnet18", "pooling=gem", "head=mlp", "data=ham10000", "data.size_px=64")
    words += ("trainer.epochs=3", "inspect.classes=7", f"output={tmp_path}/i.html")
    assert run("inspect", *words, *lesion) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "A lesion of 0.7 mm (1 px in the network's image)" in said
    assert "head.3" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("resnet81", "alexnett"), 2, "unknown network 'alexnett'; did you mean 'alexnet'?"),
        (("resnet81",), 2, "unknown network 'resnet81'; did you mean 'resnet18'?"),
        (("model=lenet5", "data.size_px=24"), 2, "at least data.size_px=32"),
        (("inspect.lesion_mm=2",), 2, "inspect.lesion_mm and inspect.pixel_mm belong together"),
        (("inspect.lesion_mm=2", "inspect.lesion_px=2"), 2, "both give the lesion's size"),
        (("inspect.image_px=2",), 2, "no effect without inspect.lesion_mm"),
        (("output=page.txt",), 2, "name should end in .html"),
    ],
)
def test_what_cannot_be_inspected_is_said(
    words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = () if any("output" in w for w in words) else (f"output={tmp_path}/i.html",)
    assert run("inspect", *words, *output) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_something_else_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "i.csv").write_text("image,label\n")
    assert run("inspect", "lenet5", "data.size_px=32", f"output={tmp_path}/i.html") == 2
    assert "i.csv, the table beside the page, exists" in " ".join(capsys.readouterr().err.split())
