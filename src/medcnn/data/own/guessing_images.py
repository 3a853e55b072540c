"""Which column names the images, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from medcnn.data.own.dicom_headers import digest
from medcnn.data.own.guesses import Column, Guess, Images, Sure
from medcnn.data.own.image_files import last_part
from medcnn.data.own.joining import FILE_NAME, below
from medcnn.data.own.sheets import Sheet
from medcnn.system.errors import DataError, listed, private


def guess_image(
    sheet: Sheet, columns: Mapping[str, Column], images: Images
) -> tuple[list[Guess], str]:
    """The column that names most images, once each; if several are equal, the finest."""
    best: tuple[float, list[Guess], str] = (0.0, [], "")
    if not images.paths:
        raise DataError(f"{images.root} contains no images.")
    ways: list[Callable[[Column, Images], tuple[float, list[Guess]]]] = [_by_path, _by_name]
    ways += [lambda c, i, t=tag: _by_tag(c, i, t) for tag in _FINEST_FIRST]  # type: ignore[misc]
    for way in ways:
        for column in columns.values():
            if column.counts:
                once = len(column.counts) / sum(column.counts.values())
                share, guesses = way(column, images)
                if share * once > best[0] + 0.05:
                    best = (share * once, guesses, column.name)
        if best[0] > 0.5:
            break  # cheapest first: a path needs no search, and a search by name no headers
    if best[0] < 0.1:
        shown = [
            f"{c.name} ({private(next(iter(c.counts)))})" for c in columns.values() if c.counts
        ]
        raise DataError(
            f"no column of {sheet.path.name} names the images under {images.root}; the first of "
            f"{len(images.paths):,} is {private(images.paths[0])}. Columns: {listed(shown, 8)}."
        )
    return best[1], best[2]


_FINEST_FIRST = ("SOPInstanceUID", "AccessionNumber", "StudyInstanceUID", "PatientID")


def _by_path(column: Column, images: Images) -> tuple[float, list[Guess]]:
    there = set(images.paths)
    cells = [c for c in column.cells if c]
    paths = (c.replace("\\", "/") for c in cells)
    hits = sum((below(images.root, path) or path) in there for path in paths)
    return hits / len(cells), [_image_guess(column, hits, "are paths of images")]


def _by_name(column: Column, images: Images) -> tuple[float, list[Guess]]:
    """By file name, with a folder and an extension if one of each fits all."""
    cells = [c for c in column.cells if c]
    found = {c: images.by_name[last_part(c)] for c in cells if last_part(c) in images.by_name}
    hits = sum(c in found for c in cells)
    if not hits:
        return 0.0, []
    around = {_around(c.replace("\\", "/"), p) for c, paths in found.items() for p in paths}
    one = around.pop() if len(around) == 1 else None
    if one is None:
        guess = _image_guess(
            column, hits, "are names of images, with several folders or extensions"
        )
        why = "files are searched for by name, in all folders"
        return hits / len(cells), [guess, Guess(setting="join", value=FILE_NAME, why=why)]
    folder, suffix = one
    guesses = [_image_guess(column, hits, f"are images in {folder or '.'}/")]
    if folder:
        guesses.append(
            Guess(setting="folder", value=folder, why="goes before the cell", sure=Sure.SURE)
        )
    if suffix:
        guesses.append(Guess(setting="suffix", value=suffix, why="is added", sure=Sure.SURE))
    return hits / len(cells), guesses


def _around(cell: str, path: str) -> tuple[str, str] | None:
    """Folder and extension that turn a cell into the path; None if more differs."""
    suffix = "" if path.endswith(cell) else PurePosixPath(path).suffix
    if not path.endswith(cell + suffix):
        return None
    folder = path.removesuffix(cell + suffix)
    return (folder.rstrip("/"), suffix) if not folder or folder.endswith("/") else None


def _by_tag(column: Column, images: Images, tag: str) -> tuple[float, list[Guess]]:
    cells = [c for c in column.cells if c]
    hits = sum(digest(c) in images.by_tag[tag] for c in cells) if images.by_tag[tag] else 0
    guess = replace(_image_guess(column, hits, f"are the {tag} of DICOM files"), example="")
    why = f"the tag {tag} of each file identifies its row"
    return hits / len(cells), [guess, Guess(setting="join", value=tag, why=why, sure=Sure.SURE)]


def _image_guess(column: Column, hits: int, what: str) -> Guess:
    cells = sum(column.counts.values())
    sure = Sure.SURE if hits == cells else Sure.LIKELY if hits > 0.9 * cells else Sure.CHECK
    example = next(iter(column.counts))
    why = f"{hits:,} of {cells:,} cells {what}"
    return Guess(setting="image", value=column.name, why=why, sure=sure, example=example)
