"""Opens the pixels of a manifest: finds them in a cache on disk, and decodes the rest."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Preprocessing
from medcnn.pixels.decoder import Made, Seen, decode, pixels_by
from medcnn.pixels.executors import Where
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.pool import Request
from medcnn.pixels.segments import NOWHERE, Memory, Pixels
from medcnn.pixels.shards import fill
from medcnn.pixels.shelves import INSTEAD, NOT_SEEN, Part, Shelf, states_of
from medcnn.system.errors import DataError, private
from medcnn.system.files import cache_folder, cache_place
from medcnn.system.plugins import used
from medcnn.system.privacy import keyed
from medcnn.system.progress import track

# Increased whenever the same file would give different pixels.
PIXELS_VERSION = 5


def open_store(
    manifest: Manifest, preprocessing: Preprocessing, *, cache: str, executor: Where = Where.HERE
) -> PixelStore:
    """The pixels of `manifest`, from the cache if possible.

    As many processes decode as torch has threads, so one setting controls both.

    Args:
        cache: `auto` (the user's cache folder), `off` (keep them in memory), `known` (read what is
            in the user's cache folder, keep the others in memory, write nothing), or a folder.
        executor: who decodes what goes to disk.

    Raises:
        DataError: the disk has no room for the cache, or the cache cannot be written.
    """
    opening = _Opening(manifest, preprocessing)
    if cache.lower() in OFF:
        return opening.in_memory()
    if cache == "known":
        if not (cache_folder() / "pixels").is_dir():
            return opening.in_memory()  # without creating a key for a cache that does not exist
        try:
            folder = folder_of(manifest.root, preprocessing, "auto")
            return opening.on_both(folder) if folder.is_dir() else opening.in_memory()
        except OSError:
            return opening.in_memory()
    with usable(folder := folder_of(manifest.root, preprocessing, cache)):
        if cache == "auto" and not folder.is_dir():
            cache_place("pixels")
        return opening.on_disk(folder, executor)


def pixel_shelves(manifest: Manifest, how: Preprocessing, cache: str) -> list[Shelf]:
    """What `open_store` with the same arguments will look for, to be filled in a pass that also
    serves something else; none for `off`."""
    if cache.lower() in OFF:
        return []
    with usable(folder := folder_of(manifest.root, how, cache)):
        if cache == "auto":
            cache_place("pixels")
        shelf = Shelf(pixels_part(folder, how), [r.path for r in manifest.records])
    return [shelf]


def folder_of(root: Path, preprocessing: Preprocessing, cache: str) -> Path:
    """The folder of the pixels; not valid for `off`."""
    above = cache_folder() / "pixels" if cache == "auto" else Path(cache).expanduser()
    key = [PIXELS_VERSION, str(root.resolve()), preprocessing.to_json()]
    # another version of a package may produce other pixels
    key += used(("steps", step["name"]) for step in preprocessing.steps)
    return above / keyed(json.dumps(key), "pixels").hex()


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Raises DataError if the pixel cache in `folder` cannot be read or written."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"the disk of {folder} is full. {INSTEAD}") from error
        raise DataError(
            f"the pixel cache {folder} cannot be used: {error.strerror}. {INSTEAD}"
        ) from error


# YAML reads a bare `off` as false
OFF = ("off", "false")


class _Opening:
    """One call of `open_store`: the files, and what was found for each."""

    def __init__(self, manifest: Manifest, preprocessing: Preprocessing) -> None:
        self.root, self.how = manifest.root, preprocessing
        self.paths = [r.path for r in manifest.records]
        self.unreadable: dict[int, str] = {}

    def in_memory(self) -> PixelStore:
        count = len(self.paths)
        places, crcs = np.full((count, 2), NOWHERE, np.int64), np.zeros(count, np.uint32)
        states = np.full((count, 3), NOT_SEEN, np.int64)
        memory = self._decoded(range(count), 0, places, crcs, states)
        return self._store([memory], places, crcs, states, np.ones(count, np.bool_))

    def on_disk(self, folder: Path, executor: Where) -> PixelStore:
        """Raises OSError if the folder cannot be used."""
        shelf = self._shelf(folder)
        if shelf.missing:
            threads = torch.get_num_threads()
            fill(self.root, self.paths, [shelf], processes=threads, executor=executor)
        self.unreadable = {row: why for row, (why, _) in shelf.unreadable.items()}
        checked = np.zeros(len(self.paths), np.bool_)
        return self._store(shelf.segments, shelf.places, shelf.crcs, shelf.states, checked)

    def on_both(self, folder: Path) -> PixelStore:
        """Read what is in the folder, keep the rest in memory, and write nothing. Raises OSError if
        the folder cannot be read."""
        shelf = self._shelf(folder)
        rows, number = list(shelf.missing), len(shelf.segments)
        memory = self._decoded(rows, number, shelf.places, shelf.crcs, shelf.states)
        checked = shelf.places[:, 0] == number
        segments = [*shelf.segments, memory]
        return self._store(segments, shelf.places, shelf.crcs, shelf.states, checked)

    def _shelf(self, folder: Path) -> Shelf:
        shelf = Shelf(pixels_part(folder, self.how), self.paths)
        shelf.look_up(states_of(self.root, self.paths))
        return shelf

    def _decoded(
        self,
        rows: Sequence[int],
        number: int,
        places: NDArray[np.int64],
        crcs: NDArray[np.uint32],
        states: NDArray[np.int64],
    ) -> Memory:
        """Pixels of these rows, as segment `number`; their places are written to the arrays."""
        shape = shape_of(self.how)
        images = np.zeros((len(rows), *shape), self.how.dtype)
        slots = {row: slot for slot, row in enumerate(rows)}
        answers = _decode(self.root, self.paths, rows, self.how)
        for row, state, made in track(answers, len(rows), "decoding images"):
            if made.why:
                self.unreadable[row] = made.why
                continue
            images[slots[row]] = np.frombuffer(made.data, self.how.dtype).reshape(shape)
            places[row], crcs[row], states[row] = (number, slots[row]), made.crc, state
        return Memory(images)

    def _store(
        self,
        segments: Sequence[Pixels | Memory],
        places: NDArray[np.int64],
        crcs: NDArray[np.uint32],
        states: NDArray[np.int64],
        checked: NDArray[np.bool_],
    ) -> PixelStore:
        root, how, paths = self.root, self.how, self.paths

        def again(rows: list[int]) -> dict[int, bytes]:
            pixels = {}
            for row, state, made in _decode(root, paths, rows, how):
                fault = f"can no longer be read: {made.why}" if made.why else ""
                if not fault and state != tuple(states[row].tolist()):
                    fault = "has changed since this run began. Run the same command again"
                if fault:
                    raise DataError(
                        f"{private(paths[row])}: its pixels in the cache are damaged, and the file "
                        f"{fault}."
                    )
                pixels[row] = made.data
            return pixels

        return PixelStore(
            shape=shape_of(how),
            dtype=how.dtype,
            segments=segments,
            places=places,
            crcs=crcs,
            checked=checked,
            unreadable=dict(sorted(self.unreadable.items())),
            again=again,
        )


def shape_of(how: Preprocessing) -> tuple[int, int, int]:
    return how.channels, how.size_px, how.size_px


def pixels_part(folder: Path, how: Preprocessing) -> Part:
    """The product of each image for the pixel cache in that folder."""
    return Part(
        recipe=pixels_by(how),
        folder=folder,
        item_bytes=int(np.prod(shape_of(how))) * how.dtype.itemsize,
        title="pixel cache",
    )


def _decode(
    root: Path, paths: Sequence[str], rows: Sequence[int], how: Preprocessing
) -> Iterator[tuple[int, Seen, Made]]:
    """Each row with the state of its file, and its pixels."""
    requests = [Request(row=row, path=paths[row]) for row in rows]
    recipes = [pixels_by(how)]
    for answer in decode(requests, root, recipes, processes=torch.get_num_threads()):
        (made,) = answer.made
        assert made is not None
        yield answer.row, answer.seen, made
