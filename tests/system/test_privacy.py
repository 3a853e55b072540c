"""Pseudonyms: stable under a key, worthless without it."""

from __future__ import annotations

import io
import re
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image

from medcnn.system import privacy
from medcnn.system.errors import UsageError, private
from medcnn.system.privacy import as_names, as_pseudonyms, for_terminal, pseudonym, pseudonymised
from tests.command import run

SECRET = "a secret of the hospital"


def test_a_pseudonym_is_stable_under_its_key_and_another_under_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", SECRET)
    first = pseudonym("DOE^JANE")
    assert re.fullmatch(r"patient-[0-9a-f]{12}", first)
    assert pseudonym("DOE^JANE") == first
    assert pseudonym("DOE^JANE", "lesion") == first.replace("patient", "lesion")
    assert pseudonym("DOE^JOHN") != first
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", "another secret of theirs")
    assert pseudonym("DOE^JANE") != first


def test_the_place_of_the_key_is_looked_up_once_for_many_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[Path] = []
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path))
    monkeypatch.setattr(privacy, "cache_folder", lambda: looks.append(tmp_path) or tmp_path)
    assert len({pseudonym(str(number)) for number in range(100)}) == 100
    assert len(looks) == 1


def test_the_key_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", SECRET)
    by_value = pseudonym("7")
    monkeypatch.delenv("MEDCNN_PSEUDONYM_KEY")
    (tmp_path / "key").write_text(SECRET + "\n")
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    assert pseudonym("7") == by_value
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="cannot be read"):
        pseudonym("7")


def test_a_key_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", "short")
    with pytest.raises(UsageError, match="can be guessed"):
        pseudonym("7")


def test_without_a_key_one_is_made_once_for_its_owner_alone_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path))
    monkeypatch.setattr("medcnn.system.progress.log.warning", said.append)
    first = pseudonym("7")
    assert pseudonym("7") == first
    assert ["random key" in sentence for sentence in said] == [True]
    assert stat.S_IMODE((tmp_path / "pseudonym.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["pseudonym.key"]


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that cannot be made, for whatever user runs the tests."""
    monkeypatch.delenv("MEDCNN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nope")


@pytest.mark.usefixtures("no_cache")
def test_a_cache_that_cannot_be_written_says_what_to_set() -> None:
    with pytest.raises(UsageError, match=r"MEDCNN_PSEUDONYM_KEY_FILE.*MEDCNN_CACHE"):
        pseudonym("7")


@pytest.mark.usefixtures("no_cache")
def test_without_a_key_a_message_is_shown_without_its_names() -> None:
    assert for_terminal("‹DOE› is blank", io.StringIO()) == "(name hidden) is blank"


@pytest.mark.usefixtures("no_cache")
def test_a_command_without_a_place_for_its_key_ends_as_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / "clinic" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "clinic" / name / "x.png")
    assert run("audit", "data=table", f"data.root={tmp_path / 'clinic'}") == 2
    assert "MEDCNN_PSEUDONYM_KEY_FILE" in capsys.readouterr().err


def test_a_pseudonym_stands_for_its_name_under_any_noun() -> None:
    hidden = as_pseudonyms(["DOE", "nobody"])
    assert as_pseudonyms(hidden) == hidden
    assert as_names([*hidden, pseudonym("ROE", "lesion")], ["DOE", "ROE"]) == [
        "DOE",
        hidden[1],
        "ROE",
    ]


def test_a_message_shows_a_pseudonym_as_it_is_and_not_one_of_it() -> None:
    shown = pseudonym("POE")
    assert (
        pseudonymised(f"‹{shown}› and ‹ROE› agree") == f"{shown} and {pseudonym('ROE', 'id')} agree"
    )


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_number_of_a_hospital_that_looks_like_a_pseudonym_is_not_shown() -> None:
    said = pseudonymised(f"{private('pat-202401151234')} is in two splits")
    assert "202401151234" not in said


def test_a_name_is_shown_by_the_stream_it_goes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose output goes to a file still has its errors on the terminal."""
    monkeypatch.setattr(sys, "stderr", _Terminal())
    assert for_terminal("‹DOE› is blank") == "'DOE' is blank"
    assert "DOE" not in for_terminal("‹DOE› is blank", io.StringIO())


def test_the_file_of_a_key_may_be_a_link_as_mounted_secrets_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "..data"
    secret.write_text("k" * 32)
    secret.chmod(0o600)
    (tmp_path / "key").symlink_to(secret)
    monkeypatch.delenv("MEDCNN_PSEUDONYM_KEY", raising=False)
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    linked = pseudonym("7")
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY_FILE", str(secret))
    assert linked == pseudonym("7")
