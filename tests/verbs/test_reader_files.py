"""`report readers=FILE`: readers beside the ROC curves, from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    return " ".join((folder / "report.html").read_text(encoding="utf-8").split())


def test_published_readers_stand_beside_the_model_with_what_limits_the_comparison(
    folder: Path,
) -> None:
    assert run("report", folder, f"readers={PUBLISHED}") == 0
    text = page(folder)
    assert "8 dermatologists, mean" in text
    assert "Marchetti et al. 2018" in text
    assert "one-sided, exact binomial" in text
    assert "The readers did not see the images of the model" in text
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
    assert "did not see the images of the model" not in text
    assert "dashed boxes" in text


def test_a_report_without_readers_says_nothing_of_them(folder: Path) -> None:
    assert run("report", folder) == 0
    assert "Readers beside the model" not in page(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no-such.yaml cannot be read: No such file"),
        ("- {label: melanoma, sensitivity: 82, specificity: 0.5}", "should be a share from 0 to 1"),
        ("{[", "is neither YAML nor a CSV"),
    ],
)
def test_a_wrong_file_is_told_and_changes_nothing(
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
