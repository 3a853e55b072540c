"""`medcnn compare` as it is typed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medcnn.cli import run
from medcnn.data.labels import Kind
from medcnn.statistics.predictions import Predictions

HOSTILE = "<script>alert(1)</script>"


def finished(folder: Path, predictions: Predictions, **config: object) -> Path:
    folder.mkdir(parents=True)
    predictions.write(folder / f"predictions_{predictions.split}.csv")
    facts = {"config": {"seed": 0, **config}, "report": {"group_noun": "patient"}}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def three(simulate, tmp_path: Path) -> list[Path]:
    a = simulate(Kind.MULTICLASS, 200, names=("clear", HOSTILE, "nevus"))
    noise = np.random.default_rng(0).normal(size=a.logits.shape).astype(np.float32)
    return [
        finished(tmp_path / "first run", a),
        finished(tmp_path / "second", replace(a, logits=a.logits + 3 * noise), seed=1),
        finished(tmp_path / "k=2" / "second", a, model={"backbone": HOSTILE}),
    ]


def test_runs_are_compared_in_the_terminal_on_a_page_and_in_json(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for f in three for p in f.iterdir()}
    output = tmp_path / "out"
    words = ["compare", *map(str, three), f"output={output}", "margin=0.05", "resamples=200"]
    assert run(words) == 0
    said = capsys.readouterr()
    assert max(map(len, (said.out + said.err).splitlines())) <= 100
    assert "reference: first run" in said.err
    assert "200 images of 100 patients" in said.err
    content = json.loads((output / "comparison.json").read_text())
    (second, third) = content["others"].values()
    found = {(d["score"], d["label"]): d for d in second["differences"]}
    auroc = found["auroc", None]
    assert auroc["verdict"] == "worse"
    assert auroc["difference"] == auroc["other"] - auroc["reference"] < auroc["high"] < 0
    assert found["auroc", HOSTILE]["count"] == 200
    assert {d["verdict"] for d in third["differences"]} == {""}
    assert content["settings"] == {"seed": ["0", "1", "0"], "model.backbone": ["", "", HOSTILE]}
    page = (output / "comparison.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page
    assert f"{auroc['difference']:+.3f}" in page
    assert {p: p.read_bytes() for f in three for p in f.iterdir()} == before
    assert run(words) == 0  # its own pages are made again, and nothing else is overwritten
    assert (output / "comparison.html").read_text() == page
    (output / "letter.txt").write_text("mine")
    assert run(words) == 2
    assert "Nothing is overwritten" in " ".join(capsys.readouterr().err.split())


def test_models_are_compared_within_each_group_that_is_large_enough(
    simulate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second model is worse for women alone; of the third site there are 5 patients."""
    a = simulate(Kind.BINARY, 400)
    women = np.arange(400) % 4 < 2
    sites = ("east",) * 190 + ("west",) * 200 + ("north",) * 10
    a = replace(a, attributes={"sex": tuple(np.where(women, "f", "m")), "site": sites})
    noise = np.random.default_rng(0).normal(0, 3, a.logits.shape).astype(np.float32)
    b = replace(a, logits=a.logits + noise * women[:, None])
    runs = [finished(tmp_path / "a", a), finished(tmp_path / "b", b)]
    words = ["compare", *map(str, runs), "resamples=200", "scores=[auroc]"]
    assert run([*words, f"output={tmp_path / 'out'}", "subgroups=[sex, site]"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "sex f: AUROC -0." in said
    assert "sex m: AUROC" not in said
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    found = {g["group"]: g for g in content["others"]["b"]["subgroups"]}
    assert [d["verdict"] for d in found["m"]["differences"]] == [""] * 3
    assert found["m"]["differences"][0]["difference"] == 0
    assert found["f"]["differences"][0]["verdict"] == "worse"
    assert (found["north"]["patients"], found["north"]["differences"]) == (5, [])
    tested = [d for g in found.values() for d in g["differences"] if d["p"] is not None]
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert f"adjusted by Holm for all {len(tested)} of these differences" in page
    assert "A group counts as too small if" in page
    assert run([*words, f"output={tmp_path / 'no'}", "subgroups=none"]) == 0
    assert "By subgroup" not in (tmp_path / "no" / "comparison.html").read_text()
    assert run([*words, f"output={tmp_path / 'wrong'}", "subgroups=[sx]"]) == 2


def test_runs_of_one_name_are_told_apart_without_the_folders_of_this_machine(
    simulate, tmp_path: Path
) -> None:
    a, output = simulate(Kind.BINARY, 60), tmp_path / "out"
    places = ("home/smith/x/run", "home/smith/y/run", "home/smith/z")
    runs = [str(finished(tmp_path / place, a)) for place in places]
    assert run(["compare", *runs, f"output={output}", "resamples=100"]) == 0
    content, page = ((output / f"comparison.{kind}").read_text() for kind in ("json", "html"))
    assert json.loads(content)["reference"] == "x/run"
    assert [*json.loads(content)["others"]] == ["y/run", "z"]
    for made in (content, page):
        assert "smith" not in made


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (2, "Their run.json files show no differences."),
        (1, "Settings are not known without a run.json: b."),
        (0, "Settings are not known without a run.json: a, b."),
    ],
)
def test_settings_are_called_equal_only_where_they_are_known(
    simulate, tmp_path: Path, known: int, says: str
) -> None:
    a = simulate(Kind.BINARY, 60)
    runs = [finished(tmp_path / name, a, seed=7) for name in "ab"]
    for folder in runs[known:]:
        (folder / "run.json").unlink()
    output = tmp_path / "out"
    assert run(["compare", *map(str, runs), f"output={output}", "resamples=100"]) == 0
    after = (output / "comparison.html").read_text().split("Settings that differ", 1)[1]
    assert re.findall(r"<p>(.*?)</p>", after)[0] == says
    assert json.loads((output / "comparison.json").read_text())["settings"] == {}


def test_what_is_not_known_is_never_shown_as_a_number(
    simulate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = simulate(Kind.BINARY)
    a = replace(a, targets=np.zeros_like(a.targets))
    runs = [
        finished(tmp_path / "a", a, weights_of=None),
        finished(tmp_path / "b", replace(a, logits=-a.logits), weights_of="in1k"),
    ]
    output = tmp_path / "out"
    assert run(["compare", *map(str, runs), f"output={output}", "resamples=100"]) == 0
    shown = capsys.readouterr().err + re.sub(
        "<style.*?</style>", "", (output / "comparison.html").read_text(), flags=re.DOTALL
    )
    assert not re.search(r"\bnan\b", shown)
    assert "AUROC is n/a for b and n/a for a" in shown
    content = json.loads((output / "comparison.json").read_text())
    assert content["settings"] == {"weights_of": ["null", "in1k"]}


def test_every_fault_of_the_command_is_said_at_once(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, empty = str(three[0]), tmp_path / "empty"
    empty.mkdir()
    assert run(["compare", first, first, str(empty), "runs/none", "split=validation"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    for part in ("named twice", "empty: holds no predictions", "none: no such folder", "has test"):
        assert part in said
    assert run(["compare", first]) == 2
    assert "needs two runs" in capsys.readouterr().err
    assert run(["compare", first, str(three[1]), "scores=[aurocc]"]) == 2
    assert "did you mean 'auroc'" in capsys.readouterr().err
    assert run(["compare", first, str(three[1]), "marign=0.1"]) == 2
    assert "did you mean 'margin'" in capsys.readouterr().err
    assert not Path("comparison").exists()


def test_runs_on_other_images_are_refused_unless_asked_for_those_in_common(
    three: list[Path], simulate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = Predictions.read(three[0] / "predictions_test.csv")
    moved = replace(a, image_ids=("another", *a.image_ids[1:]))
    other = finished(tmp_path / "other", moved)
    words = ["compare", str(three[1]), str(other), f"output={tmp_path / 'out'}", "resamples=100"]
    assert run(words) == 4
    assert "common=true" in capsys.readouterr().err
    assert run([*words, "common=true"]) == 0
    assert "are left out: second 1, other 1" in " ".join(capsys.readouterr().err.split())


def test_a_margin_of_a_score_without_a_better_side_is_refused(
    simulate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = simulate(Kind.BINARY, 60)
    runs = [str(finished(tmp_path / name, a)) for name in "ab"]
    assert run(["compare", *runs, "scores=[calibration_slope,auroc]", "margin=0.02"]) == 2
    assert "neither a high nor a low calibration_slope is better" in " ".join(
        capsys.readouterr().err.split()
    )
