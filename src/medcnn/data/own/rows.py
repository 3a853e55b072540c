"""The cells of a table, kept as bytes: a table of nine million cells takes a tenth of the memory
that a dict per row would."""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np

from medcnn.data.own.words import HIDDEN, trimmed

# Cells and characters of a chunk: both limit the memory of the chunk being written. A chunk of long
# cells is compressed: a bomb repeats one text many times.
CHUNK_CELLS, CHUNK_CHARACTERS, PACKED_BYTES = 1 << 16, 1 << 22, 1 << 20


class Row(Mapping[str, str]):
    """Column -> stripped text, looked up on access."""

    __slots__ = ("_number", "_rows")

    def __init__(self, rows: Rows, number: int) -> None:
        self._rows, self._number = rows, number

    def __getitem__(self, column: str) -> str:
        return self._rows.cell(self._number, column)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.columns)

    def __len__(self) -> int:
        return len(self._rows.columns)

    def __repr__(self) -> str:
        return repr(dict(self))


class Rows(Sequence[Row]):
    """Rows that are appended once and then read, by number or in order.

    Attributes:
        bytes_held: of text, before it is packed.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.bytes_held = 0
        self._place = {c: i for i, c in enumerate(self.columns)}
        self._starts: list[int] = []  # number of the first row of each chunk
        self._chunks: list[tuple[bytes, bool]] = []  # text, and whether it is compressed
        self._ends: list[array[int]] = []  # 0, and where each cell of a chunk ends
        self._open: list[str] = []  # cells that are not in a chunk yet
        self._open_texts: list[str] = []  # the same, joined for each row
        self._open_characters = self._count = 0
        self._unpacked: tuple[int, bytes] = (-1, b"")
        # column -> chunk of the last access, and its cells after two accesses in a row
        self._recent: dict[str, tuple[int, list[str] | None]] = {}

    def append(self, cells: Sequence[str]) -> None:
        """Add a row with one cell per column."""
        text = "".join(cells)
        self._open += cells
        self._open_texts.append(text)
        self._open_characters += len(text)
        self._count += 1
        if len(self._open) >= CHUNK_CELLS or self._open_characters >= CHUNK_CHARACTERS:
            self.close()

    def close(self) -> None:
        """Finish appending; rows can be read only after this."""
        if not self._open:
            return
        cells, text = self._open, "".join(self._open_texts)
        self._open, self._open_texts, self._open_characters = [], [], 0
        if not text.isascii() and HIDDEN.search(text):
            cells = [trimmed(cell) for cell in cells]
            text = "".join(cells)
        whole = text.encode("utf-8", "surrogatepass")
        sizes = np.fromiter(map(len, cells), np.uintc, len(cells))
        if len(whole) != len(text):
            plain = np.fromiter(map(str.isascii, cells), np.bool_, len(cells))
            for at in np.flatnonzero(~plain):
                sizes[at] = len(cells[at].encode("utf-8", "surrogatepass"))
        ends = array("I", [0])
        ends.frombytes(sizes.cumsum(dtype=np.uintc).tobytes())
        self._starts.append(self._count - len(cells) // len(self.columns))
        self._ends.append(ends)
        packed = len(whole) > PACKED_BYTES
        self._chunks.append((zlib.compress(whole, 1) if packed else whole, packed))
        self.bytes_held += len(whole)

    def cell(self, number: int, column: str) -> str:
        chunk = bisect_right(self._starts, number) - 1
        recent, cells = self._recent.get(column, (-1, None))
        if recent != chunk:
            self._recent[column] = chunk, None
        elif cells is None:  # rows are read in order
            cells = self._cells(chunk, column)
            self._recent[column] = chunk, cells
        if recent == chunk and cells is not None:
            return cells[number - self._starts[chunk]]
        ends = self._ends[chunk]
        at = (number - self._starts[chunk]) * len(self.columns) + self._place[column]
        return self._text(chunk)[ends[at] : ends[at + 1]].decode("utf-8", "surrogatepass")

    def column(self, column: str) -> list[str]:
        """The cells of one column, from the first row to the last."""
        return [cell for chunk in range(len(self._ends)) for cell in self._cells(chunk, column)]

    def equal(self, one: int, other: int) -> bool:
        """Whether two rows have the same text in every cell."""
        return self._bytes(one) == self._bytes(other)

    def _bytes(self, number: int) -> tuple[bytes, list[int]]:
        """The text of a row, and where each cell in it ends."""
        chunk, width = bisect_right(self._starts, number) - 1, len(self.columns)
        at = (number - self._starts[chunk]) * width
        first, *ends = self._ends[chunk][at : at + width + 1]
        return self._text(chunk)[first : ends[-1]], [end - first for end in ends]

    def _cells(self, chunk: int, column: str) -> list[str]:
        """The cells of a column in a chunk; equal ones are one object."""
        text, ends, place = self._text(chunk), self._ends[chunk], self._place[column]
        known: dict[bytes, str] = {}
        cells = []
        for start, end in zip(
            ends[place : -1 : len(self.columns)], ends[place + 1 :: len(self.columns)], strict=True
        ):
            raw = text[start:end]
            cell = known.get(raw)
            if cell is None:
                cell = known[raw] = raw.decode("utf-8", "surrogatepass")
            cells.append(cell)
        return cells

    def _text(self, chunk: int) -> bytes:
        text, packed = self._chunks[chunk]
        if not packed:
            return text
        if self._unpacked[0] != chunk:
            self._unpacked = (chunk, zlib.decompress(text))
        return self._unpacked[1]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | Sequence[Row]:
        if isinstance(number, slice):
            return [Row(self, i) for i in range(*number.indices(self._count))]
        if not -self._count <= number < self._count:
            raise IndexError(number)
        return Row(self, number % self._count)
