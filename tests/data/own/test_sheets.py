"""Tables as hospitals and spreadsheets write them; each fault here once lost rows in silence."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medcnn.data.own import bounds
from medcnn.data.own.sheets import Sheet, of_every_row, read_sheet
from medcnn.system.errors import DataError, UsageError
from medcnn.system.privacy import pseudonymised


def sheet_of(tmp_path: Path, content: str | bytes) -> Sheet:
    file = tmp_path / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_sheet(file)


def test_lines_are_those_of_the_file_despite_blank_ones_and_cells_of_several_lines(
    tmp_path: Path,
) -> None:
    sheet = sheet_of(tmp_path, 'id,note\n1,"two\nlines"\n\n2,x\n,\n3,"a\r\nb\nc"\n4,y\n')
    assert [r["id"] for r in sheet.rows] == ["1", "2", "3", "4"]
    assert sheet.lines == (2, 5, 7, 10)
    assert sheet.line(3).endswith("t.csv:10")


@pytest.mark.parametrize("mark", ["\x85", "\x0c", "\x1c", "\u2028"])
def test_only_line_ends_end_a_row(tmp_path: Path, mark: str) -> None:
    encoding = "latin-1" if mark == "\x85" else "utf-8"
    sheet = sheet_of(tmp_path, f"id,note,label\n1,pain{mark} left,yes\n".encode(encoding))
    assert [r["label"] for r in sheet.rows] == ["yes"]


def test_the_unicode_text_of_spreadsheets_is_read(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, "id\tlabel\r\n1\tgröße\r\n".encode("utf-16"))
    assert list(sheet.rows) == [{"id": "1", "label": "größe"}]


def test_a_quote_that_is_not_closed_is_refused_and_swallows_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a table"):
        sheet_of(tmp_path, 'id,note\n1,"lost\n2,x\n3,y\n')
    with pytest.raises(DataError, match=r"t\.csv:3: cannot be read as a table"):
        sheet_of(tmp_path, 'id,note\n1,"lost\n2,"x"\n3,y\n')
    assert sheet_of(tmp_path, 'id,note\n1,a 5" scar\n').rows[0]["note"] == 'a 5" scar'


def test_a_cell_beyond_all_measure_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="field larger than field limit"):
        sheet_of(tmp_path, "id,note\n1," + "x" * 200_000 + "\n")


def test_trailing_blanks_may_be_left_away_but_not_added(tmp_path: Path) -> None:
    assert list(sheet_of(tmp_path, "id,a,b\n1\n").rows) == [{"id": "1", "a": "", "b": ""}]
    assert list(sheet_of(tmp_path, "id,a\n1,2,,\n").rows) == [{"id": "1", "a": "2"}]
    with pytest.raises(DataError, match=r"t\.csv:2: 4 cells, but 2 columns"):
        sheet_of(tmp_path, "id,a\n1,2,,3\n")


def test_the_faults_of_all_rows_are_reported_at_once() -> None:
    def odd(row: int) -> int:
        if row % 2:
            return row
        raise DataError(f"row {row} is even.")

    assert of_every_row([1, 3], odd) == [1, 3]
    with pytest.raises(DataError, match=r"^row 2 is even\.$"):
        of_every_row([1, 2], odd)
    with pytest.raises(DataError) as raised:
        of_every_row(range(20), odd)
    assert str(raised.value).startswith("10 rows are refused:\n  row 0 is even.\n  row 2")
    assert str(raised.value).endswith("and 5 more")


def test_rows_of_one_and_the_same_fault_share_a_line() -> None:
    def odd(row: int) -> int:
        raise DataError(f"t.csv:{row}: " + ("too large." if row > 17 else "not a number."))

    with pytest.raises(DataError) as raised:
        of_every_row(range(2, 20), odd)
    assert str(raised.value).splitlines() == [
        "18 rows are refused:",
        "  t.csv:2: not a number. (16 rows, lines 2, 3, 4, 5, 6 and 11 more)",
        "  t.csv:18: too large. (2 rows, lines 18, 19)",
    ]


def test_titles_above_the_names_of_the_columns_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("Export of the clinic\n;;\nWard 3;;\nimage;label;age\na.png;ill;7\n")
    sheet = read_sheet(path)
    assert sheet.columns == ("image", "label", "age")
    assert (sheet.titles, sheet.lines) == ((1, 3), (5,))


@pytest.mark.parametrize(
    "rows",
    [
        ["a.png;ill;7", "b.png;well;8"],
        ["a.png;ill;7,5", "b.png;well;8,25"],
        ['a.png;"ill, with fever,\ncough, and pain, too";7', "b.png;well;8"],
        ["a.png;ill", "b.png;well,,", "c.png;ill;7"],
    ],
)
def test_a_comma_in_a_title_or_a_cell_does_not_part_the_cells(
    tmp_path: Path, rows: list[str]
) -> None:
    lines = ["Findings of the clinic, June 2024", "image;label;age", *rows]
    sheet = sheet_of(tmp_path, "\n".join(lines) + "\n")
    assert (sheet.columns, sheet.titles) == (("image", "label", "age"), (1,))
    assert [row["image"] for row in sheet.rows][:2] == ["a.png", "b.png"]


def test_findings_between_bars_do_not_part_the_cells_of_rows_that_end_early(
    tmp_path: Path,
) -> None:
    rows = ["a.png,x|y", "b.png,x|z,7", "c.png,y|z"]
    sheet = sheet_of(tmp_path, "\n".join(["image,label,age", *rows]) + "\n")
    assert [row["label"] for row in sheet.rows] == ["x|y", "x|z", "y|z"]


def test_a_row_with_a_cell_too_many_does_not_name_the_columns(tmp_path: Path) -> None:
    text = "image,label\none,ill\ntwo,well,,oops\nthree,ill\nfour,well\nfive,ill\n"
    with pytest.raises(DataError, match=r"t\.csv:3: 4 cells, but 2 columns"):
        sheet_of(tmp_path, text)


def test_data_below_a_single_name_are_no_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,\na.png,1\nb.png,2\n")
    sheet = read_sheet(tmp_path / "t.csv")
    assert (sheet.columns, sheet.lines, sheet.titles) == (("image",), (2, 3), ())


def test_a_table_of_too_many_rows_is_refused_before_all_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcnn.data.own.bounds.MAX_ROWS", 100)
    read = []

    def rows(*_: object) -> Iterator[tuple[int, list[str]]]:
        for line in range(1, 10_000):
            read.append(line)
            yield line, ["a", "b"] if line == 1 else ["1", "2"]

    monkeypatch.setattr("medcnn.data.own.sheets.text_rows", rows)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="rows"):
        read_sheet(tmp_path / "t.csv")
    assert len(read) < 200


@pytest.mark.parametrize("text", ["image\na.png\nb.png\n", ",label\n0,ill\n1,well\n"])
def test_names_of_columns_that_stand_alone_are_no_title(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert len(read_sheet(tmp_path / "t.csv").rows) == 2


READ_AND_SAY = r"""
import re, sys
from pathlib import Path
from medcnn.data.own.sheets import read_sheet
from medcnn.system.errors import DataError, UsageError
from medcnn.system.privacy import pseudonymised
try:
    read_sheet(Path(sys.argv[1]))
except DataError as error:
    print(error)
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


def test_a_packed_table_that_unpacks_to_much_is_refused_in_little_memory(tmp_path: Path) -> None:
    part = gzip.compress(b"a,b\n" + b"1,2\n" * (1 << 22))
    (tmp_path / "t.csv.gz").write_bytes(part * 30)
    command = [sys.executable, "-c", READ_AND_SAY, str(tmp_path / "t.csv.gz")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "more than 400 MB of text" in said[0]
    assert int(said[1]) < 150


def test_a_table_of_too_many_rows_or_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_ROWS", 3)
    assert len(sheet_of(tmp_path, "a\n1\n2\n3\n").rows) == 3
    with pytest.raises(DataError, match="more than 3 rows"):
        sheet_of(tmp_path, "a\n1\n2\n3\n4\n")
    monkeypatch.setattr(bounds, "MAX_TEXT_BYTES", 5)
    with pytest.raises(DataError, match="leave out the columns and rows"):
        sheet_of(tmp_path, "a\n1\n2\n")


def test_a_first_row_that_may_be_a_patients_is_shown_only_marked_as_a_name(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, "Meier^Anna,melanoma\nSchulz^Eva,nevus\n")
    with pytest.raises(UsageError) as caught:
        sheet.require(["Meier^Ana", "dx"], "data.image and data.label")
    assert "has no column 'Meier^Ana'; did you mean '‹Meier^Anna›'?, 'dx'." in str(caught.value)
    assert not re.search("Anna|melanoma", pseudonymised(str(caught.value)))
    with pytest.raises(UsageError, match=r"'melanom'; did you mean .* Its columns: Meier\^Anna, "):
        sheet.require(["Meier^Anna", "melanom"], "data.image and data.label")


@pytest.mark.parametrize("name", ["Meier.webp", "Meier.jp2", "Meier.nii.gz", "Meier.HEIC"])
def test_images_of_every_format_are_no_names_of_columns(tmp_path: Path, name: str) -> None:
    sheet = sheet_of(tmp_path, f"{name},melanoma\nb.png,nevus\n")
    with pytest.raises(UsageError, match="its first row looks like data"):
        sheet.require(["file"], "data.image")
