"""Guesses what columns or folders mean, with reasons, for a person to check. Nothing here is final;
`table.read` checks the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from medcnn.data.own import vocabulary
from medcnn.data.own.class_folders import layout_of, masks_among, no_classes
from medcnn.data.own.classes import refuse_names, refuse_splits
from medcnn.data.own.guesses import Column, Guess, Images, Sure
from medcnn.data.own.guessing_images import guess_image
from medcnn.data.own.guessing_labels import guess_kind, guess_label
from medcnn.data.own.image_files import files_below
from medcnn.data.own.sheets import Sheet
from medcnn.data.own.words import tidy
from medcnn.data.split_words import plain
from medcnn.system.errors import DataError, listed


def guess_table(sheet: Sheet, images: Images) -> list[Guess]:
    """A guess for each setting of `data=table`.

    Raises:
        DataError: no column names the images.
    """
    columns = {c: Column(name=c, cells=_cells(sheet, c)) for c in sheet.columns}
    guesses, image = guess_image(sheet, columns, images)
    left = {n: c for n, c in columns.items() if n != image and c.counts}
    join = next((g.value for g in guesses if g.setting == "join"), None)

    patient = _patient(left if join != "PatientID" else columns, image if join else None)
    if patient:
        guesses += patient
        left.pop(patient[0].value, None)
    split = _split(left)
    if split:
        guesses += split
        left.pop(split[0].value)
    label = guess_label(left)
    guesses += label
    used = {v for g in label if g.setting == "label" and g.value for v in _names(g.value)}
    whose = columns[patient[0].value] if patient else None
    if len(used) == 1:
        (name,) = used
        guesses += guess_kind(columns[name], guesses, whose)
    guesses += _attributes([c for n, c in left.items() if n not in used])
    classes = {w for c in used for w in columns[c].counts} if len(used) == 1 else used
    words = {t for w in (*sheet.columns, *classes, images.root.name) for t in vocabulary.tokens(w)}
    return guesses + _pixels(images, words)


def _cells(sheet: Sheet, column: str) -> tuple[str, ...]:
    """The cells of a column; equal ones are one object."""
    known: dict[str, str] = {}
    return tuple(known.setdefault(tidy(cell), tidy(cell)) for cell in sheet.rows.column(column))


def guess_folders(images: Images) -> list[Guess]:
    """One folder per class, with guesses about the order of classes and about the pictures.

    Raises:
        DataError: the images are not in two folders or more, or the folders may name patients.
    """
    parts = [p.split("/") for p in images.paths]
    layout = layout_of(images.paths)
    names = Counter(tidy(p[layout.class_at]) for p in parts if len(p) > layout.depth)
    present = {i: [name] for i, name in enumerate(names.elements())}
    if len(names) < 2 or masks_among(names):
        files = files_below(images.root, follow_links=images.follow_links)
        raise DataError(
            f"{no_classes(images.root, files, images.paths)} For a table elsewhere: "
            "medcnn init FOLDER TABLE.csv."
        )
    refuse_names(present, f"folders of {images.root}")
    refuse_splits(present, f"folders of {images.root}", any_of_them=True)
    column = Column(name="folder", cells=tuple(names.elements()))
    said = "a folder per class"
    if layout.split_at is not None:
        both = ("class", "split") if layout.split_at > layout.class_at else ("split", "class")
        said = "a folder per {}, then per {}".format(*both)
    guesses = [Guess(setting="table", value=None, why=f"{said}: {column.examples()}")]
    settings = ("kind", "classes", "rename")
    guesses += [g for g in guess_kind(column, guesses, None) if g.setting in settings]
    words = {t for w in (*names, images.root.name) for t in vocabulary.tokens(w)}
    return guesses + _pixels(images, words)


def _patient(columns: Mapping[str, Column], joined_on: str | None) -> list[Guess]:
    """Suggests even a partly blank column: without it, splits would silently be by image."""
    named = [c for c in columns.values() if vocabulary.names_someone(c.name)]
    named = [c for c in named if len(c.counts) > 1 and 2 * sum(c.counts.values()) > len(c.cells)]
    # patient rather than lesion: the coarser group keeps more images together
    found = sorted(named, key=lambda c: (not all(c.cells), len(c.counts)))
    if not found:
        return []
    column = found[0]
    most, blank = max(column.counts.values()), column.cells.count("")
    noun = "lesion" if {"lesion", "laesion"} & vocabulary.tokens(column.name) else "patient"
    why = f"by its name; {len(column.counts):,} values, at most {most} rows each"
    if blank:
        why += (
            f"; {blank:,} of {len(column.cells):,} rows are blank and will be refused until filled"
        )
    known = not blank and (most > 1 or column.name == joined_on)
    sure = Sure.LIKELY if known else Sure.CHECK
    guesses = [Guess(setting="patient", value=column.name, why=why, sure=sure)]
    if noun != "patient":
        guesses.append(Guess(setting="group_noun", value=noun, why="what that column identifies"))
    return guesses


def _split(columns: Mapping[str, Column]) -> list[Guess]:
    for column in columns.values():
        words = {w: vocabulary.split_word(w) for w in column.counts}
        if len(words) < 2 or None in words.values() or len(set(words.values())) < 2:
            continue
        if not all(column.cells):
            continue  # some rows have no split, which `splits.assign` refuses
        why = f"contains words for splits: {column.examples()}"
        guesses = [Guess(setting="split", value=column.name, why=why, sure=Sure.SURE)]
        meant = [f"{w} means {s}" for w, s in words.items() if plain(w) != s]
        if meant:
            guesses = [replace(g, why=f"{g.why}; {listed(meant)}") for g in guesses]
        return guesses
    return []


def _attributes(columns: Sequence[Column]) -> list[Guess]:
    found = [c for c in columns if vocabulary.is_attribute(c.name) and len(c.counts) > 1]
    if not found:
        return []
    why = "by their names, to find what gives the label away"
    return [Guess(setting="attributes", value=[c.name for c in found], why=why)]


def _pixels(images: Images, words: set[str]) -> list[Guess]:
    guesses = []
    if modality := vocabulary.modality_of(words):
        why = f"by the names in it; decides which augmentations are harmless ({modality})"
        guesses.append(Guess(setting="modality", value=modality, why=why, sure=Sure.CHECK))
    if _are_grey(images):
        why = "a sample of the images is grey"
        guesses.append(Guess(setting="channels", value=1, why=why))
    return guesses


LOOKED_AT = 8


def _are_grey(images: Images) -> bool:
    """Decided by the headers of a few images."""
    from PIL import Image

    if images.headers:
        return all(h["SamplesPerPixel"] == "1" for h in images.headers.values())
    step = max(1, len(images.paths) // LOOKED_AT)
    for path in images.paths[::step][:LOOKED_AT]:
        try:
            with Image.open(images.root / path) as image:
                if image.mode not in ("1", "L", "I", "I;16", "I;16B", "F"):
                    return False
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return False
    return bool(images.paths)


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
