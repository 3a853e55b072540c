"""Networks trained on one set with one recipe, as one table and one figure."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medcnn.pages.anatomy import Anatomy, Layer
from medcnn.pages.family import FAMILY, Member, cells, chart
from tests.command import SMALL, run

NET = Anatomy(
    name="net",
    size_px=32,
    layers=(Layer(name="a", kind="conv", given=(3, 9, 9), made=(2, 9, 9), macs=2_000_000_000),),
)
ONE = Member(anatomy=NET, scores=((0.8, 0.7, 0.9),))
TWO = replace(
    ONE,
    scores=((0.8, 0.7, 0.9), (0.6, 0.4, 0.7)),
    images_per_s=(100.0, 300.0),
    peak_bytes=(2_000_000, 3_000_000),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of LeNet-5, and one that says it was a tiny ResNet."""
    folder = tmp_path_factory.mktemp("family")
    words = [w for w in SMALL if not w.startswith("trainer.epochs")]
    words += ["experiment=family_tree", "trainer.epochs=1", "audit.allow=[classes]"]
    assert run("train", "-m", *words, "seed=0,1", f"run_dir={folder}") == 0
    shutil.copytree(folder / "seed=0", folder / "tiny")
    told = folder / "tiny" / "run.json"
    told.write_text(told.read_text().replace('"lenet5"', '"test_resnet"'))
    return folder


def test_runs_become_a_table_and_a_figure(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = (*sorted(runs.iterdir()), f"output={tmp_path}/f.html")
    assert run("inspect", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line.split() for line in lines[-2:]}
    assert (table["lenet5"][1], table["test_resnet"][1]) == ("2", "1")
    facts = json.loads((runs / "tiny" / "run.json").read_text())
    assert f"{facts['speed']['perf/images_per_s']:.3g}" in table["test_resnet"]
    assert facts["memory"]["peak_bytes"] > 1e7
    html = (tmp_path / "f.html").read_text(encoding="utf-8")
    assert "As trained" in html
    assert html.count("<svg") == 1
    assert FAMILY["seeds"].words([TWO]) in html


def test_runs_of_other_sets_and_unfinished_ones_are_refused_together(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(runs / "tiny", other)
    facts = json.loads((other / "run.json").read_text())
    facts["report"]["source"] = "another set"
    (other / "run.json").write_text(json.dumps(facts))
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "run.json").write_text('{"config": {}}')
    capsys.readouterr()
    words = (runs / "tiny", other, begun, "resnet81", f"output={tmp_path}/f.html")
    assert run("inspect", *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "begun: not a finished run of medcnn train" in said
    assert "need the same data set and score; found auroc on another set; auroc on" in said
    assert "unknown network 'resnet81'" in said


def test_a_row_holds_means_and_says_what_was_not_measured() -> None:
    assert cells(TWO)[2:5] == ("0.700", "0.550 to 0.800", "0.600, 0.800")
    assert cells(TWO)[-2:] == ("200", "3 MB")
    assert cells(ONE)[-2:] == ("not measured", "not measured")
    assert cells(ONE)[4] == ""


def test_the_figure_draws_an_interval_where_there_is_one() -> None:
    bare = replace(ONE, scores=((0.8, float("nan"), float("nan")),))
    with_it, without = (chart([of], "AUROC").svg for of in (ONE, bare))
    assert with_it.count('class="l1"') == 1
    assert without.count('class="l1"') == 0
    assert "net: 0.800 0.700 to 0.900" in with_it


@pytest.mark.fault
@pytest.mark.parametrize("name", FAMILY)
def test_a_sentence_about_runs_is_made_by_its_facts_and_not_by_others(name: str) -> None:
    """Row A13."""
    made = {"seeds": [TWO], "one seed": [ONE], "speed": [TWO], "memory": [TWO]}[name]
    other = {"seeds": [ONE], "one seed": [TWO], "speed": [ONE], "memory": [ONE]}[name]
    assert FAMILY[name].words(made)
    assert FAMILY[name].words(other) == ""
