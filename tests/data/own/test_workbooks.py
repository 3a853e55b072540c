"""Excel and Parquet give the same manifest as a CSV of the same rows."""

from __future__ import annotations

import datetime
import sys
import zipfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pytest
from openpyxl.styles import numbers
from PIL import Image
from pyarrow import parquet

from medcnn.data.own import bounds, xml_parts
from medcnn.data.own.cells import text_of, texts_of
from medcnn.data.own.excel import excel_rows
from medcnn.data.own.excel_sheets import _OWN_TEXT, SheetRows, unescaped
from medcnn.data.own.sheets import read_sheet
from medcnn.system.errors import DataError, UsageError
from tests.data.own import tables as table

HEADER = ["file", "patient", "grade", "seen"]
ROWS: list[list[Any]] = [
    ["a.png", "00042", 0.0, datetime.datetime(2020, 1, 31)],
    ["b.png", "00042", 2.0, None],
    ["c.png", "7", 1, datetime.datetime(2020, 2, 1, 10, 30)],
    ["d.png", "8", None, None],
]
TEXTS = [
    {"file": "a.png", "patient": "00042", "grade": "0", "seen": "2020-01-31"},
    {"file": "b.png", "patient": "00042", "grade": "2", "seen": ""},
    {"file": "c.png", "patient": "7", "grade": "1", "seen": "2020-02-01T10:30:00"},
    {"file": "d.png", "patient": "8", "grade": "", "seen": ""},
]
COLUMNS: dict[str, Any] = {"image": "file", "label": "grade", "patient": "patient"}


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abcd":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    workbook(tmp_path / "t.xlsx", Images=[HEADER, *ROWS], Notes=[])
    columns = {h: [r[i] for r in ROWS] for i, h in enumerate(HEADER)}
    schema = pa.schema(
        {"file": pa.string(), "patient": pa.string(), "grade": pa.float32()}
        | {"seen": pa.timestamp("ns")}
    )
    parquet.write_table(pa.table(columns, schema=schema), tmp_path / "t.parquet")
    lines = [HEADER, *[list(t.values()) for t in TEXTS]]
    (tmp_path / "t.csv").write_text("\n".join(",".join(line) for line in lines))
    return tmp_path


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx", "t.parquet"])
def test_every_kind_of_table_gives_the_same_text(root: Path, name: str) -> None:
    assert list(read_sheet(root / name).rows) == TEXTS


def test_every_kind_of_table_gives_the_same_manifest(root: Path) -> None:
    found = [
        table.read(root, table=f"t.{end}", kind="ordinal", attributes=["seen"], **COLUMNS)
        for end in ("csv", "xlsx", "parquet")
    ]
    assert len({m.fingerprint() for m in found}) == 1
    assert found[1].excluded == {"no grade": 1}


def test_what_a_file_is_shows_in_its_bytes_not_in_its_name(root: Path) -> None:
    (root / "t.xlsx").rename(root / "export.csv")
    assert list(read_sheet(root / "export.csv").rows) == TEXTS


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-1.0, "-1"),
        (0.143, "0.143"),
        (float("nan"), ""),
        (None, ""),
        (True, "TRUE"),
        (Decimal("2.50"), "2.5"),
        (Decimal("100"), "100"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.time(8, 5), "08:05:00"),
        ("  text ", "  text "),
    ],
)
def test_cells_become_the_text_of_a_csv(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_numbers_that_excel_shows_with_zeros_keep_them(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["id", "n"])
    book.active.append([42, 42])
    book.active["A2"].number_format = "00000"
    book.active["B2"].number_format = numbers.FORMAT_NUMBER_00
    book.save(tmp_path / "t.xlsx")
    assert list(read_sheet(tmp_path / "t.xlsx").rows) == [{"id": "00042", "n": "42"}]


def test_a_line_end_that_excel_wrote_as_a_code_makes_no_second_patient_or_class(root: Path) -> None:
    words = ("aLINE", "bLINE", "a", "b")
    marked = [[*row[:2], word] for row, word in zip(ROWS, words, strict=True)]
    marked[0][1], marked[3][1] = "00042LINE", "scan_x005F_x0041_"
    workbook(root / "t.xlsx", S=[HEADER[:3], *marked])
    with zipfile.ZipFile(root / "t.xlsx") as file:
        parts = {part: file.read(part).replace(b"LINE", b"_x000D_") for part in file.namelist()}
    with zipfile.ZipFile(root / "t.xlsx", "w") as file:
        for part, content in parts.items():
            file.writestr(part, content)
    found = table.read(root, table="t.xlsx", **COLUMNS)
    assert found.labels.names == ("a", "b")
    assert [r.group for r in found.records] == ["00042", "00042", "7", "scan_x0041_"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a_x000D__x000A_b", "a\r\nb"),
        ("_x005F_x000D_", "_x000D_"),
        ("_xD83D__xDE00_ _xd83d_", "\U0001f600 \ufffd"),
        ("max_x12_y", "max_x12_y"),
    ],
)
def test_codes_of_characters_are_read_once_and_from_the_left(text: str, meant: str) -> None:
    assert unescaped(text) == meant


def test_rows_are_numbered_as_excel_shows_them(root: Path) -> None:
    rows = [[], ["file", "grade"], ["a.png", 0], [], ["b.png", 1], ["c.png", 5]]
    workbook(root / "t.xlsx", S=rows)
    with pytest.raises(DataError, match=r"t\.xlsx:6: label ‹5› is not one of"):
        table.read(root, table="t.xlsx", image="file", label="grade", classes=[0, 1])


def test_one_of_several_sheets_is_named_or_refused(root: Path) -> None:
    workbook(root / "t.xlsx", Eyes=[HEADER, *ROWS], Skin=[["x"], [1]], Empty=[])
    with pytest.raises(UsageError, match=r"several sheets: Eyes, Skin\. Choose one: data\.sheet="):
        table.read(root, table="t.xlsx", **COLUMNS)
    assert len(table.read(root, table="t.xlsx", sheet="Eyes", **COLUMNS).records) == 3
    with pytest.raises(UsageError, match="no such sheet; did you mean 'Eyes'"):
        table.read(root, table="t.xlsx", sheet="Eyse", **COLUMNS)
    with pytest.raises(UsageError, match=r"data\.sheet=Eyes has no effect"):
        table.read(root, table="t.csv", sheet="Eyes", **COLUMNS)


def test_a_formula_is_read_as_its_saved_value_and_refused_without_one(tmp_path: Path) -> None:
    workbook(tmp_path / "t.xlsx", S=[["a", "b"], [1, "=A2+1"]])
    with pytest.raises(DataError, match=r"t\.xlsx:2: B2 is a formula without a saved value"):
        read_sheet(tmp_path / "t.xlsx")


def test_files_that_only_look_like_tables_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(DataError, match="not a readable Excel workbook"):
        read_sheet(tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_sheet(tmp_path / "t.parquet")
    (tmp_path / "t.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    with pytest.raises(UsageError, match="from before Excel 2007, or has a password"):
        read_sheet(tmp_path / "t.xls")


def test_columns_of_parquet_that_hold_no_words_are_passed_over(tmp_path: Path) -> None:
    columns = {"id": [1], "image": [{"bytes": b"x"}], "raw": [b"x"], "f": [np.float32(0.1)]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert list(read_sheet(tmp_path / "t.parquet").rows) == [{"id": "1", "f": "0.1"}]


def test_without_the_extra_the_message_says_what_to_install(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("pyarrow", "openpyxl"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=r"medcnn\[tables\]: .venv/bin/pip install"):
        read_sheet(root / "t.parquet")
    for name in ("t.csv", "t.xlsx"):
        assert len(read_sheet(root / name).rows) == 4


def test_a_workbook_that_unpacks_to_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbook(tmp_path / "t.xlsx", s=[["a"], *[["1"]] * 5000])
    packed = (tmp_path / "t.xlsx").stat().st_size
    monkeypatch.setattr(xml_parts, "MAX_XML_BYTES", 3 * packed)
    with pytest.raises(DataError, match="leave out the columns and rows"):
        read_sheet(tmp_path / "t.xlsx")


def test_a_parquet_file_of_many_equal_values_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.write_table(pa.table({"a": ["x"] * 100_000}), tmp_path / "t.parquet")
    monkeypatch.setattr(bounds, "MAX_TEXT_BYTES", 150_000)
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", None)
    with pytest.raises(DataError, match="leave out the columns and rows"):
        read_sheet(tmp_path / "t.parquet")
    monkeypatch.setattr(bounds, "MAX_ROWS", 99_999)
    with pytest.raises(DataError, match="more than 99999 rows"):
        read_sheet(tmp_path / "t.parquet")


PLAIN = '<row r="{0}" spans="1:2"><c r="A{0}" t="s"><v>0</v></c><c r="B{0}"><v>{0}.50</v></c></row>'
ROWS_OF_ALL_KINDS = {
    "plain": PLAIN.format(2) + PLAIN.format(3),
    "with a gap": '<row r="2"><c r="C2"><v>7</v></c></row>' + PLAIN.format(3),
    "backwards": '<row r="2"><c r="B2"><v>1</v></c><c r="A2"><v>2</v></c></row>',
    "a formula between": PLAIN.format(2)
    + '<row r="3"><c r="A3"><f>B2&amp;"x"</f><v>9</v></c></row>'
    + PLAIN.format(4),
    "plain texts in the cells": '<row r="2"><c r="A2" t="inlineStr"><is><t>ill </t></is></c>'
    '<c r="B2" t="inlineStr"><is><t></t></is></c><c r="C2" s="0"/></row>',
    "a code of a character": '<row r="2"><c r="A2" t="inlineStr"><is><t>x_x000D_</t></is></c>'
    '<c r="B2" t="str"><v>_x005F_x0041_</v></c></row>',
    "texts in the cells": '<row r="2"><c r="A2" t="inlineStr"><is><t>für</t></is></c></row>',
    "a comment": f"{PLAIN.format(2)}<!-- {PLAIN.format(3) * 2} -->{PLAIN.format(4)}",
    "a comment of rows alone": f"<!-- --><!-- {PLAIN.format(3) * 3} -->{PLAIN.format(4)}",
    "an instruction": f"{PLAIN.format(2)}<?x {PLAIN.format(3) * 2} ?>{PLAIN.format(4)}",
    "cdata": f'{PLAIN.format(2)}<row r="3"><c r="A3"><v><![CDATA[</row>{PLAIN.format(5)}]]></v></c>'
    f"</row>{PLAIN.format(4)}",
    "no numbers of rows": "<row><c><v>1</v></c><c><v>2</v></c></row>" + PLAIN.format(3),
    "blank rows": '<row r="2"/><row r="3"></row>' + PLAIN.format(4),
    "a number too large": '<row r="2"><c r="A2" t="s"><v>99</v></c></row>',
    "a column too far": '<row r="2"><c r="XFE2"><v>1</v></c></row>',
    "a line too far": PLAIN.format(2_000_000),
    "no number": '<row r="2"><c r="A2"><v>x</v></c></row>',
    "a cell missing in the middle": PLAIN.format(2)
    + '<row r="3"><c r="B3"><v>5</v></c></row><row r="4"><c r="A4" t="s"><v>0</v></c></row>'
    + PLAIN.format(5),
    "a column that changes its kind": PLAIN.format(2)
    + '<row r="3"><c r="A3"><v>4</v></c><c r="B3" t="s"><v>0</v></c></row>'
    + '<row r="4"><c r="A4" t="b"><v>1</v></c><c r="B4" s="0"><v>00.5</v></c></row>'
    + PLAIN.format(5),
    "a gap that is filled later": "".join(
        f'<row r="{n}"><c r="A{n}"><v>1</v></c>{middle}<c r="D{n}" t="str"><v>x</v></c></row>'
        for n, middle in enumerate(("", "", '<c r="B4"><v>2</v></c>', "", '<c r="C6" s="0"/>'), 2)
    ),
    "a cell twice": PLAIN.format(2) + PLAIN.format(3).replace("</c>", '</c><c r="A3"/>', 1),
    "more shapes than are learnt": "".join(
        f'<row r="{n}"><c r="A{n}"><v>{n}</v></c><c r="{chr(64 + n)}{n}"><v>1.0</v></c></row>'
        for n in range(2, 27)
    ),
    "columns too far to learn": '<row r="2"><c r="ZZ2"><v>1</v></c></row>' + PLAIN.format(3) * 2,
    "no end": PLAIN.format(2) + '<row r="3"><c r="A3"><v>1</v></row>',
}


@pytest.mark.parametrize("name", ROWS_OF_ALL_KINDS)
def test_rows_that_are_read_by_their_pattern_mean_what_an_xml_parser_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<worksheet><sheetData>'
    names = '<row r="1"><c r="A1" t="str"><v>a</v></c><c r="B1" t="str"><v>b</v></c></row>'
    xml = f"{head}{names}{ROWS_OF_ALL_KINDS[name]}</sheetData></worksheet>"
    with zipfile.ZipFile(workbook(tmp_path / "whole.xlsx", Images=[["word", "b"]])) as whole:
        parts = {part: whole.read(part) for part in whole.namelist()}
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as file:
        for part, content in parts.items():
            file.writestr(part, xml if part == "xl/worksheets/sheet1.xml" else content)

    def found() -> list[tuple[int, list[str]]] | str:
        try:
            return list(excel_rows(tmp_path / "t.xlsx", None))
        except DataError as error:
            return str(error)

    by_pattern = found()
    monkeypatch.setattr(SheetRows, "plain", lambda self, raw: False)
    assert by_pattern == found()


def test_plain_rows_never_reach_the_xml_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    begin = SheetRows.begin

    def watched(self: SheetRows, tag: str, given: Mapping[str, str]) -> None:
        seen.append(tag)
        begin(self, tag, given)

    monkeypatch.setattr(SheetRows, "begin", watched)
    rows = [[f"p{i}", i / 2, "ill"] for i in range(50)]
    path = workbook(tmp_path / "t.xlsx", Images=[["patient", "age", "label"], *rows])
    assert len(read_sheet(path).rows) == 50
    assert seen.count("row") <= 1  # the first stands behind the beginning of the document


def test_many_numbers_have_the_texts_that_each_has() -> None:
    numbers = [0.0, -0.0, 1.0, 0.1, -2.5, 1e16, 1e-7, 123456789.25, np.nan, np.inf, None]
    assert texts_of(numbers) == [text_of(number) for number in numbers]


@pytest.mark.parametrize("number", ["0", "7", "1234", "0.5", "12.3456", "0.0001", "999999999.9"])
def test_a_number_that_is_taken_as_written_is_what_it_would_become(number: str) -> None:
    assert _OWN_TEXT(number)
    assert text_of(float(number)) == number


@pytest.mark.parametrize(
    "number", ["00", "1.0", "1E3", "-1", "0.00001", "1234567890123", ".5", "1.50"]
)
def test_other_numbers_are_computed(number: str) -> None:
    assert not _OWN_TEXT(number)
