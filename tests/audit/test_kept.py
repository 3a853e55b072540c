"""What an audit keeps is believed only where it is whole, and its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.system.files import cache_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache in which the audits of one test stay."""
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", "a secret of the hospital")
    return cache_folder() / "audit"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each look decoded."""
    from medcnn.audit import thumbnails
    from medcnn.pixels import shards

    real, seen = shards.decode, []

    def decode(requests: Any, *rest: Any, **named: Any) -> Any:
        seen.append(len(requests))
        return real(requests, *rest, **named)

    for module in (thumbnails, shards):
        monkeypatch.setattr(module, "decode", decode)
    return seen


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def _changed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "ending", "anew"),
    [
        (_changed, "*/*.pixels", [1]),
        (_emptied, "*/*.pixels", [12]),
        (_cut, "*/*.rows", [1]),
        (_changed, "*.findings.json", []),
    ],
)
def test_a_damaged_cache_costs_another_look_and_nothing_else(
    bench: Any,
    place: Path,
    counted: list[int],
    harm: Callable[[Path], None],
    ending: str,
    anew: list[int],
) -> None:
    clean = bench.make(12)
    before = bench.audited(clean)
    assert counted == [12]
    (file,) = place.glob(ending)
    harm(file)
    after = bench.audited(clean)
    assert after.findings == before.findings
    assert after.looks.facts == before.looks.facts
    np.testing.assert_array_equal(after.looks.grey, before.looks.grey)
    np.testing.assert_array_equal(after.looks.colour, before.looks.colour)
    assert counted == [12, *anew]
    bench.audited(clean)
    assert counted == [12, *anew], "what was made anew is kept"


def test_what_another_set_left_there_is_not_believed(
    bench: Any, place: Path, counted: list[int]
) -> None:
    """Swapped thumbnails would make pairs of images that are not alike."""
    clean = bench.make(12)
    bench.audited(clean)
    other = bench.make(12, "elsewhere")
    bench.audited(other)
    first, second = place.glob("*/*.pixels")
    shutil.move(first, place / "aside")
    shutil.move(second, first)
    shutil.move(place / "aside", second)
    for found in place.glob("*.findings.json"):
        found.unlink()
    audit = bench.audited(clean)
    assert counted == [12, 12, 12]
    assert bench.checks(audit) <= {"persons", "few"}


def test_of_a_set_that_grew_the_new_images_alone_are_looked_at(
    bench: Any, place: Path, counted: list[int]
) -> None:
    clean = bench.make(14)
    bench.audited(clean.with_records(clean.records[:12]))
    grown = bench.audited(clean)
    assert counted == [12, 2]
    shutil.rmtree(place)
    np.testing.assert_array_equal(bench.audited(clean).looks.grey, grown.looks.grey)


def test_a_cache_that_cannot_be_written_is_said_and_the_audit_goes_on(
    bench: Any,
    place: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr("medcnn.system.progress.log.propagate", True)
    audit = bench.audited(bench.make(12))
    assert len(audit.looks.facts) == 12
    assert "the audit cannot be cached" in caplog.text


def test_a_file_that_can_be_read_by_now_is_no_finding_any_more(bench: Any, place: Path) -> None:
    """A decoder was installed, or a disk came back: the file has the size and time it had."""
    clean = bench.make(12)
    file = clean.root / "003.png"
    whole, times = file.read_bytes(), file.stat()
    file.write_bytes(bytes(len(whole)))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "files" in bench.checks(bench.audited(clean))
    file.write_bytes(whole)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    audit = bench.audited(clean)
    assert not audit.bad
    assert "files" not in bench.checks(audit)
