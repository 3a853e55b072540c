"""What a folder of segments contains for the files of a set; see `segments`."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.images import file_part
from medcnn.pixels.decoder import Recipe, Seen, seen
from medcnn.pixels.segments import NOWHERE, Segments, Stored, path_key, stored_in
from medcnn.system.errors import DataError
from medcnn.system.progress import log

NOT_SEEN: Seen = (-1, -1, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is made from each image of a set, and where it is kept.

    Attributes:
        item_bytes: size of the product of one image.
        title: what the terminal calls it before it is made; empty: no message.
    """

    recipe: Recipe
    folder: Path
    item_bytes: int
    title: str = ""


class Shelf:
    """Where the products for the rows of a set are.

    Attributes:
        segments: what contains them.
        places: [N, 2] segment and slot of each row; -1 if it has none.
        crcs: [N] CRC-32 of the product.
        states: [N, 3] size and times of the file when it was read.
        missing: row -> the product of an older state of its file, or None.
        unreadable: row -> why it must not be used, and what was made from it all the same.
    """

    def __init__(self, part: Part, paths: Sequence[str]) -> None:
        self.part, count = part, len(paths)
        self.keys = [path_key(path) for path in paths]
        self.places = np.full((count, 2), NOWHERE, np.int64)
        self.crcs = np.zeros(count, np.uint32)
        self.states = np.full((count, 3), NOT_SEEN, np.int64)
        self.unreadable: dict[int, tuple[str, bytes]] = {}

    def look_up(self, states: Sequence[Seen | None]) -> None:
        """Find the products of files in these states; raises OSError if they cannot be read."""
        self.segments = Segments(self.part.folder, self.part.item_bytes)
        rows_of: dict[bytes, list[int]] = {}
        for row, key in enumerate(self.keys):
            rows_of.setdefault(key, []).append(row)
        self.states[:] = [state or NOT_SEEN for state in states]
        self.places[:] = NOWHERE
        older: dict[int, Stored] = {}
        for stored in stored_in(self.part.folder):
            for row in rows_of.get(stored.path, ()):
                if self.segments.number(stored) == NOWHERE:
                    continue
                if stored.seen == states[row]:
                    self.put(row, stored)
                else:
                    older[row] = stored
        rows = np.flatnonzero(self.places[:, 0] == NOWHERE).tolist()
        self.missing = {row: older.get(row) for row in rows}

    def put(self, row: int, stored: Stored) -> None:
        self.places[row] = (self.segments.number(stored), stored.slot)
        self.crcs[row], self.states[row] = stored.crc, stored.seen

    def read(self, row: int, into: NDArray[np.uint8]) -> bool:
        """Fill `into`; False if the product is missing or damaged."""
        number, slot = self.places[row].tolist()
        whole = number != NOWHERE and self.segments[number].read(slot, into)
        return bool(whole) and zlib.crc32(into.data) == self.crcs[row]

    def mend(self, rows: Sequence[int], made: NDArray[np.uint8]) -> None:
        """Replace damaged products with those that were made again for all rows; what cannot be
        replaced is made again next time."""
        for row in rows:
            number, slot = self.places[row].tolist()
            if number != NOWHERE and zlib.crc32(made[row].data) == self.crcs[row]:
                with suppress(OSError):
                    self.segments[number].mend(slot, made[row].tobytes())

    def announce(self) -> None:
        """Say how much will be written; raises DataError if the disk has no room for it."""
        if not self.part.title or not self.missing:
            return
        needed, folder = len(self.missing) * self.part.item_bytes, self.part.folder
        log.info(
            f"{self.part.title}: {len(self.missing):,} of {len(self.keys):,} images to decode, "
            f"{size(needed)} in {folder} (safe to delete at any time)"
        )
        free = shutil.disk_usage(folder).free
        if needed > free * 0.95:
            raise DataError(
                f"the {self.part.title} needs {size(needed)}, but {folder} has {size(free)} free. "
                f"{INSTEAD}"
            )


INSTEAD = (
    "Name a folder on another disk with data.cache=FOLDER, keep the pixels in memory with "
    "data.cache=off, or use a smaller data.size_px."
)


def states_of(root: Path, paths: Sequence[str]) -> list[Seen | None]:
    """The state of each file, or None if it does not exist."""
    found: dict[str, Seen | None] = {}
    for path in paths:
        file = file_part(path)
        if file not in found:
            try:
                found[file] = seen(root / file)
            except OSError:
                found[file] = None
    return [found[file_part(path)] for path in paths]


def size(count: int) -> str:
    """Bytes in the largest fitting unit, so that a small set does not need 0.0 GB."""
    unit, of = ("GB", 1e9) if count >= 1e9 else ("MB", 1e6) if count >= 1e6 else ("kB", 1e3)
    return f"{count / of:,.1f} {unit}"
