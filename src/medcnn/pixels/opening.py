"""Opens the pixels of a manifest: finds what a cache on disk has of them, and decodes the rest."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.manifest import Manifest
from medcnn.images import file_part
from medcnn.images.preprocessing import Preprocessing
from medcnn.pixels.decoder import Seen, decode, seen
from medcnn.pixels.pixel_store import NOWHERE, PixelStore
from medcnn.pixels.pool import Request
from medcnn.pixels.segments import Memory, Pixels, Stored, Writer, merge, path_key, stored_in
from medcnn.system.errors import DataError, private
from medcnn.system.files import cache_folder, cache_place, locked, own_folder
from medcnn.system.plugins import used
from medcnn.system.privacy import keyed
from medcnn.system.progress import log, track

# Raised whenever the same file would give other pixels.
PIXELS_VERSION = 5
# Each is a file that stays open; a set that grows by a build a day comes to that in two months.
MOST_SEGMENTS = 64
NOT_SEEN: Seen = (-1, -1, -1)


def open_store(manifest: Manifest, preprocessing: Preprocessing, *, cache: str) -> PixelStore:
    """The pixels of `manifest`, from the cache where they are there already.

    As many processes decode as torch has threads, so that one setting speaks for both.

    Args:
        cache: `auto` (the user's cache folder), `off` (keep them in memory), `known` (what lies in
            the user's cache folder from there, the others in memory: nothing is written), or a
            folder.

    Raises:
        DataError: the disk has no room for the cache, or it cannot be written.
    """
    opening = _Opening(manifest, preprocessing)
    if cache.lower() in OFF:
        return opening.in_memory()
    usual = cache in ("auto", "known")
    above = cache_folder() / "pixels" if usual else Path(cache).expanduser()
    if cache == "known" and not above.is_dir():
        return opening.in_memory()  # and no key is made for a cache that is not there
    folder = above / _name(manifest.root, preprocessing)
    if cache == "known":
        try:
            return opening.on_both(folder) if folder.is_dir() else opening.in_memory()
        except OSError:
            return opening.in_memory()
    try:
        if cache == "auto" and not folder.is_dir():
            cache_place("pixels")
        return opening.on_disk(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"the disk of {folder} is full. {_INSTEAD}") from error
        raise DataError(
            f"the pixel cache {folder} cannot be used: {error.strerror}. {_INSTEAD}"
        ) from error


# YAML reads a bare `off` as false
OFF = ("off", "false")
_INSTEAD = (
    "Name a folder on another disk with data.cache=FOLDER, keep the pixels in memory with "
    "data.cache=off, or use a smaller data.size_px."
)


class _Opening:
    """One call of `open_store`: which files there are, and what has been found of each."""

    def __init__(self, manifest: Manifest, preprocessing: Preprocessing) -> None:
        self.root, self.how = manifest.root, preprocessing
        self.paths = [r.path for r in manifest.records]
        side = preprocessing.size_px
        self.shape = (preprocessing.channels, side, side)
        self.image_bytes = int(np.prod(self.shape)) * preprocessing.dtype.itemsize
        self.places = np.full((len(self.paths), 2), NOWHERE, np.int64)
        self.crcs = np.zeros(len(self.paths), np.uint32)
        self.states = np.full((len(self.paths), 3), NOT_SEEN, np.int64)
        self.unreadable: dict[int, str] = {}

    def in_memory(self) -> PixelStore:
        images = np.zeros((len(self.paths), *self.shape), self.how.dtype)
        requests = [Request(row=i, path=p) for i, p in enumerate(self.paths)]
        for answer in self._decode(requests):
            if answer.why:
                self.unreadable[answer.row] = answer.why
            else:
                pixels = np.frombuffer(answer.pixels, self.how.dtype)
                images[answer.row] = pixels.reshape(self.shape)
                self.places[answer.row] = (0, answer.row)
                self.crcs[answer.row] = answer.crc
        return self._store([Memory(images)], np.ones(len(self.paths), np.bool_))

    def on_disk(self, folder: Path) -> PixelStore:
        """Raises OSError where the folder cannot be used."""
        self.keys = [path_key(p) for p in self.paths]
        missing = self._look_up(folder)
        if missing:
            self._build(folder, missing)
        return self._store(self.segments, np.zeros(len(self.paths), np.bool_))

    def on_both(self, folder: Path) -> PixelStore:
        """What lies in the folder from there, all else in memory: nothing is written. Raises
        OSError where the folder cannot be read."""
        self.keys = [path_key(p) for p in self.paths]
        missing = [replace(request, known=None) for request, _ in self._look_up(folder)]
        images = np.zeros((len(missing), *self.shape), self.how.dtype)
        checked = np.zeros(len(self.paths), np.bool_)
        slots = {request.row: slot for slot, request in enumerate(missing)}
        for answer in self._decode(missing) if missing else ():
            if answer.why:
                self.unreadable[answer.row] = answer.why
                continue
            slot = slots[answer.row]
            images[slot] = np.frombuffer(answer.pixels, self.how.dtype).reshape(self.shape)
            self.places[answer.row] = (len(self.segments), slot)
            self.crcs[answer.row], self.states[answer.row] = answer.crc, answer.seen
            checked[answer.row] = True
        return self._store([*self.segments, Memory(images)], checked)

    def _build(self, folder: Path, missing: list[tuple[Request, Stored | None]]) -> None:
        own_folder(folder)
        with _turn(folder) as alone:
            if alone and sum(1 for _ in folder.glob("*.rows")) > MOST_SEGMENTS:
                merge(folder, self.image_bytes)
            # another run may have decoded them while this one waited
            missing = self._look_up(folder)
            if not missing:
                return
            needed = len(missing) * self.image_bytes
            log.info(
                f"pixel cache: {len(missing):,} of {len(self.paths):,} images to decode, "
                f"{_size(needed)} in {folder} (safe to delete at any time)"
            )
            _refuse_full_disk(folder, needed)
            older = {request.row: stored for request, stored in missing if stored}
            new = len(self.segments)
            with Writer(folder) as writer:
                for answer in self._decode([request for request, _ in missing]):
                    row, self.states[answer.row] = answer.row, answer.seen
                    if answer.why:
                        self.unreadable[row] = answer.why
                    elif answer.same:
                        stored = replace(older[row], seen=answer.seen)
                        with suppress(OSError):  # then the file is hashed again next time
                            writer.confirm(stored)
                        self._place(row, self._number(stored, folder), stored)
                    else:
                        stored = Stored(
                            path=self.keys[row],
                            seen=answer.seen,
                            content=bytes.fromhex(answer.content),
                            crc=answer.crc,
                        )
                        self._place(row, new, writer.add(stored, answer.pixels))
        if writer.images:
            self.segments.append(Pixels(folder, writer.segment, self.image_bytes))

    def _look_up(self, folder: Path) -> list[tuple[Request, Stored | None]]:
        """Find what is there; returns what is not, with pixels of an older state of the file."""
        self.segments: list[Pixels] = []
        self.numbers: dict[bytes, int] = {}
        rows_of: dict[bytes, list[int]] = {}
        for row, key in enumerate(self.keys):
            rows_of.setdefault(key, []).append(row)
        states = self._states()
        self.states[:] = [state or NOT_SEEN for state in states]
        self.places[:] = NOWHERE
        older: dict[int, Stored] = {}
        for stored in stored_in(folder):
            for row in rows_of.get(stored.path, ()):
                number = self._number(stored, folder)
                if number == NOWHERE:
                    continue
                if stored.seen == states[row]:
                    self._place(row, number, stored)
                else:
                    older[row] = stored
        return [
            (
                Request(
                    row=row,
                    path=self.paths[row],
                    known=older[row].content.hex() if row in older else None,
                ),
                older.get(row),
            )
            for row in np.flatnonzero(self.places[:, 0] == NOWHERE).tolist()
        ]

    def _states(self) -> list[Seen | None]:
        found: dict[str, Seen | None] = {}
        for path in self.paths:
            file = file_part(path)
            if file not in found:
                try:
                    found[file] = seen(self.root / file)
                except OSError:
                    found[file] = None
        return [found[file_part(path)] for path in self.paths]

    def _place(self, row: int, number: int, stored: Stored) -> None:
        self.places[row] = (number, stored.slot)
        self.crcs[row] = stored.crc

    def _number(self, stored: Stored, folder: Path) -> int:
        """Of the segment that holds these pixels; NOWHERE if it is gone or cut off."""
        number = self.numbers.get(stored.segment, NOWHERE)
        if number == NOWHERE:
            try:
                self.segments.append(Pixels(folder, stored.segment, self.image_bytes))
            except FileNotFoundError:
                return NOWHERE
            number = self.numbers[stored.segment] = len(self.segments) - 1
        return number if stored.slot < self.segments[number].slots() else NOWHERE

    def _decode(self, requests: list[Request]) -> Iterator[Any]:
        answers = decode(requests, self.root, self.how, processes=torch.get_num_threads())
        return track(answers, len(requests), "decoding images")

    def _store(self, segments: Sequence[Pixels | Memory], checked: NDArray[np.bool_]) -> PixelStore:
        root, how, paths, states = self.root, self.how, self.paths, self.states

        def again(rows: list[int]) -> dict[int, bytes]:
            pixels = {}
            requests = [Request(row=row, path=paths[row]) for row in rows]
            for answer in decode(requests, root, how, processes=torch.get_num_threads()):
                row = answer.row
                fault = f"cannot be read any more: {answer.why}" if answer.why else ""
                if not fault and answer.seen != tuple(states[row].tolist()):
                    fault = "has changed since this run began. Run the same command again"
                if fault:
                    raise DataError(
                        f"{private(paths[row])}: its pixels in the cache are damaged, and the file "
                        f"{fault}."
                    )
                pixels[row] = answer.pixels
            return pixels

        return PixelStore(
            shape=self.shape,
            dtype=how.dtype,
            segments=segments,
            places=self.places,
            crcs=self.crcs,
            checked=checked,
            unreadable=dict(sorted(self.unreadable.items())),
            again=again,
        )


@contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    """One build at a time in a folder, so that runs that start together decode once; False where
    that cannot be had.

    Where files cannot be locked (some network drives) builds go on side by side: that costs time,
    each writes a segment of its own. Where none can be written, only a set with unreadable images
    comes here and has nothing to keep.
    """
    say = partial(log.info, "another run decodes for the same pixel cache; waiting for it")
    with ExitStack() as stack:
        alone = True
        try:
            stack.enter_context(locked(folder / ".lock", waiting=say))
        except OSError:
            alone = False
        yield alone


def _name(root: Path, preprocessing: Preprocessing) -> str:
    key = [PIXELS_VERSION, str(root.resolve()), preprocessing.to_json()]
    # another version of a package may make other pixels
    key += used(("steps", step["name"]) for step in preprocessing.steps)
    return keyed(json.dumps(key), "pixels").hex()


def _refuse_full_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free * 0.95:
        raise DataError(
            f"the pixel cache needs {_size(needed)} and {folder} has {_size(free)} free. {_INSTEAD}"
        )


def _size(count: int) -> str:
    """Bytes in the largest unit of which there is one, so that no small set needs 0.0 GB."""
    unit, of = ("GB", 1e9) if count >= 1e9 else ("MB", 1e6) if count >= 1e6 else ("kB", 1e3)
    return f"{count / of:,.1f} {unit}"
