"""`medcnn plan` as it is typed, and a run that has a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medcnn.data.labels import Kind
from tests.command import run
from tests.verbs.test_comparing import finished


def test_a_plan_is_printed_on_a_page_and_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "plan"
    words = ["plan", "prevalence=0.2", "auroc=0.9", "margin=0.03", f"output={output}"]
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    content = json.loads((output / "plan.json").read_text())
    assert content["patients"] == max(need["patients"] for need in content["needs"])
    assert f"The study needs {content['patients']:,} patients" in said
    assert "output" not in content["settings"]
    assert f"{content['patients']:,}" in (output / "plan.html").read_text()
    assert run(*words) == 0  # its own page is replaced
    (output / "other").touch()
    assert run(*words) == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["calibration=null"], "set auroc, sensitivity or specificity"),
        (["auroc=0.9", "threshold=0.1"], "which needs the expected sensitivity and specificity"),
        (["auroc=0.9", "margin=0.1", "margin_of=sensitivity"], "add sensitivity=..."),
        (["auroc=0.9", "margin_of=auc"], "did you mean 'auroc'?"),
        (["auroc=0.9", "icc=0.5"], "icc=0.5 has no effect"),
        (["auroc=0.9", "logits={mean: 1}"], "such as {mean: -2, sd: 1.5}"),
        (["auroc=1.5"], "auroc=1.5"),
    ],
)
def test_what_cannot_be_planned_is_said(
    words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", "prevalence=0.2", *words) == 2
    assert answer in " ".join(capsys.readouterr().err.split())


def test_a_study_beyond_all_bounds_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prevalence=0.0001", "auroc=0.501", "margin=0.0001", "correlation=0", "power=0.999"]
    assert run("plan", *words, f"output={tmp_path / 'plan'}") == 2
    assert "more than 1,000,000,000 images" in capsys.readouterr().err


def test_the_report_of_a_run_with_a_plan_says_its_sample_size(
    simulate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished(tmp_path / "run", simulate(Kind.BINARY, 60))
    assert run("plan", "prevalence=0.2", "auroc=0.9", f"output={tmp_path / 'plan'}") == 0
    assert run("report", folder, f"plan={tmp_path / 'plan' / 'plan.json'}") == 0
    assert "medcnn plan, 20" in (folder / "report.html").read_text()
    assert run("report", folder) == 0  # run.json keeps it
    assert "medcnn plan, 20" in (folder / "report.html").read_text()
    (tmp_path / "none.json").write_text("{}")
    assert run("report", folder, f"plan={tmp_path / 'none.json'}") == 2
    assert "is not a plan.json of medcnn plan" in " ".join(capsys.readouterr().err.split())
