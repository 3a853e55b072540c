"""Decode once: all images of a manifest, preprocessed, in one array [N, C, H, W].

The array is kept as a memory-mapped file under a name that is a hash of the preprocessing and of
every file's path, size and time of change; the next run with the same images starts at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError, ImageError
from medcnn.files import cache_folder, replacing, write_text
from medcnn.images import file_part
from medcnn.images.preprocessing import Preprocessing
from medcnn.manifest import Manifest
from medcnn.progress import track

# Raised whenever the same file would give other pixels.
PIXELS_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelStore:
    """Preprocessed pixels of a manifest's records, in its order.

    Attributes:
        images: [N, C, H, W] uint8 or uint16, full range.
        unreadable: row -> reason; such a row holds zeros and must not be used.
    """

    images: NDArray[Any]
    unreadable: dict[int, str]

    def readable(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([r for r in rows if int(r) not in self.unreadable], dtype=np.int64)


def open_store(
    manifest: Manifest,
    preprocessing: Preprocessing,
    *,
    cache: str,
) -> PixelStore:
    """The pixels of `manifest`, from the cache where they are there already.

    Args:
        cache: `auto` (the user's cache folder), `off` (keep them in memory), or a folder.

    Raises:
        DataError: the disk has no room for the cache.
    """
    side = preprocessing.size_px
    shape = (len(manifest.records), preprocessing.channels, side, side)
    if cache == "off":
        images = np.zeros(shape, preprocessing.dtype)
        return PixelStore(images=images, unreadable=_fill(images, manifest, preprocessing))
    folder = cache_folder() / "pixels" if cache == "auto" else Path(cache)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_key(manifest, preprocessing)}.npy"
    receipt = path.with_suffix(".json")
    if not (path.is_file() and receipt.is_file()) or _mended(manifest, preprocessing, receipt):
        _refuse_full_disk(folder, int(np.prod(shape)) * np.dtype(preprocessing.dtype).itemsize)
        with replacing(path) as temporary:
            images = np.lib.format.open_memmap(temporary, "w+", preprocessing.dtype, shape)
            with temporary.open("r+b") as file:
                # a disk that fills up later would end the process instead of raising
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
            unreadable = _fill(images, manifest, preprocessing)
            images.flush()
        write_text(receipt, json.dumps({str(row): why for row, why in unreadable.items()}))
    stored = json.loads(receipt.read_text(encoding="utf-8"))
    return PixelStore(
        images=np.load(path, mmap_mode="r"), unreadable={int(k): v for k, v in stored.items()}
    )


def _fill(images: NDArray[Any], manifest: Manifest, preprocessing: Preprocessing) -> dict[int, str]:
    def decode(row: int) -> tuple[int, str]:
        try:
            images[row] = preprocessing.read(manifest.root, manifest.records[row].path)
        except ImageError as error:
            return row, str(error)
        return row, ""

    # Decoders let go of the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        done = track(pool.map(decode, range(len(images))), len(images), "decoding images")
        return {row: reason for row, reason in done if reason}


def _mended(manifest: Manifest, preprocessing: Preprocessing, receipt: Path) -> bool:
    """Whether an image that could not be read can be read now (a decoder was installed, a right
    was given): nothing in the file's size or time tells that."""
    for row in json.loads(receipt.read_text(encoding="utf-8")):
        try:
            preprocessing.read(manifest.root, manifest.records[int(row)].path)
        except ImageError:
            continue
        return True
    return False


def _key(manifest: Manifest, preprocessing: Preprocessing) -> str:
    digest = hashlib.sha256(json.dumps([PIXELS_VERSION, preprocessing.to_json()]).encode())
    stats: dict[str, tuple[int, int]] = {}
    for record in manifest.records:
        file = file_part(record.path)
        if file not in stats:
            try:
                found = (manifest.root / file).stat()
                stats[file] = (found.st_size, found.st_mtime_ns)
            except OSError:
                stats[file] = (-1, -1)
        digest.update(json.dumps([str(manifest.root), record.path, *stats[file]]).encode())
    return digest.hexdigest()[:32]


def _refuse_full_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free * 0.95:
        raise DataError(
            f"the pixel cache needs {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB "
            "free. Name a folder on another disk with data.cache=FOLDER, keep the pixels in memory "
            "with data.cache=off, or use a smaller data.size_px."
        )
