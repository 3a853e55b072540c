"""Small hospitals in which something leaks that the ids do not show: two eyes of one person under
two ids, one photograph saved twice, and copies of old training images at a new hospital. Nothing of
that crosses splits or folds, or every command says so."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from medcnn.data.manifest import Manifest
from tests.audit.conftest import drawing
from tests.command import run

QUICK = (
    *("model=lenet5", "data.size_px=32", "trainer.epochs=1", "trainer.threads=1"),
    *("trainer.device=cpu", "explain=null"),
)
CURVE = ("arms=[probe]", "sizes=[10,12,14,16,18]", "seeds=3")
Change = Callable[[Image.Image], Image.Image]
SPLITS = (*["train"] * 4, "val", "test")


class Hospital:
    """A folder of photographs, each a patient of its own, and the table about them."""

    def __init__(self, root: Path, photographs: int = 60, first: int = 0) -> None:
        self.root, self.rows = root, list[dict[str, str]]()
        root.mkdir()
        for n in range(photographs):
            self.add(f"{n:03d}.png", f"P{n:03d}", n, Image.fromarray(drawing(first + n)))

    def add(self, file: str, patient: str, n: int, image: Image.Image) -> None:
        """The n-th sixth of patients is ill or healthy, and in one split."""
        image.save(self.root / file)
        label = ("healthy", "ill")[(n // 6) % 2]
        row = {"file": file, "whose": patient, "label": label, "part": SPLITS[n % 6]}
        self.rows.append(row)

    def words(self, *, split: bool = False) -> tuple[str, ...]:
        with (self.root / "t.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, self.rows[0])
            table.writeheader()
            table.writerows(self.rows)
        columns = ("data.image=file", "data.label=label", "data.patient=whose")
        given = ("data.split=part",) if split else ()
        return ("data=table", f"data.root={self.root}", "data.table=t.csv", *columns, *given)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def page(file: Path) -> str:
    return " ".join(file.read_text().split())


def commands(words: Sequence[str], folder: Path) -> Iterator[tuple[str, ...]]:
    yield ("audit", *words, f"output={folder / 'audit.html'}")
    yield ("train", *words, *QUICK, f"run_dir={folder / 'run'}")
    yield ("learning-curve", *words, *QUICK, *CURVE, f"run_dir={folder / 'curve'}")


@pytest.mark.fault
def test_the_same_photograph_under_another_name_and_format_is_refused_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 76."""
    home = Hospital(tmp_path / "home")
    for n, ending in ((0, "bmp"), (6, "tiff"), (12, "webp")):
        with Image.open(home.root / f"{n:03d}.png") as image:
            home.add(f"again{n}.{ending}", f"Q{n}", n, image.copy())
        home.rows[-1]["part"] = "test"
    with Image.open(home.root / "again12.webp") as lossy, Image.open(home.root / "012.png") as own:
        assert not np.array_equal(np.asarray(lossy), np.asarray(own)), "webp changes pixels"
    for words in commands(home.words(split=True), tmp_path):
        assert run(*words) == 4, words[0]
        text = said(capsys)
        assert "2 pairs of images with the same pixels in two splits" in text, words[0]
        assert "1 pair of near-duplicates in two splits" in text, words[0]
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "curve").glob("probe/*/*")), "refused before anything is trained"


@pytest.mark.fault
def test_a_cross_validation_is_refused_before_its_first_fold_if_a_later_one_would_leak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 76."""
    home = Hospital(tmp_path / "home")
    for n in range(0, 12, 3):
        with Image.open(home.root / f"{n:03d}.png") as image:
            home.add(f"again{n}.bmp", f"Q{n}", n, image.copy())
    folder = tmp_path / "cv"
    assert run("crossvalidate", *home.words(), *QUICK, "folds=2", f"run_dir={folder}") == 4
    text = said(capsys)
    assert "with the same pixels in two splits" in text
    assert "audit.allow=[pixels]" in text
    assert not list(folder.glob("repeat-*")), "no fold was trained"
    # with one patient for both, they are never apart
    for row in home.rows:
        row["whose"] = row["whose"].replace("Q", "P00")
    assert run("crossvalidate", *home.words(), *QUICK, "folds=2", f"run_dir={tmp_path / 'b'}") == 0
    assert "same pixels" not in said(capsys)


COPIES: dict[str, Change] = {
    "recompressed": lambda i: i,
    "resized": lambda i: i.resize((70, 70)),
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.25),
    "darker, less contrast": lambda i: ImageEnhance.Contrast(
        ImageEnhance.Brightness(i).enhance(0.7)
    ).enhance(0.8),
}


@pytest.mark.fault
def test_near_copies_of_other_patients_are_reported_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 77."""
    home = Hospital(tmp_path / "home")
    for n, change in zip(range(0, 24, 6), COPIES.values(), strict=True):
        with Image.open(home.root / f"{n:03d}.png") as image:
            home.add(f"again{n}.jpg", f"Q{n}", n, change(image))
        home.rows[-1]["part"] = "test"
    for words in commands(home.words(split=True), tmp_path):
        assert run(*words) == 0, words[0]
        assert "4 pairs of near-duplicates in two splits" in said(capsys), words[0]
    for file in ("audit.html", "run/report.html", "curve/learning_curve.html"):
        assert "4 pairs of near-duplicates in two splits" in page(tmp_path / file), file
    words = (*home.words(), *QUICK, "folds=2", f"run_dir={tmp_path / 'cv'}")
    assert run("crossvalidate", *words) == 0
    for text in (said(capsys), page(tmp_path / "cv/crossvalidation.html")):
        assert "of near-duplicates in two splits" in text
        assert "of 2 trainings)" in text


@pytest.mark.fault
def test_two_eyes_under_two_ids_are_reported_by_every_command_and_stay_together_under_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 75."""
    home = Hospital(tmp_path / "home")
    for row, eye in zip(home.rows, ("left", "right") * 30, strict=True):
        row["person"] = f"{row['whose'][:-1]}{int(row['whose'][-1]) // 2}"
        row["whose"] = f"{row['person']}_{eye}"
    for words in commands(home.words(), tmp_path):
        assert run(*words) == 0, words[0]
        assert "30 pairs of patients look like two sides of one person" in said(capsys), words[0]
    told = "look like two sides of one person"
    for file in ("audit.html", "run/report.html", "curve/learning_curve.html"):
        assert told in page(tmp_path / file), file
    assert "P000" not in page(tmp_path / "audit.html")
    cv = (*home.words(), *QUICK, "folds=2")
    assert run("crossvalidate", *cv, f"run_dir={tmp_path / 'cv'}") == 0
    assert told in page(tmp_path / "cv/crossvalidation.html")
    capsys.readouterr()
    both = [w.replace("data.patient=whose", "data.patient=person") for w in home.words()]
    assert run("audit", *both, f"output={tmp_path / 'b.html'}") == 0
    assert told not in said(capsys)
    again = (*both, *QUICK, "folds=2", f"run_dir={tmp_path / 'b'}")
    assert run("crossvalidate", *again) == 0
    assert told not in said(capsys)
    for fold in (1, 2):
        path = tmp_path / f"b/repeat-1/fold-{fold}/manifest.csv"
        where: dict[str, set[str]] = {}
        for record in Manifest.read(path, Path(".")).records:
            where.setdefault(record.group, set()).add(str(record.split))
        assert len(where) == 30
        assert all(len(splits) == 1 for splits in where.values())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("old")
    home = Hospital(place / "home")
    assert run("train", *home.words(split=True), *QUICK, f"run_dir={place / 'run'}") == 0
    return place


@pytest.mark.fault
def test_copies_of_old_training_images_at_a_new_hospital_are_reported(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 77."""
    new, best = Hospital(tmp_path / "new", first=5000), trained / "run/checkpoints/best.safetensors"
    seen, kept = ("000.png", "004.png"), "005.png"  # of training and validation; of test
    for n, old in enumerate((*seen, kept), 60):
        with Image.open(trained / "home" / old) as image:
            new.add(f"x{n}.bmp", f"X{n}", n, image.copy())
            new.rows[-1]["part"] = "test"
    with Image.open(trained / "home/001.png") as image:
        new.add("y.jpg", "Y1", 11, image.resize((80, 80)))
    assert new.rows[-1]["part"] == "test"
    words = new.words(split=True)
    fine = ("trainer.epochs=1", "trainer.threads=1", "trainer.device=cpu", "explain=null")
    assert run("finetune", best, *words, *fine, f"run_dir={tmp_path / 'f'}") == 0
    assert run("external", best, *words, "split=test", f"run_dir={tmp_path / 'e'}") == 0
    told = "3 of the 14 images scored here are, or look like copies of, images used to train"
    for file in ("f/new_hospital.html", "f/report.html", "e/external.html"):
        assert told in page(tmp_path / file), file
        assert "(2 with exactly the same pixels)" in page(tmp_path / file), file
    stored = json.loads((tmp_path / "e/external.json").read_text())
    assert stored["copies"] == {"found": 3, "same": 2, "among": 14}
    capsys.readouterr()


def test_a_hospital_of_other_images_is_said_to_hold_no_copies_and_without_the_old_ones_nothing(
    trained: Path, tmp_path: Path
) -> None:
    best = trained / "run/checkpoints/best.safetensors"
    words = Hospital(tmp_path / "new", first=5000).words()
    assert run("external", best, *words, f"run_dir={tmp_path / 'e'}") == 0
    text = page(tmp_path / "e/external.html")
    assert "none of the 60 images scored here looks like a copy" in text
    assert run("external", best, *words, "old_data=none", f"run_dir={tmp_path / 'n'}") == 0
    text = page(tmp_path / "n/external.html")
    assert "copies of images that the old model was trained with would go unnoticed" in text
    assert "looks like a copy" not in text
