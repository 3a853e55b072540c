"""Reads XML in a zip archive element by element and with limits: a document of a few kB may be
endless, deeper than the stack, or a single token of a gigabyte."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.parsers import expat

from medcnn.system.errors import DataError

MAX_XML_BYTES, MAX_ELEMENTS, MAX_DEPTH, MAX_TOKEN = 1_000_000_000, 120_000_000, 64, 4 << 20
PIECE = 1 << 14

Begin = Callable[[str, Mapping[str, str]], None]
End = Callable[[str], None]
Characters = Callable[[str], None]


class XmlError(ValueError):
    """Something is wrong with a document."""


def parse(
    path: Path,
    archive: zipfile.ZipFile,
    part: str,
    begin: Begin,
    end: End | None = None,
    characters: Characters | None = None,
) -> None:
    """Run `fed` to its end."""
    for _ in fed(path, archive, part, begin, end, characters):
        pass


def fed(
    path: Path,
    archive: zipfile.ZipFile,
    part: str,
    begin: Begin,
    end: End | None = None,
    characters: Characters | None = None,
    lifted: tuple[bytes, Callable[[bytes], bool]] | None = None,
) -> Iterator[None]:
    """Read a part piece by piece, and pause after each.

    Args:
        lifted: an end tag, and a function that receives each stretch up to one and returns whether
            it has taken it.
        begin: receives the name of an element, without its prefix, and its attributes.
        end: receives the same name.
        characters: receives the text between, in pieces.

    Raises:
        XmlError: too deep, declares a type (entities may expand endlessly), or has an endless
            token.
        DataError: too large for a table.
    """
    info = archive.getinfo(part)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise XmlError(f"{part} uses a compression that Excel does not use")
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = elements = size = parsed = 0
    bare: dict[str, str] = {}

    def on_begin(tag: str, given: dict[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > MAX_DEPTH:
            raise XmlError(f"{part} is nested more than {MAX_DEPTH} deep")
        name = bare.get(tag)
        if name is None:
            if len(bare) > 1000:
                raise XmlError(f"{part} has too many kinds of elements")
            name = bare[tag] = tag.rpartition(":")[2]
        begin(name, given)

    def on_end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        if end is not None:
            end(bare[tag])

    def refuse_type(*_: object) -> None:
        raise XmlError(f"{part} declares a document type, unlike any workbook")

    parser.StartElementHandler = on_begin
    parser.EndElementHandler = on_end
    parser.StartDoctypeDeclHandler = refuse_type
    if characters is not None:
        parser.CharacterDataHandler = characters

    def parse_piece(piece: bytes) -> None:
        nonlocal parsed
        parsed += len(piece)
        parser.Parse(piece)
        if parsed - parser.CurrentByteIndex > MAX_TOKEN:
            raise XmlError(f"{part} has a token without an end")

    through = _Lifting(*lifted, parse_piece).take if lifted else parse_piece
    with archive.open(info) as file:
        while piece := file.read(PIECE):
            size += len(piece)
            through(piece)
            if size > MAX_XML_BYTES or elements > MAX_ELEMENTS:
                raise DataError(
                    f"{path}: {part} unpacks to more than the limit for tables; leave out the "
                    "columns and rows that are not needed."
                )
            yield
    through(b"")
    parser.Parse(b"", True)
    yield


class _Lifting:
    """Passes pieces on to expat, except whole elements that another function takes.

    After a comment, CDATA section or instruction, which may hide an end tag, nothing is lifted any
    more; nor if no end tag is found, as in UTF-16.
    """

    def __init__(
        self, end: bytes, takes: Callable[[bytes], bool], parse: Callable[[bytes], None]
    ) -> None:
        self._end, self._takes, self._parse = end, takes, parse
        self._rest: bytes | None = b""  # after the last end tag; None: nothing is lifted any more

    def take(self, piece: bytes) -> None:
        """An empty piece is the last."""
        if self._rest is None:
            self._parse(piece)
            return
        *stretches, self._rest = (self._rest + piece).split(self._end)
        for number, stretch in enumerate(stretches):
            stretch += self._end
            if self._takes(stretch):
                continue
            # a document begins with an instruction, perhaps after a byte order mark
            if b"<!" in stretch or b"<?" in stretch[4:]:
                rest = self._end.join((*stretches[number + 1 :], self._rest))
                self._rest = None
                self._parse(stretch + rest)
                return
            self._parse(stretch)
        if not piece or len(self._rest) > MAX_TOKEN:
            rest, self._rest = self._rest, None
            self._parse(rest)


def attribute(given: Mapping[str, str], name: str) -> str:
    """An attribute by its name without its prefix: `r:id` of a sheet."""
    return next((v for k, v in given.items() if k.rpartition(":")[2] == name), "")
