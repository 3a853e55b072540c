"""`report readers=FILE`: readers beside the ROC curves, from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.predictions import Predictions
from medcnn.verbs.steps.reader_files import read_readers
from tests.command import run

PUBLISHED = Path(__file__).parents[2] / "examples" / "readers.yaml"


@pytest.fixture
def folder(simulate: Callable[..., Predictions], tmp_path: Path) -> Path:
    """A run whose patients have two images each."""
    simulate(Kind.BINARY).write(tmp_path / "predictions_test.csv")
    (tmp_path / "run.json").write_text(json.dumps({"report": {"group_noun": "patient"}}))
    return tmp_path


def page(folder: Path) -> str:
    return " ".join(unescape((folder / "report.html").read_text(encoding="utf-8")).split())


def test_published_readers_stand_beside_the_model_with_what_limits_the_comparison(
    folder: Path,
) -> None:
    assert run("report", folder, f"readers={PUBLISHED}") == 0
    text = page(folder)
    assert "8 dermatologists, mean" in text
    assert "Marchetti et al. 2018" in text
    assert "one-sided, exact binomial" in text
    assert "The readers did not see the model's images" in text
    assert "Images of one patient are alike" in text
    assert "95 raters" not in text, "this model has no class of that name"
    assert run("report", folder) == 0
    assert "8 dermatologists, mean" in page(folder), "they are kept"


def test_readers_of_these_very_images_are_not_said_to_have_seen_others(folder: Path) -> None:
    table = folder / "ours.csv"
    table.write_text(
        "label,who,sensitivity,specificity,positives,negatives,same_images\n"
        "melanoma,reader 1,0.9,0.7,48,72,yes\nmelanoma,reader 2,0.8,0.8,,,yes\n"
    )
    assert run("report", folder, f"readers={table}") == 0
    text = page(folder)
    assert "reader 1" in text
    assert "reader 2" in text
    assert "did not see the model's images" not in text
    assert "dashed boxes: 95 % intervals, from the number of images they read." in text


def calls(folder: Path, rows: list[str], head: str = "image_id,reader,call") -> Path:
    path = folder / "ours.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_readers_of_single_images_are_compared_with_the_model_image_by_image(
    folder: Path, simulate: Callable[..., Predictions]
) -> None:
    truth = simulate(Kind.BINARY).targets[:, 0] == 1
    said = [
        f"image {n},Dr. {name},{int(truth[n] ^ (n % every == 0))}"
        for name, every, images in (("Ames", 7, 120), ("Bell", 5, 100))
        for n in range(images)
    ]
    assert run("report", folder, f"readers={calls(folder, said)}") == 0
    text = page(folder)
    assert "120 images of test" in text
    assert "100 images of test" in text
    assert "These readers were compared with the model image by image" in text
    assert "Some readers read only part of the images" in text
    assert "dashed boxes: 95 % intervals, by patient." in text
    assert "one-sided, exact binomial" not in text
    assert "did not see the model's images" not in text
    kept = json.loads((folder / "run.json").read_text())["readers"]
    assert [r["who"] for r in kept] == ["reader 1", "reader 2"], "readers are people, too"
    assert "Ames" not in text + (folder / "readings.csv").read_text()
    ours = folder / "readings.csv"
    kept_rows = ours.read_text()
    calls(folder, said).rename(ours)  # the readers' own table has that name here
    assert run("report", folder, f"readers={ours}") == 2
    assert "Dr. Ames" in ours.read_text(), "nothing is overwritten"
    ours.write_text(kept_rows)
    # the table goes into the study of readers and model, and says the same of sensitivity
    assert run("readers", folder / "readings.csv", "ai=model", f"output={folder / 'study'}") == 0
    study = json.loads((folder / "study" / "readers.json").read_text())
    assert (study["cases"], study["patients"]) == (100, 50)
    found = study["conditions"]["readers"]["sensitivity"]["readers"]
    assert found["reader 2"] == pytest.approx(kept[1]["sensitivity"])
    assert run("report", folder) == 0
    assert "100 images of test" in page(folder), "they are kept"


def test_readers_of_several_classes_get_a_table_for_each(
    simulate: Callable[..., Predictions], tmp_path: Path
) -> None:
    simulate(Kind.MULTILABEL).write(tmp_path / "predictions_test.csv")
    (tmp_path / "run.json").write_text("{}")
    rows = [f"image {n},a,{n % 2},{label}" for n in range(60) for label in ("mass", "x")]
    table = calls(tmp_path, rows, "image_id,reader,call,label")
    assert run("report", tmp_path, f"readers={table}") == 0
    assert (tmp_path / "readings-1.csv").is_file()
    assert (tmp_path / "readings-3.csv").is_file()
    kept = json.loads((tmp_path / "run.json").read_text())["readers"]
    assert [(r["who"], r["label"]) for r in kept] == [("reader 1", "mass"), ("reader 1", "x")]


def test_readers_of_different_images_get_no_empty_table(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"image {n},{'a' if n < 40 else 'b'},{n % 2}" for n in range(80)]
    assert run("report", folder, f"readers={calls(folder, rows)}") == 0
    assert not (folder / "readings.csv").exists()
    assert "No image was read by every reader for 'melanoma'" in caplog.text


@pytest.mark.parametrize(
    ("head", "rows", "code", "said"),
    [
        ("image_id,reader", ["image 1,a"], 2, "has no column 'call'"),
        ("image_id,reader,call", ["image 1,a,2"], 4, "call should be 0 or 1"),
        ("image_id,reader,call", ["image 1,,1"], 4, "reader is empty"),
        ("image_id,reader,call", ["image 1,a,1", "image 1,a,1"], 4, "already called this image"),
        ("image_id,reader,call", ["image 999,a,1"], 2, "1 of the images that reader 1 called are"),
        ("image_id,reader,call,label", ["image 1,a,1,melanom"], 2, "did you mean 'melanoma'"),
    ],
)
def test_wrong_calls_are_reported_and_change_nothing(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    head: str,
    rows: list[str],
    code: int,
    said: str,
) -> None:
    before = (folder / "run.json").read_text()
    assert run("report", folder, f"readers={calls(folder, rows, head)}") == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert (folder / "run.json").read_text() == before
    assert not (folder / "report.html").exists()


def test_calls_about_a_model_of_several_classes_need_the_class(
    simulate: Callable[..., Predictions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(Kind.MULTILABEL).write(tmp_path / "predictions_test.csv")
    (tmp_path / "run.json").write_text("{}")
    assert run("report", tmp_path, f"readers={calls(tmp_path, ['image 1,a,1'])}") == 2
    assert "has no column 'label', and the model has 3 classes" in capsys.readouterr().err


def test_a_report_without_readers_says_nothing_of_them(folder: Path) -> None:
    assert run("report", folder) == 0
    assert "Readers beside the model" not in page(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no-such.yaml: no such file"),
        ("- {label: melanoma, sensitivity: 82, specificity: 0.5}", "should be a share from 0 to 1"),
        ("{[", "is neither YAML nor has a table's extension (.csv, "),
    ],
)
def test_a_wrong_file_is_reported_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    file = folder / "no-such.yaml"
    if content is not None:
        file.write_text(content)
    assert run("report", folder, f"readers={file}") == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (folder / "report.html").exists()


def test_every_published_point_says_where_it_is_from() -> None:
    for point in read_readers(PUBLISHED):
        assert "PMC" in point.source
        assert point.images
        assert not point.same_images
