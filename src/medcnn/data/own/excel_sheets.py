"""From the XML of one sheet to rows of text (ECMA-376 part 1, 18.3)."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from medcnn.data.own import bounds
from medcnn.data.own.cells import date_of, text_of
from medcnn.data.own.rows import Rows
from medcnn.data.own.xml_parts import XmlError, fed
from medcnn.system.errors import DataError

LAST_ROW, LAST_COLUMN = 1_048_576, 16_384
# A row as most programs write it: only cells with a number, the number of a shared text, or a plain
# text. Each event of expat costs a Python call, a regular expression none.
_ROW_TAG = r'<row r="([0-9]{1,7})"(?: [A-Za-z0-9:]+="[^<>&"]*")*>'
_PLAIN_ROW = re.compile(_ROW_TAG)
_PLAIN_TEXT = "([ -%'-;=?-~]*)"
_PLAIN_CELL = re.compile(
    r'<c r="([A-Z]{1,3})[0-9]+"(?: s="([0-9]+)")?(?: t="([A-Za-z]+)")?'
    rf"(?:/>|><v>{_PLAIN_TEXT}</v></c>|><is><t>{_PLAIN_TEXT}</t></is></c>)"
)
_GROUPS = _PLAIN_CELL.groups + 1
# Numbers that are written as Python would write them: `text_of` would only copy them.
_OWN_TEXT = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,3}[1-9])?").fullmatch
_END = "</row>"
# Letters, style and kind of a cell, and whether its text is in `<is>`.
_Cell = tuple[str, str | None, str | None, bool]


class _Shape:
    """One regular expression for a whole row, whose cells are like those of earlier rows.

    The rows of a table have the same columns, each with one style and one kind, and some cells are
    missing. So a row is one call, where `_PLAIN_CELL` makes six texts for each cell.
    """

    MAX_COLUMNS, MAX_SHAPES = 512, 16  # of a table where every row is different

    def __init__(self) -> None:
        self.kinds: list[tuple[str, str | None, str | None]] = []  # letters, style, kind
        self.match: Callable[[str], re.Match[str] | None] = lambda _: None
        self._cells: dict[int, _Cell] = {}
        self._made = 0

    def learn(self, row: dict[int, _Cell]) -> None:
        """Take the cells of a row by their columns."""
        cells = self._cells | row
        width = max(cells, default=0)
        if cells == self._cells or self._made == self.MAX_SHAPES or width > self.MAX_COLUMNS:
            return
        self._made += 1
        self._cells = cells
        absent = ("", None, None, False)
        ordered: list[_Cell] = [cells.get(column, absent) for column in range(1, width + 1)]
        self.kinds = [cell[:3] for cell in ordered]
        self.match = re.compile("".join((_ROW_TAG, *map(_cell, ordered), _END))).fullmatch


def _cell(cell: _Cell) -> str:
    """A pattern with one group, the text."""
    letters, style, kind, inside = cell
    if not letters:
        return "()"
    given = (f' s="{style}"' if style else "") + (f' t="{kind}"' if kind else "")
    before, after = ("<is><t>", "</t></is>") if inside else ("<v>", "</v>")
    return f'(?:<c r="{letters}[0-9]+"{given}(?:/>|>{before}{_PLAIN_TEXT}{after}</c>))?'


class SheetRows:
    """Collects the rows of a sheet, cell by cell.

    Attributes:
        ready: line and cells of complete rows; the caller removes them.
    """

    def __init__(
        self, path: Path, text: Callable[[str, str, str, str], str], known: Mapping[str, str]
    ) -> None:
        self.path, self._text, self._known = path, text, known
        self.ready: list[tuple[int, list[str]]] = []
        self._row: list[str] = []
        self._value: list[str] = []
        self._columns: dict[str, int] = {}  # of letters
        self._shape = _Shape()
        self._line = self._column = self._cells = self._held = 0
        self._kind = self._style = self._at = ""
        self._taken = self._formula = self._given = False

    def begin(self, tag: str, given: Mapping[str, str]) -> None:
        if tag == "c":
            self._kind, self._style = given.get("t", "n"), given.get("s", "")
            self._at = given.get("r", "")
            self._column = _column(self._at) if self._at else self._column + 1
            self._formula = self._given = False
            self._count(1)
        elif tag == "v" or tag == "t":
            self._taken = self._given = True
        elif tag == "f":
            self._formula = True
        elif tag == "row":
            self._begin_row(int(given["r"]) if "r" in given else self._line + 1)
        elif tag == "rPh":
            self._taken = False

    def end(self, tag: str) -> None:
        if tag == "v" or tag == "t":
            self._taken = False
        elif tag == "c":
            # Excel saves an empty text as a value of type str
            saved = self._value or (self._given and self._kind == "str")
            if self._formula and not saved:
                raise DataError(
                    f"{self.path}:{self._line}: {self._at} is a formula without a saved value; "
                    "open the workbook, save it and run again, or save the table as CSV."
                )
            if self._value:
                value = "".join(self._value)
                self._value.clear()
                self._held = 0
                self._put(self._column, self._text(value, self._kind, self._style, self._at))
        elif tag == "row" and self._row:
            self.ready.append((self._line, self._row))

    def characters(self, text: str) -> None:
        if self._taken:
            self._value.append(text)
            self._held += len(text)
            bounds.refuse_cell(self.path, self._line, self._held)

    def plain(self, raw: bytes) -> bool:
        """Take a row in the form of `_PLAIN_ROW`; False if it has another form.

        Args:
            raw: everything from the end of the previous row to the end of this one, inclusive.
        """
        written = raw.decode("latin-1")
        if len(raw) > bounds.MAX_CELL:
            return False
        try:
            found = self._shape.match(written)
            taken = self._shaped(*found.groups()) if found else self._unlike(written)
        except XmlError:
            return False  # expat will say where the fault is
        if taken and self._row:
            bounds.refuse_columns(self.path, self._line, len(self._row))
            self.ready.append((self._line, self._row))
        return taken

    def _shaped(self, line: str, *values: str | None) -> bool:
        """Take a row with these texts in the columns of the shape."""
        self._begin_row(int(line))
        self._count(len(values) - values.count(None))
        row, text_of, known = self._row, self._text, self._known
        for value, (letters, style, kind) in zip(values, self._shape.kinds, strict=True):
            if not value:
                row.append("")
            elif kind == "s" and value in known:
                row.append(known[value])
            elif kind is style is None and _OWN_TEXT(value):
                row.append(value)
            else:
                row.append(text_of(value, kind or "n", style or "", letters))
        while row and not row[-1]:
            row.pop()
        return True

    def _unlike(self, written: str) -> bool:
        """Take a row unlike earlier ones, if its cells are plain; the next may be like it."""
        head = _PLAIN_ROW.match(written)
        if head is None:
            return False
        parts = _PLAIN_CELL.split(written[head.end() : -len(_END)])
        if any(parts[::_GROUPS]):  # text between plain cells
            return False
        self._begin_row(int(head[1]))
        self._count(len(parts) // _GROUPS)
        cells = {}
        for at in range(1, len(parts), _GROUPS):
            letters, style, kind, number, inside = parts[at : at + _GROUPS - 1]
            column = self._columns.get(letters) or self._columns.setdefault(
                letters, _column(letters)
            )
            cells[column] = (letters, style, kind, inside is not None)
            value = number or inside
            if value:
                self._put(column, self._text(value, kind or "n", style or "", letters))
        self._shape.learn(cells)
        return True

    def _begin_row(self, line: int) -> None:
        if not 0 < line <= LAST_ROW:
            raise DataError(f"{self.path}: row {line}, but Excel has at most {LAST_ROW:,}.")
        self._line, self._row, self._column = line, [], 0

    def _count(self, cells: int) -> None:
        self._cells += cells
        if self._cells > 2 * bounds.MAX_CELLS:
            bounds.refuse_rows(self.path, 1, self._cells)

    def _put(self, column: int, text: str) -> None:
        if text:
            bounds.refuse_columns(self.path, self._line, column)
            self._row.extend([""] * (column - len(self._row)))
            self._row[column - 1] = text


def sheet_rows(
    path: Path,
    archive: zipfile.ZipFile,
    part: str,
    text: Callable[[str, str, str, str], str],
    known: Mapping[str, str],
) -> bounds.Cells:
    """Row number, as Excel shows it, and cells of each row.

    Args:
        text: makes the text from a value, its kind, its style and its place.
        known: shared texts that `text` has already made, by their number.
    """
    sheet = SheetRows(path, text, known)
    handlers = (sheet.begin, sheet.end, sheet.characters)
    for _ in fed(path, archive, part, *handlers, lifted=(_END.encode(), sheet.plain)):
        yield from sheet.ready
        sheet.ready.clear()


def unescaped(text: str) -> str:
    """`_x000D_` is the character U+000D, which XML cannot hold, and `_x005F_` a `_` that begins no
    such code. (ECMA-376 part 1, 22.9.2.19, ST_Xstring; several in a row are UTF-16.)"""
    return _ESCAPED.sub(_characters, text) if "_x" in text else text


_ESCAPED = re.compile("(?:_x[0-9A-Fa-f]{4}_)+")


def _characters(found: re.Match[str]) -> str:
    units = found[0].replace("_x", "").replace("_", "")
    return bytes.fromhex(units).decode("utf-16-be", "replace")


def text_maker(
    since_1904: bool, texts: Rows, styles: Sequence[str | int | None], short: dict[str, str]
) -> Callable[[str, str, str, str], str]:
    """A function that makes the text from a value, its kind, its style and its place.

    Args:
        texts: texts that cells refer to by number.
        styles: "date", the number of digits to which numbers are padded with zeros, or None.
        short: receives short shared texts by their number; a label occurs in many rows.
    """

    def text(found: str, kind: str, style: str, at: str) -> str:
        if kind == "s":
            if found in short:
                return short[found]
            number = int(found)
            if not 0 <= number < len(texts):
                raise XmlError(f"{at} refers to a text that does not exist")
            shared = texts.cell(number, "text")
            if len(shared) < 256 and len(short) < 10_000:
                short[found] = shared
            return shared
        if kind == "b":
            return "TRUE" if found.strip() == "1" else "FALSE"
        if kind == "d":
            return text_of(datetime.fromisoformat(found.strip()))
        if kind != "n":
            return unescaped(found)
        meaning = styles[int(style)] if style.isdigit() and int(style) < len(styles) else None
        if meaning is None and found.isdigit() and len(found) < 16 and found[0] != "0":
            return found
        value = float(found)
        if meaning == "date":
            return text_of(date_of(value, since_1904=since_1904))
        plain = text_of(value)
        return plain.zfill(meaning) if isinstance(meaning, int) and plain.isdigit() else plain

    return text


def _column(reference: str) -> int:
    """1 of `A7`, 28 of `AB7`."""
    column = 0
    for letter in reference:
        if not letter.isalpha():
            break
        column = 26 * column + ord(letter) - 64
        if column > LAST_COLUMN:
            break
    if not 0 < column <= LAST_COLUMN:
        raise XmlError(f"{reference[:20]} is not a cell of a sheet")
    return column
