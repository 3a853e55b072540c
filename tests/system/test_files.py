from __future__ import annotations

import os
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from medcnn.system.files import (
    cache_folder,
    cache_place,
    quoted,
    replacing,
    sha256_of,
    visible,
    write_text,
)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.txt"
    write_text(target, "old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert [p.name for p in target.parent.iterdir()] == ["x.txt"]
    write_text(target, "new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("target", ["report.html", "a.b.csv", ".hidden", "pseudonym"])
def test_what_a_killed_process_left_is_removed_and_no_file_of_another_program(
    target: str, tmp_path: Path
) -> None:
    foreign = {".thesis.part2.md", ".film.mkv.part", ".a.0123abcd.part", "x.part"}
    with replacing(tmp_path / target) as part:
        left = {part.name, f".{uuid.uuid4().hex}.part"}
    for name in left | foreign:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    write_text(tmp_path / target, "new")
    assert {p.name for p in tmp_path.iterdir()} == {target, *foreign}


def test_the_cache_lies_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MEDCNN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "medcnn"


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x").startswith("ba7816bf")


@pytest.mark.fault
@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
def test_a_folder_of_the_cache_and_its_files_are_private_whatever_the_umask(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row A1: also a folder that an earlier version left open."""
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "old").mkdir(parents=True)
    (tmp_path / "cache" / "old").chmod(0o755)
    before = os.umask(umask)
    try:
        for name in ("new", "old"):
            folder = cache_place(name, "below")
            write_text(folder / "x", "x")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE((folder / "x").stat().st_mode) == 0o600
    finally:
        os.umask(before)


FULL = """
import resource, signal, sys
from pathlib import Path
from medcnn.system.files import write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path(sys.argv[1]), "x" * 100_000)
except OSError as error:
    print(error.filename, error.strerror)
"""


def test_a_file_that_has_no_room_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(target)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{target} File too large, for 99,000 of its 100,000 bytes\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("back\b\b", r"back\x08\x08"),
        ("abc\u202etxt.exe", r"abc\u202etxt.exe"),
        ("Grad II\tmäßig\n汉字", "Grad II\tmäßig\n汉字"),
    ],
)
def test_what_moves_a_terminal_stands_there_as_text(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert quoted(text) == shown
