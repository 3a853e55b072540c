"""Many runs by one command: Hydra's sweeps with its real launchers, and Optuna's search."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from medcnn.cli.compose import read_command, read_words
from medcnn.cli.sweeping import word_of
from medcnn.models.classifier import Classifier
from medcnn.system.privacy import pseudonym
from tests.command import SMALL, run


def facts(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "run.json").read_text()))


def test_each_combination_is_a_run_and_the_worst_exit_code_counts(
    images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ("-m", "loss=auto,asymmetric", f"run_dir={tmp_path / 'r'}")
    assert run("train", *SMALL, images, *sweep) == 2  # it wants yes-or-no labels
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    done, table = out.split("on validation")
    assert [line[:3] for line in done.splitlines()[1:3]] == ["1/2", "2/2"]
    assert "exit code 2" in done
    folder = tmp_path / "r" / "loss=auto"
    best = dict(facts(folder)["validation"])["auroc"]  # type: ignore[call-overload]
    assert re.findall(r"auroc (\S+)", table) == [f"{best:.4f}"]  # of validation, and no other
    assert (folder / "report.html").is_file()
    before = (folder / "run.json").read_bytes()
    assert run("train", *SMALL, images, *sweep) == 2
    assert (folder / "run.json").read_bytes() == before  # a finished run is recognised


def test_faults_of_all_combinations_are_reported_before_any_run(
    images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("seed=0,-1", "optimizer.lr=choice(1e-3,abc)", f"run_dir={tmp_path / 'r'}")
    assert run("train", "--multirun", *SMALL, images, *wrong) == 2
    said = capsys.readouterr().err
    assert said.count("seed=-1 should be") == said.count("lr=abc should be") == 1
    assert run("train", "-m", *SMALL, "seed=0,1", "hydra/launcher=slurmy") == 2
    assert "launcher slurmy is not installed" in capsys.readouterr().err
    launcher = ("seed=0,1", "hydra/launcher=basic", "hydra.launcher.n_job=2")
    assert run("train", "-m", *SMALL, *launcher) == 2
    assert "n_job" in capsys.readouterr().err
    assert run("train", "-m", *SMALL, "run_dir=a,b") == 2
    assert "run_dir: give only one" in capsys.readouterr().err
    assert run("train", "-m", *SMALL, "model=glob(lenet*)", "seed=range(0,3)", "--show-config") == 0
    assert capsys.readouterr().out.count("model=lenet5 seed=") == 3
    assert not (tmp_path / "r").exists()


def test_patients_who_are_left_out_name_no_run_of_a_sweep(
    capsys: pytest.CaptureFixture[str],
) -> None:
    excluded = "++data.exclude.remark=[Meier Anna],[Schulz]"
    mapped = "data.exclude={remark: [Weber]}"
    words = ("data=table", "data.table=t.csv", "data.image=i", "data.root=.", "run_dir=out")
    assert run("train", "-m", *words, excluded, mapped, "--show-config") == 0
    said = capsys.readouterr().out
    assert not re.search("Meier|Schulz|Weber", said)
    assert said.count(f"data.exclude.remark=[{pseudonym('Meier Anna', 'id')}]") == 1
    assert said.count(f"data.exclude={{remark:[{pseudonym('Weber', 'id')}]}}") == 2
    folders = {
        read_words([w])[0].value()
        for line in said.splitlines()
        for w in shlex.split(line)
        if w.startswith("run_dir=")
    }
    assert len(folders) == 2


@pytest.mark.parametrize(
    ("given", "meant"),
    [("null", None), ("a b", "a b"), ("'a\\'b'", "a'b"), ("7", "7"), ("/r", "/r")],
)
def test_each_run_lies_in_the_folder_that_is_meant(
    given: str, meant: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("seed=0,1", f"run_dir={given}", "--show-config")
    assert run("train", "-m", *SMALL, *words) == 0
    for seed, line in enumerate(capsys.readouterr().out.splitlines()):
        config = read_command("train", shlex.split(line)[2:]).config
        wanted = meant and f"{meant}/seed={seed}"
        assert (config.run_dir or None) == wanted  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "value",
    [
        "true",
        "Null",
        "nan",
        "inf",
        "a\\b",
        "a\\",
        'a\\"b',
        "x'y z",
        "née",
        "",
        1e-5,
        None,
        [1, "a,b"],
    ],
)
def test_a_chosen_value_is_read_as_what_it_was(value: object) -> None:
    (read,) = read_words([f"head={word_of(value)}"])
    assert read.value() == value


def test_joblib_processes_end_with_the_sweep_and_come_to_the_same_weights(
    images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    words = ("train", *SMALL, images)
    sweep = (*words, "-m", "seed=1,2", "jobs=2", f"run_dir={tmp_path / 'many'}")
    process = subprocess.Popen([sys.executable, "-m", "medcnn", *sweep])
    while process.poll() is None and not (tmp_path / "many/seed=2/run.json").exists():
        time.sleep(0.01)
    process.terminate()
    assert process.wait() == 75
    assert run(*sweep) == 0  # no process is left that would hold a run folder
    assert run(*words, "seed=2", f"run_dir={tmp_path / 'alone'}") == 0
    alone, first, second = (
        load_file(tmp_path / way / "checkpoints/last.safetensors")
        for way in ("alone", "many/seed=1", "many/seed=2")
    )
    assert all(torch.equal(alone[name], second[name]) for name in alone)
    assert not all(torch.equal(alone[name], first[name]) for name in alone)


@pytest.fixture
def search(tmp_path: Path, images: str) -> tuple[str, ...]:
    space = tmp_path / "my" / "sweep" / "mine.yaml"
    space.parent.mkdir(parents=True)
    space.write_text(
        "space:\n"
        "  optimizer.lr: {low: 1.0e-4, high: 0.1, log: true}\n"
        "  trainer.accumulate: {low: 1, high: 3}\n"
        "  head: [linear]\n  augmentation.mixup_alpha: [0, 0.2]\n"
    )
    own = ("sweep=mine", f"--config-dir={tmp_path / 'my'}", "sweep.startup=2", "trainer.epochs=3")
    return ("sweep", *SMALL, images, *own, "sweep.trials=4", "sweep.prune_after=1")


@pytest.mark.fault
def test_a_sweep_that_was_killed_comes_to_the_same_trials_and_never_opens_test(
    search: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 1, for a whole sweep."""
    pytest.importorskip("optuna")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(*search, f"run_dir={whole}") == 0
    said = capsys.readouterr().out

    words = (*search, f"run_dir={killed}")
    process = subprocess.Popen([sys.executable, "-m", "medcnn", *words])
    while process.poll() is None and not (killed / "trials/001/checkpoints/resume.pt").exists():
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert run(*words) == 0
    assert (killed / "trials.csv").read_text() == (whole / "trials.csv").read_text()
    assert facts(killed / "trials/001")["sittings"] == 2  # it went on, it did not begin again
    assert facts(killed / "trials/000")["sittings"] == 1
    ends = [line.split(",")[1] for line in (whole / "trials.csv").read_text().splitlines()[1:]]
    assert ends.count("pruned") >= 1, "or this test sees no pruning"
    assert len(ends) == 4

    for trial in whole.glob("trials/*/run.json"):
        assert "test_looks" not in json.loads(trial.read_text())
    assert not list(whole.glob("trials/*/*test*"))
    assert len(list(whole.glob("trials/*/checkpoints"))) == 1  # of the best

    assert f"  sh {whole}/best.sh" in said
    assert run(*shlex.split((whole / "best.sh").read_text())[3:]) == 0
    (folder,) = whole.glob("trials/*/report.html")
    assert len(facts(folder.parent)["test_looks"]) == 1  # type: ignore[arg-type]
    assert (folder.parent / "log.txt").read_text().count("epoch   1/3") == 1  # trained once
    assert run(*search, f"run_dir={whole}", "sweep.trials=5") == 0  # a sweep can be extended
    assert len((whole / "trials.csv").read_text().splitlines()) == 6
    assert run(*search, f"run_dir={whole}", "seed=7") == 2
    assert "a sweep with other settings" in " ".join(capsys.readouterr().err.split())


@pytest.mark.fault
def test_a_signal_between_two_trials_ends_a_sweep_that_can_go_on(
    search: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 7."""
    pytest.importorskip("optuna")
    from medcnn.verbs.steps import trials

    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    words = (*search, "trainer.epochs=1", f"run_dir={tmp_path / 'r'}")
    with monkeypatch.context() as patched:
        patched.setattr(trials, "keep_best_weights", stop)
        assert run(*words) == 75
    assert not (tmp_path / "r" / "trials" / "001").exists()
    assert run(*words, "sweep.trials=1") == 0
    assert facts(tmp_path / "r" / "trials" / "000")["sittings"] == 1


def test_a_sweep_of_labels_that_were_corrected_since_is_not_continued(
    search: tuple[str, ...],
    images: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("optuna")
    from medcnn.verbs.steps import trials

    def refused() -> bool:
        return "r began with other images, labels or splits" in " ".join(
            capsys.readouterr().err.split()
        )

    table = Path(images.removeprefix("data.root=")) / "labels.csv"
    before = table.read_text()
    after = before.replace("L0000,nevus", "L0000,melanoma")
    folder = tmp_path / "r"
    words = (*search, "trainer.epochs=1", "sweep.trials=2", f"run_dir={folder}")
    try:
        with monkeypatch.context() as patched:  # between two trials
            patched.setattr(trials, "keep_best_weights", lambda *_: table.write_text(after))
            assert run(*words) == 4
        assert refused()
        assert not (folder / "trials" / "001").exists()
        with monkeypatch.context() as patched:  # between two sittings, before anything is trained
            patched.setattr(trials, "next_trial", lambda *_: None)
            assert run(*words) == 4
        assert refused()
    finally:
        table.write_text(before)
    assert run(*words) == 0
    assert len((folder / "trials.csv").read_text().splitlines()) == 3


def test_trials_that_cannot_be_trained_are_given_up_and_the_sweep_goes_on(
    search: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = Classifier.forward

    def forward(self: Classifier, images: Tensor) -> Tensor:
        if self.training and images.shape[-1] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, images)

    monkeypatch.setattr(Classifier, "forward", forward)
    file, out = tmp_path / "my" / "sweep" / "mine.yaml", tmp_path / "r"
    words = [w for w in search if not w.startswith("data.size_px")]
    file.write_text(
        "space: {loss: [auto, logit_adjusted], sampler: [shuffle, balanced], "
        "data.size_px: [32, 40]}"
    )
    assert run(*words, f"run_dir={out}", "sweep.trials=6", "trainer.epochs=1") == 0
    said = " ".join(capsys.readouterr().out.split())
    rows = (out / "trials.csv").read_text().splitlines()[1:]
    assert len(rows) == 6
    ends = {row.split(",")[1] for row in rows}
    assert ends == {"finished", "pruned"}, ends
    assert "given up: cpu has too little memory" in said
    assert "given up: loss=logit_adjusted and sampler=balanced each correct" in said

    file.write_text("space: {optimizer.lr: {low: 0.1, high: 0.2}}")
    wrong = [*words, "data.size_px=32", "loss=logit_adjusted", "sampler=balanced"]
    for _ in range(2):  # the command itself is wrong; again, it says so
        assert run(*wrong, f"run_dir={tmp_path / 'wrong'}") == 2


def test_a_space_that_makes_no_sense_is_refused_before_anything_is_trained(
    search: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my" / "sweep" / "mine.yaml"
    for space, fault in {
        "optimizer.lr: {low: 1, high: 0.1}": "the low one first",
        "optimizer.lr: {low: 0, high: 0.1, log: true}": "both above 0",
        "optimizer.lr: {low: 0.1, hihg: 1}": "'hihg' is not one of",
        "optimizer.rl: [1]": "optimizer.rl is not a setting",
        "trainer.epochs: [3, 0]": "trainer.epochs=0 should be a whole number",
        "loss: [auto, fokal]": "unknown loss 'fokal'",
        "model: [resnet18]": "model is also on the command line",
        "{seed: [1], data.test_share: [0.1, 0.2]}": "data.test_share cannot be searched",
        "{}": "sweep.space: {} should be a mapping",
    }.items():
        file.write_text(f"space:\n  {space}\n")
        assert run(*search, f"run_dir={tmp_path / 'r'}") == 2
        assert fault in " ".join(capsys.readouterr().err.split())
    assert run(*search, "sweep.space={}") == run(*search, "seed=0,1") == 2
    assert capsys.readouterr().err.count("put the settings to search in a file") == 2
    assert not (tmp_path / "r").exists()
