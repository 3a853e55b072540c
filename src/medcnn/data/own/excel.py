"""One sheet of an Excel workbook as the rows of text that its CSV would have.

It is read element by element (ECMA-376 part 1, 18), so that what is refused never fills memory. The
saved values of formulas are used; nothing is recalculated.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import join, normpath
from xml.parsers import expat

from medcnn.data.own import bounds
from medcnn.data.own.excel_sheets import sheet_rows, text_maker, unescaped
from medcnn.data.own.rows import Rows
from medcnn.data.own.xml_parts import XmlError, attribute, parse
from medcnn.system.errors import DataError, MedcnnError, UsageError
from medcnn.system.registry import nearest

EXCEL, OLD_EXCEL = b"PK\3\4", b"\xd0\xcf\x11\xe0"
MAX_DIRECTORY = 1 << 20
"""Bytes of the archive's list of files."""
# Numbers of the built-in formats for dates and times: 18.8.30.
_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
_BROKEN = (
    *(KeyError, ValueError, OSError, EOFError, RuntimeError, NotImplementedError, IndexError),
    *(zipfile.BadZipFile, zlib.error, struct.error, expat.ExpatError, XmlError),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A sheet: its name, its part of the archive, and whether it is visible."""

    name: str
    part: str
    visible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    archive: zipfile.ZipFile
    sheets: Sequence[_Place]
    since_1904: bool
    parts: Mapping[str, str]  # kind of part (`sharedStrings`, `styles`) -> where it is


def excel_rows(path: Path, sheet: str | None) -> bounds.Cells:
    """Row number, as Excel shows it, and cells of each row of one sheet.

    Args:
        sheet: None if there is only one.

    Raises:
        UsageError: no such sheet, or several and none named.
        DataError: not a workbook, a formula without a saved value, or too large.
    """
    try:
        with path.open("rb") as file:
            _refuse_directory(path)
            with zipfile.ZipFile(file) as archive:
                book = _book(path, archive)
                place = _chosen(path, book, sheet)
                texts, styles = _shared_texts(path, book), _styles(path, book)
                short: dict[str, str] = {}
                text = text_maker(book.since_1904, texts, styles, short)
                yield from sheet_rows(path, archive, place.part, text, short)
    except _BROKEN as error:
        if isinstance(error, MedcnnError):
            raise
        raise DataError(
            f"{path} is a zip archive, but not a readable Excel workbook ({error}); save the "
            "table as .xlsx or CSV."
        ) from error


def _refuse_directory(path: Path) -> None:
    """Raises DataError if the archive's list of files would fill memory (APPNOTE 4.3.16; zipfile
    refuses one that lies about its size)."""
    size = path.stat().st_size
    if size > bounds.MAX_TEXT_BYTES:
        bounds.refuse_text(path, size)
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at >= 0 and int.from_bytes(tail[at + 12 : at + 16], "little") > MAX_DIRECTORY:
        raise DataError(f"{path} is a zip archive with too many files for a workbook.")


def _book(path: Path, archive: zipfile.ZipFile) -> _Book:
    names = set(archive.namelist())
    if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
        kind = archive.read("mimetype").decode("latin-1")
        if "opendocument" in kind:
            raise DataError(f"{path} is an OpenDocument table; save it as .xlsx or CSV.")
    if any(name.endswith("workbook.bin") for name in names):
        raise DataError(f"{path} is a binary workbook (.xlsb); save the table as .xlsx or CSV.")
    top = next((t for t in _targets(path, archive, "_rels/.rels", "").values()), "xl/workbook.xml")
    if top not in names:
        inside = next((n for n in sorted(names) if n.lower().endswith((".csv", ".tsv"))), None)
        hint = "; unpack it" if inside else ""
        raise ValueError(f"it contains no {top}{hint}")
    folder, _, name = top.rpartition("/")
    kinds: dict[str, str] = {}
    where = _targets(path, archive, f"{folder}/_rels/{name}.rels", folder, kinds)
    sheets: list[_Place] = []
    old = []

    def begin(tag: str, given: Mapping[str, str]) -> None:
        if tag == "sheet":
            part = where.get(attribute(given, "id"), "")
            if "/worksheets/" in f"/{part}" and len(sheets) < 1000:
                shown = given.get("state", "visible") == "visible"
                sheets.append(_Place(name=given.get("name", ""), part=part, visible=shown))
        elif tag == "workbookPr" and given.get("date1904") in ("1", "true"):
            old.append(tag)

    parse(path, archive, top, begin)
    return _Book(archive=archive, sheets=sheets, since_1904=bool(old), parts=kinds)


def _targets(
    path: Path,
    archive: zipfile.ZipFile,
    part: str,
    folder: str,
    kinds: dict[str, str] | None = None,
) -> dict[str, str]:
    """Id -> part of the archive, for what a part refers to; without `kinds` only the workbook."""
    found: dict[str, str] = {}

    def begin(tag: str, given: Mapping[str, str]) -> None:
        kind, target = given.get("Type", "").rpartition("/")[2], given.get("Target", "")
        if tag != "Relationship" or len(found) > 10_000:
            return
        place = target[1:] if target.startswith("/") else normpath(join(folder, target))
        if kinds is None and kind != "officeDocument":
            return
        found[given.get("Id", "")] = place
        if kinds is not None:
            kinds.setdefault(kind, place)

    if part in archive.namelist():
        parse(path, archive, part, begin)
    return found


def _chosen(path: Path, book: _Book, asked: str | None) -> _Place:
    of_name = {place.name: place for place in book.sheets}
    if asked is not None:
        if asked not in of_name:
            raise UsageError(
                f"data.sheet={asked}: {path} has no such sheet{nearest(asked, of_name)} Its "
                f"sheets: {', '.join(of_name)}."
            )
        return of_name[asked]
    filled = [p for p in book.sheets if p.visible and _is_filled(path, book, p)]
    if not filled:
        raise DataError(f"{path} has only empty sheets.")
    if len(filled) > 1:
        fullest = max(filled, key=lambda p: book.archive.getinfo(p.part).file_size)
        raise UsageError(
            f"{path} has several sheets: {', '.join(p.name for p in filled)}. Choose one: "
            f"data.sheet='{fullest.name}'."
        )
    return filled[0]


class _Found(Exception):  # noqa: N818
    """The sheet has a value."""


def _is_filled(path: Path, book: _Book, place: _Place) -> bool:
    def begin(tag: str, given: Mapping[str, str]) -> None:
        if tag in ("v", "t", "f"):
            raise _Found

    try:
        parse(path, book.archive, place.part, begin)
    except _Found:
        return True
    return False


def _shared_texts(path: Path, book: _Book) -> Rows:
    """The texts that cells refer to by number, joined from their pieces, without the phonetic hints
    (rPh)."""
    texts = Rows(("text",))
    piece: list[str] = []
    state = [0, 0]  # whether a text is open; depth of rPh
    held = 0

    def begin(tag: str, given: Mapping[str, str]) -> None:
        if tag == "t":
            state[0] = 1
        elif tag == "rPh":
            state[1] += 1

    def end(tag: str) -> None:
        nonlocal held
        if tag == "t":
            state[0] = 0
        elif tag == "rPh":
            state[1] -= 1
        elif tag == "si":
            text = unescaped("".join(piece))
            texts.append((text,))
            bounds.refuse_text(path, texts.bytes_held)
            if len(texts) > bounds.MAX_CELLS:
                bounds.refuse_rows(path, len(texts))
            piece.clear()
            held = 0

    def characters(text: str) -> None:
        nonlocal held
        if state[0] and not state[1]:
            piece.append(text)
            held += len(text)
            bounds.refuse_cell(path, len(texts), held)

    part = book.parts.get("sharedStrings")
    if part in book.archive.namelist():
        parse(path, book.archive, str(part), begin, end, characters)
    texts.close()
    return texts


def _styles(path: Path, book: _Book) -> list[str | int | None]:
    """For each cell style: "date", the number of digits to which numbers are padded with zeros, or
    None."""
    codes: dict[str, str] = {}
    styles: list[str | int | None] = []
    inside = []

    def begin(tag: str, given: Mapping[str, str]) -> None:
        if tag == "numFmt":
            codes[given.get("numFmtId", "")] = given.get("formatCode", "")[:500]
        elif tag == "cellXfs":
            inside.append(tag)
        elif tag == "xf" and inside:
            styles.append(_meaning(given.get("numFmtId", "0"), codes))
        if len(codes) > 1 << 16 or len(styles) > 1 << 16:
            raise XmlError("it has too many styles")

    def end(tag: str) -> None:
        if tag == "cellXfs":
            inside.clear()

    part = book.parts.get("styles")
    if part in book.archive.namelist():
        parse(path, book.archive, str(part), begin, end)
    return styles


def _meaning(number: str, codes: Mapping[str, str]) -> str | int | None:
    code = codes.get(number)
    if code is None:
        return "date" if number.isdigit() and int(number) in _DATES else None
    bare = re.sub(r'"[^"]*"|\\.|_.|\*.|\[(?!h|m|s)[^\]]*\]', "", code, flags=re.IGNORECASE)
    if re.search("[dmyhs]", bare.split(";")[0], re.IGNORECASE) and "0" not in bare.split(".")[0]:
        return "date"
    return len(code) if code and set(code) == {"0"} else None
