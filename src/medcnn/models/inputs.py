"""What a model is given: a folder, a file, files or pixels -> a manifest and its pixels."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.data.own.image_files import IMAGE_SUFFIXES, ending, is_image, walked
from medcnn.images.preprocessing import Preprocessing
from medcnn.pixels.opening import open_store
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.segments import Memory
from medcnn.system.errors import UsageError
from medcnn.system.progress import log

Source = str | os.PathLike[str] | NDArray[Any] | Sequence[Any]
# Bounds memory: a folder may hold any number of images, of any size.
BYTES_AT_ONCE = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Some images of a manifest with their preprocessed pixels."""

    manifest: Manifest
    store: PixelStore
    rows: NDArray[np.int64]


def read_inputs(source: Source, labels: LabelSpace, how: Preprocessing) -> Iterator[Images]:
    """The images of `source` in their order, in parts that fit into memory.

    Raises:
        UsageError: there is nothing to read, or pixels have a form that `Model.predict` refuses.
    """
    if isinstance(source, str | os.PathLike):
        if not Path(source).exists():
            raise UsageError(f"{source}: no such file or folder.")
        root, paths = images_in(Path(source))
        yield from files_of(root, paths, labels, how)
        return
    items = _one_by_one(source) if isinstance(source, np.ndarray) else source
    if not len(items):
        raise UsageError("no images were given: the list or the array is empty.")
    files = [_without_steps_up(Path(i)) for i in items if isinstance(i, str | os.PathLike)]
    if len(files) == len(items):
        if missing := [str(f) for f in files if not f.is_file()]:
            raise UsageError(f"{len(missing)} of {len(files)} files not found: {missing[0]}.")
        root = Path(os.path.commonpath([f.parent for f in files]))
        paths = [f.relative_to(root).as_posix() for f in files]
        yield from files_of(root, paths, labels, how)
    else:
        yield pixels_of([np.asarray(item) for item in items], labels, how)


def _without_steps_up(file: Path) -> Path:
    """Absolute, with the same names, unless `..` is among them: behind a link, it leads elsewhere
    than the names say."""
    return file.parent.resolve() / file.name if ".." in file.parts else file.absolute()


# Tables and texts beside images are counted in one line. Every other file may have been meant as an
# image, and gets a row.
BESIDE = frozenset(
    (
        *(".csv", ".tsv", ".tab", ".txt", ".xls", ".xlsx", ".xlsm", ".ods", ".parquet", ".json"),
        *(".xml", ".yaml", ".yml", ".md", ".rst", ".html", ".htm", ".css", ".log", ".ini"),
        *(".md5", ".sha1", ".sha256", ".py", ".ipynb", ".sh", ".bat", ".lnk"),
    )
)
TEXTS = frozenset({"readme", "license", "licence", "copying", "md5sums", "sha256sums", "checksums"})


def images_in(source: Path) -> tuple[Path, list[str]]:
    """The root and the paths of all files below it that may be images, sorted; or the one file.

    A file that is not an image gets a row that says so: it may have been meant as one.
    """
    if source.is_file():
        return source.parent, [source.name]
    files = sorted(walked(source))
    found = [p for p in files if not _stands_beside(p)]
    if len(found) < len(files):
        beside = len(files) - len(found)
        log.info(f"tables and texts left out: {beside:,}")
    if not any(_is_image(source, p) for p in found):
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise UsageError(f"input={source} contains no image (looked for {endings}).")
    return source, found


def _is_image(root: Path, path: str) -> bool:
    """Also a pipe or a broken link with the name of one: it gets a row that says so."""
    named = ending(path) in IMAGE_SUFFIXES
    return named or ((root / path).is_file() and is_image(root, path))


def _stands_beside(path: str) -> bool:
    name = PurePosixPath(path.lower())
    return name.suffix in BESIDE or name.name in TEXTS


def files_of(
    root: Path, paths: Sequence[str], labels: LabelSpace, how: Preprocessing
) -> Iterator[Images]:
    """Files below `root`, as many at a time as fit into memory."""
    at_once = max(64, BYTES_AT_ONCE // (how.channels * how.size_px**2 * how.dtype.itemsize))
    for first in range(0, len(paths), at_once):
        manifest = unlabelled(root, paths[first : first + at_once], labels)
        store = open_store(manifest, how, cache="known")
        yield Images(manifest=manifest, store=store, rows=np.arange(len(manifest.records)))


def unlabelled(root: Path, paths: Sequence[str], labels: LabelSpace) -> Manifest:
    """New images as a manifest: nothing was assessed, and each is its own group."""
    target = labels.not_assessed
    records = (Record(image_id=p, path=p, group=p, target=target) for p in paths)
    return Manifest(
        source=str(root), root=root, labels=labels, records=tuple(records), group_noun="image"
    )


def pixels_of(images: Sequence[NDArray[Any]], labels: LabelSpace, how: Preprocessing) -> Images:
    """Pixels that are in memory already; they are preprocessed like those of a file."""
    names = [str(number) for number in range(len(images))]
    faults = [
        f"image {n}: {fault}" for n, i in zip(names, images, strict=True) if (fault := _fault(i))
    ]
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise UsageError("; ".join(faults[:5]) + more + ".")
    done = np.stack([how.apply(full_range(image)) for image in images])
    manifest = unlabelled(Path(), names, labels)
    rows = np.arange(len(names))
    store = PixelStore(
        shape=done.shape[1:],
        dtype=how.dtype,
        segments=[Memory(done)],
        places=np.stack([np.zeros_like(rows), rows], axis=1),
        crcs=np.array([zlib.crc32(image.data) for image in done], np.uint32),
        checked=np.ones(len(rows), np.bool_),
        unreadable={},
        again=_lost,
    )
    return Images(manifest=manifest, store=store, rows=rows)


def _lost(_: list[int]) -> dict[int, bytes]:
    raise AssertionError("pixels in memory are never read again")


def _one_by_one(pixels: NDArray[Any]) -> list[NDArray[Any]]:
    """[H, W] and [H, W, C] are one image, [N, H, W, C] are N."""
    if pixels.ndim == 4:
        return list(pixels)
    if pixels.ndim == 3 and pixels.shape[2] not in CHANNELS:
        raise UsageError(
            f"pixels of shape {pixels.shape} are neither [H, W, C] with 1 or 3 channels nor "
            "[N, H, W, C]; for grey images without channels, add an axis: pixels[..., None]."
        )
    return [pixels]


CHANNELS = (1, 3)


def _fault(image: NDArray[Any]) -> str:
    """What is wrong with the pixels of one image; empty if nothing is."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in CHANNELS):
        return f"shape {image.shape} is neither [H, W] nor [H, W, 1 or 3]"
    if not image.size:
        return f"shape {image.shape} contains no pixel"
    if image.dtype in (np.uint8, np.uint16):
        return ""
    if image.dtype.kind != "f":
        return f"pixels must be uint8, uint16 or floats in 0..1, found {image.dtype}"
    if not np.isfinite(image).all():
        return "not every pixel is a finite number"
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        return f"floats must lie in 0..1, found {low:.3g} to {high:.3g}"
    return ""


def full_range(image: NDArray[Any]) -> NDArray[Any]:
    """[H, W, C] uint8 or uint16 over its full range. Floats that came from 8 bits become those bits
    again, so that they are resized like the file; others get 16."""
    if image.dtype.kind == "f":
        scaled = image.astype(np.float64) * 255
        eight = np.abs(scaled - np.rint(scaled)).max() < 1e-3
        image = np.rint(scaled if eight else scaled * 257).astype(np.uint8 if eight else np.uint16)
    return image[..., None] if image.ndim == 2 else image
