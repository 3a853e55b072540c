"""Help, version and the first word of a command."""

from __future__ import annotations

import pytest
import yaml

from medcnn.cli import VERBS, main, run
from medcnn.cli import help as help_
from medcnn.cli.compose import read_command
from medcnn.cli.help import settings
from medcnn.system.paths import config_folder


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_command_shows_its_usage_and_an_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, verb, "--help")
    assert text.startswith(f"usage: medcnn {verb} ")
    assert f"\n  medcnn {verb} " in text
    assert max(map(len, text.splitlines())) <= 100
    assert said(capsys, verb, "-h", "seed=1") == said(capsys, "help", verb) == text


@pytest.mark.parametrize(
    ("verb", "needed"),
    [("train", []), ("finetune", ["x", "data=phantom"]), ("evaluate", ["x"]), ("report", ["x"])],
)
def test_help_names_every_setting(verb: str, needed: list[str]) -> None:
    shown = settings(verb, config_folder())
    composed = yaml.safe_load(read_command(verb, needed).yaml)
    known = {key for key in composed if not isinstance(composed[key], dict)}
    for group in ("audit", "augmentation", "optimizer", "readout", "trainer"):
        known |= {f"{group}.{key}" for key in composed.get(group, {}) if key != "name"}
    inside = {"checkpoint", "moved", "data", "model", "head"}  # not of every command
    assert known - inside <= shown.keys()
    assert all(value for value, _ in shown.values())


def test_help_lists_plugins_without_importing_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        help_, "installed", lambda group: {"tversky": ()} if group == "losses" else {}
    )
    assert "tversky" in settings("train", config_folder())["loss"][1]


def test_the_version_is_said_wherever_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == said(capsys, "train", "--version") == said(capsys, "-V")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["trains"], "unknown command 'trains'; did you mean 'train'?"),
        (["training"], "did you mean 'train'?"),
        (["eval"], "did you mean 'evaluate'?"),
        (["inference"], "did you mean 'predict'?"),
        (["fine-tune"], "did you mean 'finetune'?"),
        (["datasets"], "did you mean 'list datasets'?"),
        (["data=ham10000", "train"], "the command comes first: medcnn train data=ham10000"),
    ],
)
def test_a_first_word_that_is_not_a_command_is_answered_with_the_right_one(
    words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert answer in " ".join(capsys.readouterr().err.split())
