"""A sound setting learns a batch by heart, and one that is not says what is broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medcnn.verbs.steps.overfitting import WRONG, Learnt, least_loss, verdict
from tests.command import SMALL, run

WORDS = ("train", *SMALL, "trainer.batch_size=12")


def test_a_batch_is_learnt_by_heart_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*WORDS, "trainer.overfit_batches=1") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("memorised: the loss of 12 images went from ")
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_network_cannot_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*WORDS, "trainer.overfit_batches=1", "transfer=linear_probe") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "did not memorise: the loss of 12 images" in said
    assert "% of the parameters are frozen: transfer=full trains them all." in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [("trainer.dry_run=true",), ("trainer.overfit_batches=0",)])
def test_what_cannot_be_tried_out_is_refused(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*WORDS, "trainer.overfit_batches=1", *more) == 2
    assert "trainer.overfit_batches" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["sweep", "crossvalidate", "learning-curve"])
def test_commands_of_many_trainings_refuse_it(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [w for w in SMALL if w.split("=")[0] != "trainer.epochs"]
    assert run(verb, *words, "trainer.overfit_batches=1", f"run_dir={tmp_path}/x") == 2
    said = capsys.readouterr()
    assert "a single run of medcnn train" in " ".join(said.err.split())
    assert not said.out, "it is refused before anything is read"


def entropy() -> Any:
    def loss(logits: torch.Tensor, targets: torch.Tensor, _: int) -> Any:
        return F.cross_entropy(logits, targets, reduction="sum"), torch.tensor(len(targets))

    return cast(Any, SimpleNamespace(loss=loss))


def test_the_least_loss_is_that_of_the_labels() -> None:
    soft = np.array([[0.8, 0.2], [0.5, 0.5]], np.float32)
    least = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2) + np.log(0.5)) / 2
    assert least_loss(entropy(), soft, np.arange(2)) == pytest.approx(least, abs=1e-3)
    hard = np.array([[1, 0], [0, 1]], np.float32)
    assert least_loss(entropy(), hard, np.arange(2)) == pytest.approx(0, abs=1e-2)
    assert least_loss(entropy(), hard, np.array([0, 0])) == pytest.approx(np.log(2), abs=1e-3)


STUCK = Learnt(images=16, losses=[1.0] * 20, steps=300)
CASES: dict[str, tuple[Learnt, str]] = {
    "labels": (replace(STUCK, least_same=0.4), "no network gets below a loss of 0.4"),
    "blank": (replace(STUCK, blank=3), "3 of 16 images have only one colour"),
    "frozen": (replace(STUCK, frozen=0.5), "50 % of the parameters are frozen"),
    "broken": (replace(STUCK, broken=("body.1: no gradient arrives",)), "body.1: no gradient"),
    "falling": (replace(STUCK, losses=[*np.linspace(2, 1, 20)]), "still falling"),
    "nothing found": (STUCK, "no longer falls"),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", WRONG)
def test_what_is_broken_is_said_where_it_is_and_not_elsewhere(name: str) -> None:
    """Row A13."""
    facts, words = CASES[name]
    assert words in verdict(facts)
    others = [of for key, (of, _) in CASES.items() if key != name]
    assert [WRONG[name].words(of) for of in others] == [""] * len(others)


def test_what_was_learnt_is_not_called_broken() -> None:
    learnt = replace(STUCK, losses=[1.0, 0.01], frozen=0.5)
    assert verdict(learnt).startswith("memorised")
    assert "frozen" not in verdict(learnt)
    assert verdict(replace(STUCK, losses=[0.1, 0.03])).startswith("did not memorise")
