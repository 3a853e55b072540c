"""Files of a few kB that unpack to gigabytes are refused while they are read, in little memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from medcnn.data.own.sheets import read_sheet
from medcnn.system.errors import DataError

SHEET = '<?xml version="1.0"?><worksheet><sheetData><row r="1"><c t="str"><v>a</v></c></row>'
REL = '<Relationship Id="{0}" Type="http://x/{1}" Target="{2}"/>'


def book(path: Path, sheet: Iterator[str], texts: str = "") -> Path:
    """A workbook of the fewest parts, which no library would write."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        top = REL.format("r1", "officeDocument", "xl/workbook.xml")
        file.writestr("_rels/.rels", f"<Relationships>{top}</Relationships>")
        sheets = '<sheet name="S" sheetId="1" r:id="r1"/>'
        file.writestr(
            "xl/workbook.xml", f"<workbook xmlns:r='q'><sheets>{sheets}</sheets></workbook>"
        )
        inner = REL.format("r1", "worksheet", "worksheets/s.xml")
        inner += REL.format("r2", "sharedStrings", "sharedStrings.xml")
        file.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{inner}</Relationships>")
        if texts:
            file.writestr("xl/sharedStrings.xml", f"<sst><si><t>{texts}</t></si></sst>")
        with file.open("xl/worksheets/s.xml", "w") as part:
            for piece in sheet:
                part.write(piece.encode())
    return path


def dictionary(path: Path) -> None:
    place = pa.array([0] * 1_900_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(place, ["x" * 100_000])
    parquet.write_table(pa.table({"a": column}), path, compression="zstd")


def front_coded(path: Path) -> None:
    column = pa.array(["x" * 100_000] * 20_000)
    options = {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}}
    parquet.write_table(pa.table({"a": column}), path, compression="zstd", **options)


def packed(path: Path, pieces: Iterator[bytes]) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)


MEGABYTE = "q" * 1_000_000
SHARED = '<row><c t="s"><v>0</v></c></row>'


def names(count: int) -> bytes:
    return ",".join(f"c{i}" for i in range(count)).encode()


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "dictionary": (dictionary, "more than 400 MB of text"),
    "front_coded": (front_coded, "more than 400 MB of text"),
    "far_row": (
        lambda p: book(p, iter([SHEET, '<row r="999999999"><c><v>1</v></c></row>'])),
        "at most 1,048,576",
    ),
    "shared_text": (
        lambda p: book(p, iter([SHEET, SHARED * 4000]), "q" * 3_000_000),
        "a cell has more than 131,072 characters",
    ),
    "shorter_shared_text": (
        lambda p: book(p, iter([SHEET, SHARED * 5000]), "q" * 100_000),
        "more than 400 MB of text",
    ),
    "deep": (lambda p: book(p, iter([SHEET, "<a>" * 100_000])), "nested more than 64 deep"),
    "one_token": (
        lambda p: book(p, iter([SHEET, '<row a="', *[MEGABYTE] * 40])),
        "a token without an end",
    ),
    "entities": (
        lambda p: book(p, iter(['<!DOCTYPE l [<!ENTITY a "x">]><worksheet>'])),
        "declares a document type",
    ),
    "zeros": (lambda p: p.write_text("0" * 50_000), "no rows below its header"),
    "bytes_of_zero": (lambda p: p.write_bytes(b"\0" * 50_000), "it is not text"),
    "long_line": (lambda p: p.write_text("x" * 5_000_000), "a line has more than"),
    "columns": (
        lambda p: p.write_text(",".join(f"c{i}" for i in range(40_000)) + "\n1\n"),
        "40,000 columns, more than the limit of 4,096",
    ),
    "wide": (
        lambda p: packed(
            p,
            iter([names(8000), *[b"\n" + b"," * 7999] * 4000]),
        ),
        "8,000 columns, more than the limit of 4,096",
    ),
    "cells": (
        lambda p: packed(
            p,
            iter([names(4000), *[b"\n1" + b"," * 3999] * 7600]),
        ),
        "more than 30,000,000 cells",
    ),
    "lines": (lambda p: packed(p, iter([b"a,b\n", *[b"\n" * 1_000_000] * 5])), "4,000,000 lines"),
    "lines_in_cells": (
        lambda p: packed(p, iter([b"a,b\n", *[b'"' + b"\n" * 100_000 + b'",1\n'] * 50])),
        "4,000,000 lines",
    ),
}
READ_AND_SAY = r"""
import re, sys, time
from pathlib import Path
from medcnn.data.own.sheets import read_sheet
from medcnn.system.errors import DataError
try:
    read_sheet(Path(sys.argv[1]))
except DataError as error:
    print(str(error).replace("\n", " "))
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
print(time.process_time())
"""


@pytest.mark.fault
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_table_is_refused_by_name_under_300_mb(tmp_path: Path, name: str) -> None:
    """Rows B12, B13: 5.7 GB, 74 s and no end were seen."""
    make, said = HOSTILE[name]
    make(tmp_path / "table")
    command = [sys.executable, "-c", READ_AND_SAY, str(tmp_path / "table")]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    message, megabytes, seconds = found.splitlines()
    assert said in message
    assert int(megabytes) < 300
    assert float(seconds) < 30


@pytest.mark.fault
def test_a_workbook_whose_sizes_lie_or_whose_list_is_endless_is_refused(tmp_path: Path) -> None:
    """Row B12: members."""
    with zipfile.ZipFile(tmp_path / "many.xlsx", "w") as file:
        for i in range(25_000):
            file.writestr(f"xl/{i:050d}", "")
    with pytest.raises(DataError, match="too many files for a workbook"):
        read_sheet(tmp_path / "many.xlsx")
    rows = (f"<row><c><v>{i}</v></c></row>" for i in range(1000))
    raw = bytearray(book(tmp_path / "t.xlsx", iter([SHEET, *rows])).read_bytes())
    at = raw.rfind(b"PK\1\2")
    raw[at + 24 : at + 28] = (60).to_bytes(4, "little")  # says that the sheet has 60 bytes
    (tmp_path / "t.xlsx").write_bytes(raw)
    with pytest.raises(DataError, match="not a readable Excel workbook"):
        read_sheet(tmp_path / "t.xlsx")


def test_an_honest_table_keeps_every_cell_in_whatever_script(tmp_path: Path) -> None:
    words = ["a", "größe", "肺炎", "", "x" * 5000]
    lines = [f"{i},{words[i % 5]},{words[(i + 1) % 5]}" for i in range(3000)]
    (tmp_path / "t.csv").write_text("\n".join(["n,a,b", *lines]), encoding="utf-8")
    rows = read_sheet(tmp_path / "t.csv").rows
    assert len(rows) == 3000
    for i in (0, 1, 4, 1733, 2999):
        assert rows[i] == {"n": str(i), "a": words[i % 5], "b": words[(i + 1) % 5]}
    assert list(rows.column("n")) == [str(i) for i in range(3000)]


def test_a_text_in_many_pieces_takes_no_more_time_than_one_in_few(tmp_path: Path) -> None:
    pieces = "x</t><t>" * 130_000  # summing all of them for each took minutes
    path = book(
        tmp_path / "a.xlsx",
        iter([SHEET, "<row><c t='s'><v>0</v></c></row></sheetData>", "</worksheet>"]),
        pieces,
    )
    began = time.process_time()
    assert len(read_sheet(path).rows[0]["a"]) == 130_000
    assert time.process_time() - began < 20
