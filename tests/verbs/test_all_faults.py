"""A command names all that is wrong with its paths and words at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcnn.system.errors import DataError, UsageError, at_once
from tests.command import run


def fault(error: Exception) -> None:
    raise error


def test_every_check_runs_whatever_the_others_find() -> None:
    seen: list[str] = []
    with pytest.raises(UsageError, match="one\ntwo"):
        at_once(
            lambda: fault(UsageError("one")),
            lambda: seen.append("run"),
            lambda: fault(DataError("two")),
            lambda: fault(DataError("two")),
        )
    assert seen == ["run"]
    with pytest.raises(DataError, match=r"^only$"):
        at_once(lambda: fault(DataError("only")))
    with pytest.raises(DataError, match="one\ntwo"):
        at_once(lambda: fault(DataError("one")), lambda: fault(DataError("two")))
    at_once(lambda: None)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ("external", "{here}/no.safetensors", "data=ham10000", "data.root={here}/no",
             "internal={here}"),
            ("no.safetensors", "data.root", "predictions_test.csv"),
        ),
        (
            ("robustness", "{here}/no.safetensors", "data=ham10000", "data.root={here}/no"),
            ("no.safetensors", "data.root"),
        ),
        (
            ("learning-curve", "data=ham10000", "data.root={here}/no", "score=brier",
             "model.weights={here}/no.pth"),
            ("data.root", "score=brier", "no.pth"),
        ),
        (
            ("learning-curve", "transfer=lora", "arms=[probing]"),
            ("transfer has no effect", "'probing' is not one of"),
        ),
        (
            ("readers", "{here}/no.csv", "output={here}/full"),
            ("no.csv: no such file", "full"),
        ),
        (
            ("report", "{here}/no", "plan={here}/no.json", "readers={here}/no.csv"),
            ("run={here}/no", "plan=", "readers="),
        ),
        (
            ("monitor", "{here}/no", "{here}/no.csv", "output={here}/full"),
            ("reference=", "predictions=", "full"),
        ),
        (
            ("plan", "prevalence=0.2", "margin_of=aurok", "threshold=0.1", "icc=0.5"),
            ("margin_of 'aurok'", "threshold=0.1", "icc=0.5"),
        ),
    ],
)  # fmt: skip
def test_all_faults_of_a_command_are_reported_at_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine", "utf-8")
    assert run(*(word.format(here=tmp_path) for word in words)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert [part for part in parts if part.format(here=tmp_path) not in said] == []
