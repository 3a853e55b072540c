from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from medcnn.system.chained_log import BEGINNING, TAIL_BYTES, appended, faults_in
from medcnn.system.errors import MedcnnError


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Seven lines by three processes."""
    path = tmp_path / "predictions.log"
    for first, count in ((0, 3), (3, 1), (4, 3)):
        appended(path, [{"image": f"image-{n}", "p": n / 7} for n in range(first, first + count)])
    return path


def faults(path: Path) -> list[str]:
    return [fault for fault, _ in faults_in(path) if fault]


def test_a_log_as_it_was_written_has_no_fault_and_ends_where_it_was_said(written: Path) -> None:
    assert faults(written) == []
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert lines[0]["previous"] == BEGINNING
    end = appended(written, [{"image": "image-7"}])
    assert [last for _, last in faults_in(written)][-1] == end
    assert end.line == 8


def edited(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(change(lines)))

    return edit


CHANGES = {
    "line 3 was changed": lambda x: [*x[:2], x[2].replace("image-2", "image-9"), *x[3:]],
    "line 7 was changed": lambda x: [*x[:6], x[6].replace("image-6", "image-9")],
    "line 2 was changed": lambda x: [x[0], x[1].replace('"p": ', '"p":  '), *x[2:]],
    "a line is missing before line 3": lambda x: [*x[:2], *x[3:]],
    "3 lines are missing before line 1": lambda x: x[3:],
    "line 4 (number 3) is out of order": lambda x: [*x[:3], x[2], *x[3:]],
    "line 5 was changed": lambda x: [*x[:4], '{"image": "image-4"}\n', *x[5:]],
    "line 6 was changed": lambda x: [*x[:5], "[" * 100_000 + "\n", x[6]],
    "line 1 was changed": lambda x: ["\n", *x[1:]],
}


@pytest.mark.parametrize("told", CHANGES)
def test_every_kind_of_change_is_reported_with_its_place(written: Path, told: str) -> None:
    edited(CHANGES[told])(written)
    found = faults(written)
    assert found[0].startswith(told), found
    assert len(found) <= 2


def test_a_line_that_was_written_anew_does_not_hold_the_next(written: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    lines = written.read_text().splitlines(keepends=True)
    other.write_text("".join(lines[:2]))
    appended(other, [{"image": "forged"}])
    forged = other.read_text().splitlines(keepends=True)[2]
    written.write_text("".join([*lines[:2], forged, *lines[3:]]))
    assert faults(written) == ["line 4 does not follow the line before it: one was replaced"]


def test_any_change_of_any_byte_shows(written: Path) -> None:
    whole, draw = written.read_bytes(), random.Random(0)
    for _ in range(200):
        at = draw.randrange(len(whole))
        other = bytes([draw.choice([b for b in range(256) if b != whole[at]])])
        written.write_bytes(whole[:at] + other + whole[at + 1 :])
        assert faults(written), (at, other)


def test_a_half_line_is_replaced_by_one_that_says_so(written: Path) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[:-9])
    assert faults(written) == ["line 7 breaks off: a write was interrupted"]
    appended(written, [{"image": "image-7"}])
    assert faults(written) == []
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line.get("kind") or line["image"] for line in lines[5:]] == [
        "image-5",
        "repaired",
        "image-7",
    ]


def test_nothing_is_added_to_a_file_that_is_no_log_or_whose_end_was_changed(
    written: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("image,decision\na,b\n")
    notes, long = tmp_path / "notes.json", tmp_path / "one-line.json"
    notes.write_text('{"a": 1}')
    long.write_text(f'{{"a": "{"b" * (2 * TAIL_BYTES)}"}}')
    edited(CHANGES["line 7 was changed"])(written)
    for path in (table, notes, long, written):
        before = path.read_bytes()
        with pytest.raises(MedcnnError, match="not as it was written, so nothing is added"):
            appended(path, [{"image": "x"}])
        assert path.read_bytes() == before


def test_processes_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    def write(own: int) -> None:
        for n in range(10):
            appended(path, [{"own": own, "n": n}, {"own": own, "n": n}])

    threads = [threading.Thread(target=write, args=(own,)) for own in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults(path) == []
    assert len(path.read_text().splitlines()) == 60
