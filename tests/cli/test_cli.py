"""The command line as a user meets it, in a process of its own."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medcnn import cli

TOP = Path(__file__).parents[2]
TABLE = ["data=table", "data.root=a", "data.image=image", "data.label=label"]
CHECKPOINT = "checkpoint=runs/k/checkpoints/best.safetensors"


def medcnn(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medcnn", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
    )


def imported(*words: str) -> set[str]:
    """Which modules a command that ends at once has imported."""
    code = (
        "import sys\nfrom medcnn.cli import main\n"
        f"try:\n    main({list(words)!r})\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("MODULES")[1].split())


def test_help_imports_nothing_heavy() -> None:
    # which is why it is quick; the time itself stands in docs/results.md
    assert {"torch", "hydra", "numpy", "rich"} & imported("--help") == set()


def test_help_names_every_command_and_fits_the_terminal() -> None:
    text = medcnn("--help").stdout
    assert all(
        f"\n  {verb} " in text for verb in ("train", "finetune", "evaluate", "predict", "preview")
    )
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["train", "lr=.1"], "lr is not a setting of medcnn train; did you mean 'optimizer.lr'?"),
        (
            ["train", "names={a:b}"],
            "names is not a setting of medcnn train; did you mean 'data.names'?",
        ),
        (["train", "model.nmae=x"], "model.nmae is not a setting of medcnn train"),
        (["train", "trainer.epoch=3"], "did you mean 'trainer.epochs'?"),
        (["train", "modle=resnet18"], "did you mean 'model'?"),
        (["train", "model=resnet81"], "unknown model 'resnet81'; did you mean 'resnet18'?"),
        (["train", "data=ham1000"], "unknown data 'ham1000'; did you mean 'ham10000'?"),
        (["train", "model.backbone=resnet19"], "unknown model.backbone 'resnet19'; did you"),
        (["train", "loss.name=focl"], "unknown loss.name 'focl'; did you mean 'focal'?"),
        (["train", "transfer=linear-probe"], "did you mean 'linear_probe'?"),
        (["train", "trainer.score=auroc2"], "did you mean 'auroc'?"),
        (["train", "--debg"], "unknown option --debg; did you mean '--debug'?"),
        (["train", "epochs"], "write settings as key=value"),
        (["train", "trainer.epochs=1,2"], "is a sweep"),
        (["train", "data.steps=[a"], "cannot be read as key=value"),
        (["train", "+data.imagee=x"], "option 'imagee'"),
        (["train", "data.steps=clahee"], "unknown step 'clahee'; did you mean 'clahe'?"),
        (["preview", "data.steps=clahee"], "unknown step 'clahee'; did you mean 'clahe'?"),
        (["preview", "preview.per_clas=2"], "did you mean 'preview.per_class'?"),
        (["evaluate"], "checkpoint is required: add checkpoint=..."),
        (["predict", "checkpoint=x", "inptu=y"], "did you mean 'input'?"),
        (["train", "checkpoint=x"], "checkpoint is not a setting of medcnn train"),
        (["train", "optimizer.lr=abc"], "optimizer.lr=abc should be a number"),
        (["train", "optimizer.lr=-1"], "optimizer.lr=-1 should be a number from"),
        (["train", "head.dropout=abc"], "head.dropout=abc should be a number"),
        (["train", "trainer.precision=[a]"], "trainer.precision=['a'] is not one of"),
        (["finetune", "checkpoint=x"], "finetune needs data=NAME"),
        (["finetune", "checkpoint=x", "data=phantom", "model=resnet50"], "comes from the checkp"),
        (["evaluate", "checkpoint=x", "data.size_px=64"], "comes from the checkpoint"),
        (["train", "data.rename=a(1)"], "needs two pairs of quotes"),
        (["list", "backbone"], "did you mean 'backbones'?"),
        (["list", "backbones", "convnexxt"], "contains 'convnexxt'; did you mean 'convnext'?"),
        (["train", "--epochs", "3"], "unknown option --epochs; write trainer.epochs=3."),
        (["train", "--batch-size=8"], "write trainer.batch_size=8."),
        (["train", "optimizer.lr=0,01"], "A decimal comma? optimizer.lr=0.01"),
        (["evaluate", "checkpoint=x", "trainer.epochs=1"], "evaluate, but of training"),
        (["audit", "trainer.threads=1"], "not a setting of medcnn audit, but of training"),
        (["evaluate", "checkpoint=x", "model=lenet5"], "but of training: medcnn train model=..."),
        (["train", "transfer.n=3"], "transfer.n is not a setting of transfer=full; it belongs to"),
        (["train", "transfer.n=3"], "it belongs to transfer=last_n."),
        (["audit", "data.root=nowhere"], "data.root=nowhere: say what is there with data=NAME"),
        (["list", "heads", "--show-config"], "list has no settings, so --show-config has no"),
        (["init", "--show-config"], "medcnn init has no settings"),
        (["init", "my", "own", "images"], "found 3 words; a path with spaces needs quotes"),
        (["init", ".", "sheet=A"], "sheet: not understood; did you mean 'data.sheet'?"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest_right_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 92."""
    assert cli.run(words) == 2
    text = capsys.readouterr().err
    assert said in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.fault
def test_a_wrong_value_is_answered_before_torch_is_imported() -> None:
    """Rows 92 and 93."""
    for word in ("trainer.batch_size=0", "lr=1", "model=resnet81", "model.backbone=resnet19"):
        assert "torch" not in imported("train", word)


# Sends itself a signal where torch would be imported, which takes seconds on a cluster.
EARLY = """
import os, sys
class Bell:
    def find_spec(self, name, *_):
        if name == "torch":
            os.kill(os.getpid(), int(sys.argv[1]))
sys.meta_path.insert(0, Bell())
from medcnn.cli import main
main(sys.argv[2:])
"""


@pytest.mark.fault
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGTERM, ["train"]),
        (signal.SIGUSR1, ["finetune", CHECKPOINT, "data=phantom"]),
    ],
)
def test_a_signal_while_torch_is_imported_ends_with_75(
    number: signal.Signals, words: list[str], tmp_path: Path
) -> None:
    """Rows 7 and 9."""
    (tmp_path / "runs" / "k" / "checkpoints").mkdir(parents=True)
    (tmp_path / CHECKPOINT.partition("=")[2]).write_bytes(bytes(20))
    command = [sys.executable, "-c", EARLY, str(int(number)), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 75, done.stderr
    said = f"stopped by {number.name} while not training; run the same command again"
    assert said in " ".join(done.stderr.split())


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "data=ham10000", "data.root=nowhere"], "nowhere does not exist."),
        (
            ["train", *TABLE, "data.table=no.csv"],
            "no such table; the folder contains a.csv, b.csv.",
        ),
        (["train", "data=medmnist", "data.path=x.npz"], "x.npz: no such file"),
        (["finetune", "checkpoint=x.safetensors", "data=phantom"], "no such file"),
        (["evaluate", "checkpoint=runs/k"], "did you mean runs/k/checkpoints/best.safetensors?"),
        (["evaluate", "checkpoint=runs/k/checkpoints"], "k/checkpoints/best.safetensors?"),
        (["evaluate", "checkpoint=a"], "checkpoint=a is a folder that contains no checkpoint."),
        (
            ["evaluate", "checkpoint=runs/no/best.safetensors"],
            "no such file; there are k/checkpoints/best.safetensors in runs.",
        ),
        (["evaluate", "checkpoint=a/a.csv"], "a/a.csv is not a medcnn checkpoint"),
        (["predict", CHECKPOINT, "input=no"], "input=no: no such file or folder."),
        (["predict", CHECKPOINT, "input=a", "output=a/b.csv"], "a/b.csv exists"),
        (["predict", CHECKPOINT, "input=a", "output=a/a.csv/b.csv"], "a.csv is not a folder"),
        (["report", "run=runs/no"], "run=runs/no: no such folder"),
        (["compare", "runs/k", "runs/no"], "runs/no: no such folder"),
        (["audit", "output=a/a.csv"], "output=a/a.csv exists and is not a page of medcnn audit"),
        (["preview", "output=a/b.html"], "output=a/b.html exists and is not a page of medcnn"),
        (["init", "a", "output=a/a.csv/data/x.yaml"], "cannot be written"),
    ],
)
def test_a_wrong_place_is_answered_before_torch_is_imported(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows 92 and 93."""
    (tmp_path / "a").mkdir()
    for name in ("a.csv", "b.csv", "b.html"):
        (tmp_path / "a" / name).write_text("image,label\nx.png,1\n")
    (tmp_path / "runs" / "k" / "checkpoints").mkdir(parents=True)
    (tmp_path / CHECKPOINT.partition("=")[2]).write_bytes(bytes(20))
    monkeypatch.chdir(tmp_path)
    # Or an earlier test has imported torch for them. Importing a module again also replaces the
    # attribute of its package, which must be restored too.
    names = [m for m in sys.modules if m.startswith("medcnn.verbs.")]
    for package, _, own in (name.rpartition(".") for name in names):
        monkeypatch.setattr(sys.modules[package], own, sys.modules[f"{package}.{own}"])
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.run(words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs" / "table-resnet18").exists()


def test_a_missing_extra_is_answered_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    found = lambda name, *more: None if name == "optuna" else real(name, *more)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", found)
    assert cli.run(["sweep"]) == 2
    line = ".venv/bin/pip install -c constraints.txt '.[sweep]'"
    assert line in " ".join(capsys.readouterr().err.split())
    assert line in (TOP / "README.md").read_text()


@pytest.mark.parametrize(
    ("word", "file", "said", "hidden"),
    [
        ("data.root=zu", "zu", "error: zu: Permission denied. Your account", ""),
        ("zu", "zu/Meier.png", "error: zu, in it id-", "Meier"),
        ("zu", "elsewhere", "error: id-", "elsewhere"),
        ("output=out/new.csv", "out/new.json", "error: out/new.json: Permission denied", ""),
        ("run_dir=out", "out/report.html", "error: out/report.html: Permission denied", ""),
    ],
)
def test_a_place_that_may_not_be_read_is_named_as_it_was_typed_and_nothing_below_it(
    word: str,
    file: str,
    said: str,
    hidden: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(words: list[str]) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(Path(file).absolute()))

    monkeypatch.setattr(cli, "_dispatch", refuse)
    assert cli.run(["init", word]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert not hidden or hidden not in err


def test_all_faults_of_a_command_are_reported_at_once() -> None:
    text = medcnn("train", "trainer.epochs=0", "trainer.batch_size=0", "seed=-1").stderr
    for said in ("trainer.epochs=0", "trainer.batch_size=0", "seed=-1"):
        assert said in text


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in medcnn("train", "lr=1", "--debug").stderr


@pytest.mark.parametrize(
    "what", ["backbones", "datasets", "heads", "losses", "metrics", "poolings"]
)
def test_lists_name_what_can_be_chosen(what: str) -> None:
    done = medcnn("list", what)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 2


def test_a_list_is_narrowed_by_part_of_a_name() -> None:
    names = medcnn("list", "backbones", "densenet").stdout.split()
    assert "densenet121" in names
    assert all("densenet" in n for n in names)


def test_show_config_prints_all_settings_and_starts_nothing() -> None:
    done = medcnn("train", "model=lenet5", "trainer.epochs=7", "--show-config")
    assert "backbone: lenet5" in done.stdout
    assert "epochs: 7" in done.stdout


def test_a_yaml_of_ones_own_is_found_outside_the_package(tmp_path: Path) -> None:
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "ours.yaml").write_text(
        "defaults: [table]\nroot: /nowhere\ntable: labels.csv\nimage: file\nlabel: grade\n"
    )
    done = medcnn("train", "data=ours", "--config-dir", "conf", "--show-config", folder=tmp_path)
    assert "image: file" in done.stdout, done.stderr
    assert "unknown data 'our'; did you mean 'ours'?" in " ".join(
        medcnn("train", "data=our", "--config-dir=conf", folder=tmp_path).stderr.split()
    )


def test_a_yaml_named_like_ours_and_a_folder_with_odd_signs(tmp_path: Path) -> None:
    folder = tmp_path / "a, b (1) [x]='y'"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "ours.yaml").write_text("defaults: [table]\nroot: /nowhere\n")
    words = ("train", "data=ours", "--config-dir", str(folder), "--show-config")
    done = medcnn(*words)
    assert "root: /nowhere" in done.stdout, done.stderr
    (folder / "data" / "table.yaml").write_text("name: table\n")
    done = medcnn(*words)
    assert done.returncode == 2
    assert "data/table.yaml is also a file of medcnn" in " ".join(done.stderr.split())


def test_scripts_are_the_commands(tmp_path: Path) -> None:
    for verb in ("train", "evaluate", "predict"):
        done = subprocess.run(
            [sys.executable, str(TOP / "scripts" / f"{verb}.py"), "nonsense=1"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert re.search(f"not a setting of medcnn\\s+{verb}", done.stderr)
        assert done.returncode == 2
