"""Processor time and memory from a hospital's table of 300,000 rows to a manifest with splits.

    python benchmarks/tables.py [ROWS] > benchmarks/results/tables.json

30 columns, an image file a row, three images a patient, `data=table` with one attribute: as CSV, as
Parquet and as the workbook that Excel writes (texts shared, numbers in the cells). The files are
empty and hard links of a few; reading the table opens none. Each kind is read in a process of its
own:

    read        table and folder become a manifest, as the adapter gives it
    splits      patients are dealt out
    peak_mb     of the process after both, the libraries included; `libraries_mb` before them

`xml_only_s` is how long expat alone takes for the sheet and its texts, with handlers that do
nothing, and `csv_only_s` how long Python's csv takes for the rows.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

import numpy as np

from medcnn.data import adapters, splits

ROWS, IMAGES_OF_PATIENT, NUMBERS, WORDS = 300_000, 3, 15, 10
LINKS_OF_FILE = 30_000
"""Ext4 takes 65,000."""
COLUMNS = (
    *("image", "patient", "diagnosis", "age", "sex"),
    *(f"measure_{i}" for i in range(NUMBERS)),
    *(f"remark_{i}" for i in range(WORDS)),
)
VOCABULARY = (
    *("left", "right", "none", "unremarkable", "not recorded", "", "follow-up", "ward 3", "größer"),
    *("see earlier report", "2019-03-14", "outpatient", "device A", "device B", "pain", "moderate"),
)
OPTIONS = {
    "image": "image",
    "label": "diagnosis",
    "patient": "patient",
    "attributes": ["age"],
}
ENDINGS = ("csv", "parquet", "xlsx")


def rows_of(count: int) -> Iterator[list[str]]:
    draw = np.random.default_rng(0)
    for first in range(0, count, 10_000):
        n = min(10_000, count - first)
        numbers = draw.integers(0, 100_000, (n, NUMBERS)) / 10
        words = draw.integers(0, len(VOCABULARY), (n, WORDS))
        ill, ages, sexes = draw.random(n) < 0.2, draw.integers(18, 95, n), draw.integers(0, 2, n)
        for i in range(n):
            yield [
                f"img_{first + i:06d}.png",
                f"P{(first + i) // IMAGES_OF_PATIENT:06d}",
                "melanoma" if ill[i] else "nevus",
                str(ages[i]),
                "fm"[sexes[i]],
                *map(str, numbers[i]),
                *(VOCABULARY[w] for w in words[i]),
            ]


def write_images(folder: Path, count: int) -> None:
    for i in range(count):
        path = folder / f"img_{i:06d}.png"
        if i % LINKS_OF_FILE == 0:
            path.touch()
            original = path
        else:
            os.link(original, path)


def write_csv(path: Path, count: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows_of(count))


def write_parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = zip(*rows_of(count), strict=True)
    kept = {c: pa.array(cells) for c, cells in zip(COLUMNS, columns, strict=True)}
    numeric = [c for c in COLUMNS if c == "age" or c.startswith("measure_")]
    kept |= {c: kept[c].cast(pa.float64()) for c in numeric}
    parquet.write_table(pa.table(kept), path, row_group_size=100_000)


def letters(column: int) -> str:
    return chr(65 + column) if column < 26 else "A" + chr(65 + column - 26)


def write_xlsx(path: Path, count: int) -> None:
    """As Excel saves it. Its numbers are in the cells; each text stands once, apart."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    relation = '<Relationship Id="rId{}" Type="{}/{}" Target="{}"/>'

    def relations(*found: tuple[str, str]) -> str:
        inside = "".join(relation.format(i, office, *f) for i, f in enumerate(found, 1))
        return f'{head}<Relationships xmlns="{package}">{inside}</Relationships>'

    shared: dict[str, int] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as book:
        book.writestr("_rels/.rels", relations(("officeDocument", "xl/workbook.xml")))
        sheets = '<sheet name="Images" sheetId="1" r:id="rId1"/>'
        book.writestr(
            "xl/workbook.xml",
            f'{head}<workbook xmlns="{main}" xmlns:r="{office}">'
            f"<sheets>{sheets}</sheets></workbook>",
        )
        parts = (("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml"))
        book.writestr("xl/_rels/workbook.xml.rels", relations(*parts))
        with book.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(f'{head}<worksheet xmlns="{main}"><sheetData>'.encode())
            for line, cells in enumerate(sheet_rows(count), 1):
                row = [f'<row r="{line}" spans="1:{len(COLUMNS)}">']
                for column, cell in enumerate(cells):
                    at = f"{letters(column)}{line}"
                    if line > 1 and 3 <= column < 5 + NUMBERS and column != 4:
                        row.append(f'<c r="{at}"><v>{cell.removesuffix(".0")}</v></c>')
                    elif cell:
                        number = shared.setdefault(cell, len(shared))
                        row.append(f'<c r="{at}" t="s"><v>{number}</v></c>')
                sheet.write("".join((*row, "</row>")).encode())
            sheet.write(b"</sheetData></worksheet>")
        with book.open("xl/sharedStrings.xml", "w") as texts:
            texts.write(f'{head}<sst xmlns="{main}" uniqueCount="{len(shared)}">'.encode())
            for text in shared:
                texts.write(f"<si><t>{escape(text)}</t></si>".encode())
            texts.write(b"</sst>")


def sheet_rows(count: int) -> Iterator[list[str]]:
    yield list(COLUMNS)
    yield from rows_of(count)


WRITERS = dict(zip(ENDINGS, (write_csv, write_parquet, write_xlsx), strict=True))


def peak_mb() -> int:
    """Not `ru_maxrss`, which a process takes over from the larger one that started it."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) >> 10


def measured(folder: Path, ending: str) -> dict[str, float]:
    times = {"libraries_mb": float(peak_mb())}
    begun = time.process_time()
    manifest = adapters.read("table", folder / "images", {"table": f"../t.{ending}", **OPTIONS})
    times["read_s"] = time.process_time() - begun
    begun = time.process_time()
    manifest = splits.assign(manifest, validation=0.15, test=0.15, seed=0)
    times["splits_s"] = time.process_time() - begun
    times["peak_mb"] = peak_mb()
    times["images"] = len(manifest.records)
    return {name: round(value, 1) for name, value in times.items()}


def xml_only_s(path: Path) -> float:
    begun = time.process_time()
    with zipfile.ZipFile(path) as book:
        for part in ("xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"):
            parser = expat.ParserCreate()
            parser.buffer_text = True
            parser.StartElementHandler = lambda tag, given: None
            parser.EndElementHandler = lambda tag: None
            parser.CharacterDataHandler = lambda text: None
            with book.open(part) as file:
                parser.ParseFile(file)
    return round(time.process_time() - begun, 1)


def csv_only_s(path: Path) -> float:
    begun = time.process_time()
    with path.open(newline="", encoding="utf-8") as file:
        for _ in csv.reader(file):
            pass
    return round(time.process_time() - begun, 1)


def main() -> None:
    if sys.argv[1:2] == ["--read"]:
        print(json.dumps(measured(Path(sys.argv[2]), sys.argv[3])))
        return
    from medcnn.system.run_facts import versions  # loads torch, whose memory is not counted here

    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    kinds = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        write_images(folder / "images", count)
        for ending in ENDINGS:
            path = folder / f"t.{ending}"
            WRITERS[ending](path, count)
            command = [sys.executable, __file__, "--read", name, ending]
            found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            kinds[ending] = {"file_mb": round(path.stat().st_size / 1e6), **json.loads(found)}
        kinds["csv"]["csv_only_s"] = csv_only_s(folder / "t.csv")
        kinds["xlsx"]["xml_only_s"] = xml_only_s(folder / "t.xlsx")
    result = {
        "command": "python benchmarks/tables.py " + " ".join(sys.argv[1:]),
        "rows": count,
        "columns": len(COLUMNS),
        **kinds,
        "hardware": {"cpu_cores": os.cpu_count(), "machine": platform.machine()},
        "load_1min_at_end": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
