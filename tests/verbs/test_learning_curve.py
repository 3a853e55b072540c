"""A learning curve by the command: nested subsets, one test split, and resuming."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from medcnn.cli.compose import read_command
from medcnn.data.manifest import Split
from medcnn.data.splits import with_fewer
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError, StoppedError
from medcnn.verbs import learning_curve as verb
from medcnn.verbs.steps import curves
from medcnn.verbs.steps.datasets import labelled, with_splits
from tests.command import SMALL, run

WORDS = (*SMALL, "sizes=[4,8,12,16,20]", "c=[0.01,1]")


@pytest.fixture(scope="module")
def done(images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curve") / "curve"
    assert run("learning-curve", *WORDS, images, f"run_dir={folder}") == 0
    return folder


def test_all_models_are_tested_on_the_same_images_and_listed(done: Path) -> None:
    tables = sorted((done / "probe").glob("*/*/predictions_test.csv"))
    assert len(tables) == 15
    decides = {
        json.loads(p.with_suffix(".json").read_text())["provenance"]["probe"]["decides"]
        for p in tables
    }
    assert decides == {"by validation"}, "as trainings do"
    tested = {Predictions.read(t).image_ids for t in tables}
    assert len(tested) == 1
    with (done / "learning_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["lesions"] for row in rows[::3]] == ["4", "8", "12", "16", "20"]
    first = Predictions.read(done / "probe/4-patients/seed-0/predictions_test.csv")
    assert float(rows[0]["auroc"]) == pytest.approx(score(first, "auroc"), abs=1e-5)
    stored = json.loads((done / "learning_curve.json").read_text())
    assert len(stored["arms"]["probe"]["needed"]) == 2
    page = (done / "learning_curve.html").read_text()
    assert stored["sentences"][0] in page


def test_a_curve_that_was_stopped_goes_on_to_the_same_result(
    done: Path, images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = curves.said, []

    def stops(*given: Any) -> Predictions:
        calls.append(1)
        if len(calls) > 8:  # of validation and of test
            raise StoppedError("stopped")
        return real(*given)

    command = ("learning-curve", *WORDS, images, f"run_dir={tmp_path / 'curve'}")
    monkeypatch.setattr(curves, "said", stops)
    assert run(*command) == 75
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "curve").rglob("predictions_test.csv")}
    assert len(made) == 4
    monkeypatch.setattr(curves, "said", real)
    assert run(*command) == 0
    assert {p: p.stat().st_mtime_ns for p in made} == made
    for name in ("learning_curve.csv", "learning_curve.json"):
        assert (tmp_path / "curve" / name).read_bytes() == (done / name).read_bytes()


def test_images_that_could_not_be_read_are_not_called_tested(
    done: Path, images: str, tmp_path: Path
) -> None:
    config = read_command("learning-curve", [*WORDS, images]).config
    whole = with_splits(labelled(config.data, print), config.data, config.train.seed)
    sizes, every = (4, 8, 12, 16, 20), len(whole.rows(Split.TEST))
    runs = [
        [
            Predictions.read(done / f"probe/{n}-patients/seed-{s}/predictions_test.csv").only(
                range(1, every)
            )
            for s in range(3)
        ]
        for n in sizes
    ]
    curves.conclude(config, tmp_path, whole, {n: n for n in sizes}, {"probe": runs}, [])
    page = (tmp_path / "learning_curve.html").read_text()
    assert f"All runs were tested on the same {every - 1} images" in page


def test_trainings_are_ordinary_runs_of_the_same_steps_on_one_split(
    images: str, tmp_path: Path
) -> None:
    asked = (*WORDS, images, "arms=scratch", "seed=3", "trainer.epochs=6")
    command = read_command("learning-curve", [*asked])
    whole = with_splits(labelled(command.config.data, print), command.config.data, seed=3)

    def make(chosen: Any) -> tuple[Any, list[str]]:
        made = command.varied(chosen)
        return made.config, made.words

    steps = []
    for patients, seed in product((4, 20), (3, 4)):
        taken = with_fewer(whole, patients, seed)
        point = curves.Point(arm="scratch", patients=patients, seed=seed, manifest=taken)
        config, words = curves.made(command.config, make, tmp_path, point, whole)
        assert words[0] == "train"
        assert config.run_dir == str(tmp_path / f"scratch/{patients}-patients/seed-{seed}")
        assert (config.data.split_seed, config.seed, config.transfer.name) == (3, seed, "scratch")
        own = with_splits(labelled(config.data, print), config.data, config.seed)
        assert own.fingerprint() == taken.fingerprint()
        steps.append(config.trainer.epochs * math.ceil(point.images / config.trainer.batch_size))
    assert max(steps) - min(steps) <= 2


@pytest.mark.slow
def test_scratch_and_probe_stand_on_one_page(images: str, tmp_path: Path) -> None:
    words = (*WORDS, images, "arms=[scratch,probe]", "same=epochs", "trainer.epochs=1")
    assert run("learning-curve", *words, f"run_dir={tmp_path / 'c'}") == 0
    stored = json.loads((tmp_path / "c/learning_curve.json").read_text())
    assert list(stored["arms"]) == ["scratch", "probe"]
    assert (tmp_path / "c/scratch/20-patients/seed-2/report.html").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("sizes=4",), "should be a number of sizes from 5"),
        (("sizes=[5,10]",), "at least 5 numbers of patients"),
        (("seeds=2",), "seeds=2 should be a whole number from 3 to 100"),
        (("arms=[probe,ful]",), "did you mean 'full'"),
        (("transfer=lora",), "arms sets how the models are trained"),
        (("data.train_groups=9",), "sets it for each run"),
        (("score=brier",), "whose best value is 1"),
        (("targets=[1.2]",), "scores between 0 and 1"),
        (("trainer.dry_run=true",), "has none"),
    ],
)
def test_what_no_curve_can_be_made_of_is_refused_in_words(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("learning-curve", *SMALL, *words) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_more_patients_than_there_are_and_another_curve_are_refused(
    done: Path, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return " ".join(capsys.readouterr().err.split())

    many = "sizes=[4,8,12,16,2000]"
    assert run("learning-curve", *SMALL, images, many, f"run_dir={tmp_path / 'm'}") == 4
    assert "2,000 is more than the" in said()
    assert run("learning-curve", *SMALL, images, "sizes=20", f"run_dir={tmp_path / 'n'}") == 4
    assert "too few for 20 sizes" in said()
    other = ("sizes=[3,6,9,12,15]", f"run_dir={done}")
    assert run("learning-curve", *SMALL, images, *other) == 2
    assert "holds a learning curve with other settings" in said()


def test_a_curve_of_other_images_is_not_continued(
    done: Path, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "curve"
    shutil.copytree(done, folder)
    file = folder / "learning_curve.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "manifest": "of other images"}))
    assert run("learning-curve", *WORDS, images, f"run_dir={folder}") == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "began with other images, labels or splits" in said
    one = Predictions.read(folder / "probe/4-patients/seed-0/predictions_test.csv")
    other = replace(one, targets=one.targets[::-1].copy())
    with pytest.raises(DataError, match="not all tested on the same images"):
        curves.refuse_mixed({"probe": [[one, other]]})


def test_words_of_a_list_are_read_as_numbers_or_refused() -> None:
    assert verb.sizes_of(6) == 6
    assert verb.sizes_of([30, 10, 50, 20, 40]) == (10, 20, 30, 40, 50)
    assert verb.targets_of([]) == verb.targets_of(None) == ()
    assert verb.targets_of(0.9) == (0.9,)
