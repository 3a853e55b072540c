"""Fine-tuning on a second hospital of phantoms: what can be chosen from, and what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from medcnn.cli.compose import read_command
from medcnn.data.phantoms.drawing import generate
from medcnn.models.averaging import between
from medcnn.statistics.acceptance import Acceptance
from medcnn.statistics.comparing import compare
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import StoppedError
from medcnn.verbs.finetune import FinetuneConfig
from medcnn.verbs.steps import going_on
from medcnn.verbs.steps.arms import Compared
from medcnn.verbs.steps.hospital import main_score
from medcnn.verbs.steps.starting import without_places
from tests.command import run

QUICK = ("trainer.epochs=1", "trainer.threads=1", "trainer.device=cpu")
RULE = "accept={scores: {auroc: 0.9}, subgroups: {sex: 0.9}, old_test: 0.9}"
NAMES = "{nevus: naevus, basal_cell: BCC}"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("old")
    words = (f"data.root={place / 'images'}", "data.phantom=dermoscopy", "data.patients=44")
    small = ("model=lenet5", "data.size_px=32", *QUICK)
    assert run("train", *words, *small, f"run_dir={place / 'run'}") == 0
    return place / "run"


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data=other: darker images of other lesions, and other words for two classes."""
    place = tmp_path_factory.mktemp("new")
    sheet = generate(place / "images", "dermoscopy", patients=44, seed=3)
    for file in (place / "images" / "images").iterdir():
        image = Image.open(file).convert("RGB").point(lambda v: v // 2)
        image.save(file, quality=90)
    text = sheet.read_text().replace("nevus", "naevus").replace("basal_cell", "BCC")
    sheet.write_text(text)
    (place / "data").mkdir()
    (place / "data" / "other.yaml").write_text(
        f"defaults: [table]\nroot: {place / 'images'}\ntable: labels.csv\nimage: image\n"
        "label: diagnosis\npatient: lesion\ngroup_noun: lesion\nmodality: dermoscopy\n"
        f"attributes: [sex]\nnames: {NAMES}\n"
    )
    return place


def tune(old: Path, conf: Path, folder: Path, *words: str) -> int:
    given = (f"checkpoint={old}/checkpoints/best.safetensors", "data=other", f"run_dir={folder}")
    return run("finetune", *given, "--config-dir", str(conf), *QUICK, *words)


@pytest.fixture(scope="module")
def tuned(old: Path, conf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "run"
    assert tune(old, conf, folder, RULE, "wise_ft=0.5") == 0
    return folder


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return facts


def test_what_there_is_to_choose_from_are_predictions_of_the_same_images(tuned: Path) -> None:
    arms = {n: tuned / "arms" / n / "predictions_test.csv" for n in ("old", "recalibrated")}
    arms |= {"probe": tuned / "arms/probe/predictions_test.csv"}
    arms |= {"tuned": tuned / "predictions_test.csv"}
    found = {name: Predictions.read(path) for name, path in arms.items()}
    before, after = found["old"], found["tuned"]
    for p in found.values():
        assert p.labels == before.labels
        assert p.image_ids == before.image_ids
        assert np.array_equal(p.targets, before.targets)
    assert np.array_equal(found["recalibrated"].logits, before.logits)
    assert found["recalibrated"].readout.calibration is not None
    assert not np.array_equal(found["probe"].logits, before.logits)
    # what the page says is what compare finds
    told = facts_of(tuned)["new_hospital"]["arms"]["fine-tuned"]
    (said,) = (d for d in told if d["score"] == "brier")
    known = compare(before, after, ["brier"], resamples=100).differences[0]
    assert (said["difference"], said["low"], said["high"]) == pytest.approx(
        (known.difference, known.low, known.high)
    )


def test_the_page_begins_with_what_the_run_bears_out_and_ends_with_the_verdict(tuned: Path) -> None:
    facts, page = facts_of(tuned), (tuned / "new_hospital.html").read_text()
    text = " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())
    assert facts["new_hospital"]["sentences"][0] in text
    assert "distinguishes the two hospitals with AUROC" in text
    assert "Images here are darker" in text
    assert "the old one on the old test split" in text
    assert "run.json shows that the rule is older than the results" in text
    assert [c["where"] for c in facts["new_hospital"]["conditions"]] == [
        "new test split",
        "sex = F",
        "sex = M",
        "old test split",
    ]
    assert "The rule" in text.split("How the new images differ")[1]
    assert facts["accept"][0]["recorded"] <= facts["training_began"]
    assert facts["training_began"] <= facts["test_looks"][0]["when"]
    assert len(facts["test_looks"]) == 1


def test_names_keep_the_rows_of_the_classes_that_they_map(tuned: Path) -> None:
    head = facts_of(tuned)["head"]
    assert sorted(head["kept"]) == ["BCC", "keratosis", "melanoma", "naevus"]
    assert head["fresh"] == head["dropped"] == []


def test_a_finished_run_says_that_its_rule_was_changed(
    old: Path, conf: Path, tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tuned / "run.json").read_text()
    wider = RULE.replace("old_test: 0.9", "old_test: 0.95")
    assert tune(old, conf, tuned, wider, "wise_ft=0.5") == 0
    assert (tuned / "run.json").read_text() == before
    assert "rule of acceptance was changed after this run" in " ".join(
        capsys.readouterr().err.split()
    )


def test_wise_ft_is_the_mean_of_the_weights_and_made_once_however_often_a_run_is_stopped(
    old: Path, conf: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path / "run", going_on.probed

    def stop(*_: Any) -> None:
        assert facts_of(folder)["wise_ft"]["share"] == 0.5  # should it be killed here
        raise StoppedError("stopped")

    monkeypatch.setattr(going_on, "probed", stop)
    assert tune(old, conf, folder, RULE, "wise_ft=0.5", "old_data=none") == 75
    assert not (folder / "predictions_test.csv").exists()
    assert facts_of(folder).get("test_looks", []) == []
    monkeypatch.setattr(going_on, "probed", real)
    wider = RULE.replace("old_test: 0.9", "old_test: 0.8")
    assert tune(old, conf, folder, wider, "wise_ft=0.5", "old_data=none") == 0
    once, twice = (load_file(f / "checkpoints/best.safetensors") for f in (tuned, folder))
    assert all(once[k].equal(twice[k]) for k in once)
    start, last = load_file(old / "checkpoints/best.safetensors"), folder / "checkpoints"
    mean = between(start, load_file(last / "last.safetensors"), 0.5, {})
    body = [k for k in mean if k.startswith("body.")]
    assert all(once[k].allclose(mean[k]) for k in body)
    # and the rule that was changed in between is not called older than the results
    notes = " ".join(facts_of(folder)["notes"])
    assert "the rule of acceptance was changed after training began" in notes
    page = " ".join((folder / "new_hospital.html").read_text().split())
    assert "run.json does not show that the rule is older" in page
    assert "they were not requested (old_data=none)" in page


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.names={nevus: x, mole: BCC}",), "these data have no class 'x'"),
        (("old_data=/nowhere",), "/nowhere does not exist"),
        (("wise_ft=2",), "should be auto, a share of the new weights from 0 to 1"),
        (("accept={scores: {aurok: 0.1}}",), "accept: unknown score 'aurok'"),
        (("accept={scores: {auroc: 0.1}, subgroups: {race: 0.1}}",), "no attribute 'race'"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_anything_is_trained(
    words: tuple[str, ...],
    said: str,
    old: Path,
    conf: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tune(old, conf, tmp_path / "r", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "r").exists()


@pytest.mark.fault
def test_a_checkpoint_does_not_say_where_the_old_images_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hospital" / "of-a-name").mkdir(parents=True)
    words = ["checkpoint=best.safetensors", "data=phantom", "old_data=hospital/of-a-name"]
    config = read_command("finetune", words).config
    assert isinstance(config, FinetuneConfig)
    assert "of-a-name" not in json.dumps(without_places(config))


@pytest.mark.fault
def test_train_refuses_names_of_an_old_model(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "data=other", "--config-dir", str(conf), f"run_dir={tmp_path / 'r'}") == 2
    assert "train has no old model" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("rule", "asked", "score"),
    [
        (None, False, "auroc"),
        ("balanced_accuracy", False, "balanced_accuracy"),
        ("balanced_accuracy", True, "auroc"),
        ("brier", True, "brier"),
    ],
)
def test_the_main_score_is_one_that_can_be_compared(
    rule: str | None, asked: bool, score: str
) -> None:
    given = Acceptance(scores={rule: 0.02}) if rule else None
    assert main_score(given, Compared(arms={}, asked=asked)) == score
