"""`run.json` shows whether a rule of acceptance is older than the results it judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medcnn.statistics.acceptance import Acceptance
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.steps import rule as rules

RULE, WIDER = Acceptance(scores={"auroc": 0.02}), Acceptance(scores={"auroc": 0.1})
NO_RULE: Acceptance | None = None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(10, 60))
    monkeypatch.setattr(rules, "now", lambda: f"2026-11-29T{next(hours)}:00:00+00:00")


def opened(path: Path) -> RunFolder:
    path.mkdir(exist_ok=True)
    return RunFolder(path, {"notes": [], "test_looks": []}, finished=False)


def look(run: RunFolder) -> None:
    run.facts["test_looks"].append({"when": rules.now()})


@pytest.mark.fault
def test_a_rule_that_was_recorded_before_training_is_older(tmp_path: Path, clock: None) -> None:
    run = opened(tmp_path / "a")
    rules.record(run, RULE, "images")
    look(run)
    assert rules.is_older(run.facts)
    stored = json.loads((run.path / "run.json").read_text())
    assert stored["accept"][0]["sha256"] == RULE.digest
    assert stored["accept"][0]["recorded"] < stored["training_began"]
    # a later sitting with the same rule changes nothing
    rules.record(run, RULE, "images")
    assert len(run.facts["accept"]) == 1
    assert rules.is_older(run.facts)
    assert run.facts["notes"] == []


@pytest.mark.fault
@pytest.mark.parametrize(
    ("first", "then", "what"),
    [(RULE, WIDER, "changed"), (NO_RULE, RULE, "given"), (RULE, NO_RULE, "left out")],
)
def test_a_rule_that_changes_after_training_began_says_so(
    first: Acceptance | None, then: Acceptance | None, what: str, tmp_path: Path, clock: None
) -> None:
    run = opened(tmp_path / "a")
    rules.record(run, first, "images")
    rules.record(run, then, "images")
    look(run)
    assert not rules.is_older(run.facts)
    assert f"the rule of acceptance was {what} after training began" in run.facts["notes"][0]


@pytest.mark.fault
def test_a_repeated_run_with_another_rule_tells_of_the_first(tmp_path: Path, clock: None) -> None:
    first = opened(tmp_path / "a")
    first.facts["manifest"] = "images"
    rules.record(first, RULE, "images")
    look(first)
    first.write_facts()
    again, other = opened(tmp_path / "b"), opened(tmp_path / "c")
    rules.record(again, RULE, "images")
    assert again.facts["notes"] == []
    assert rules.is_older(again.facts)
    rules.record(other, WIDER, "images")
    assert "a looked at the test split of the same images" in other.facts["notes"][0]
    assert not rules.is_older(other.facts)
    elsewhere = opened(tmp_path / "d")
    rules.record(elsewhere, WIDER, "other images")
    assert rules.is_older(elsewhere.facts)


@pytest.mark.fault
def test_a_finished_run_is_not_judged_by_a_later_rule(
    tmp_path: Path, clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    run = opened(tmp_path / "a")
    rules.record(run, RULE, "images")
    rules.say_if_changed(run.path, RULE)
    assert caplog.text == ""
    rules.say_if_changed(run.path, WIDER)
    assert "was changed after this run had finished" in caplog.text
