"""What the columns of a table, or the folders of a folder, seem to mean: guesses with their reason,
for a person to check. Nothing here decides anything; `table.read` checks what came of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from medcnn.data.own import vocabulary
from medcnn.data.own.class_folders import layout_of, masks_among, no_classes
from medcnn.data.own.classes import MARKS, refuse_splits
from medcnn.data.own.dicom_headers import IDENTIFIERS, digest, looks_like_dicom, read_headers
from medcnn.data.own.joining import (
    FILE_NAME,
    below,
    files_below,
    is_image,
    last_part,
    without_ending,
)
from medcnn.data.own.sheets import Sheet, whole_number
from medcnn.data.own.words import is_error_cell, tidy
from medcnn.data.split_words import plain
from medcnn.system.errors import DataError, listed, private
from medcnn.system.paths import folded

FLAGS = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "yes", "no"}
FEWEST_PATIENTS = 5


class Sure(StrEnum):
    SURE = "sure"
    LIKELY = "likely"
    CHECK = "please check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One line of a data YAML, with what speaks for it.

    Attributes:
        example: shown and never written down: a file may be named after a patient.
    """

    setting: str
    value: Any
    why: str
    sure: Sure = Sure.LIKELY
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    name: str
    cells: tuple[str, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(c for c in self.cells if c)

    def examples(self) -> str:
        return listed([f"{w} ({n:,})" for w, n in self.counts.most_common(4)], 4)


@dataclass(frozen=True)
class Images:
    """The images below a root, by all that a table may call them."""

    root: Path
    follow_links: bool = False

    @cached_property
    def paths(self) -> list[str]:
        return [
            p
            for p in files_below(self.root, follow_links=self.follow_links)
            if is_image(self.root, p)
        ]

    @cached_property
    def by_name(self) -> Mapping[str, list[str]]:
        """File name, with and without its ending -> paths."""
        found: dict[str, list[str]] = {}
        for path in self.paths:
            for key in {PurePosixPath(path).name, without_ending(path)}:
                found.setdefault(key, []).append(path)
        return found

    @cached_property
    def headers(self) -> Mapping[str, Mapping[str, str]]:
        dicom = [p for p in self.paths if looks_like_dicom(self.root / p)]
        return read_headers(self.root, dicom, ["SamplesPerPixel"])[0]

    @cached_property
    def by_tag(self) -> Mapping[str, set[str]]:
        return {tag: {h[tag] for h in self.headers.values()} - {""} for tag in IDENTIFIERS}


def guess_table(sheet: Sheet, images: Images) -> list[Guess]:
    """What each setting of `data=table` may be.

    Raises:
        DataError: no column names the images.
    """
    columns = {c: Column(name=c, cells=_cells(sheet, c)) for c in sheet.columns}
    guesses, image = _image(sheet, columns, images)
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
    label = _label(sheet, left)
    guesses += label
    used = {v for g in label if g.setting == "label" and g.value for v in _names(g.value)}
    whose = columns[patient[0].value] if patient else None
    if len(used) == 1:
        (name,) = used
        guesses += _kind(columns[name], guesses, whose)
    guesses += _attributes([c for n, c in left.items() if n not in used])
    classes = {w for c in used for w in columns[c].counts} if len(used) == 1 else used
    words = {t for w in (*sheet.columns, *classes, images.root.name) for t in vocabulary.tokens(w)}
    return guesses + _pixels(images, words)


def _cells(sheet: Sheet, column: str) -> tuple[str, ...]:
    """The cells of a column; equal ones are one object."""
    known: dict[str, str] = {}
    return tuple(known.setdefault(tidy(cell), tidy(cell)) for cell in sheet.rows.column(column))


def guess_folders(images: Images) -> list[Guess]:
    """A folder per class, with what may be said of the order and the pictures.

    Raises:
        DataError: the images do not lie in two folders or more.
    """
    parts = [p.split("/") for p in images.paths]
    layout = layout_of(images.paths)
    names = Counter(tidy(p[layout.class_at]) for p in parts if len(p) > layout.depth)
    present = {i: [name] for i, name in enumerate(names)}
    refuse_splits(present, f"folders of {images.root}", any_of_them=True)
    if len(names) < 2 or masks_among(names):
        files = files_below(images.root, follow_links=images.follow_links)
        raise DataError(
            f"{no_classes(images.root, files, images.paths)} For a table that lies elsewhere: "
            "medcnn init FOLDER TABLE.csv."
        )
    column = Column(name="folder", cells=tuple(names.elements()))
    said = "a folder per class"
    if layout.split_at is not None:
        both = ("class", "split") if layout.split_at > layout.class_at else ("split", "class")
        said = "a folder per {}, then per {}".format(*both)
    guesses = [Guess(setting="table", value=None, why=f"{said}: {column.examples()}")]
    settings = ("kind", "classes", "rename")
    guesses += [g for g in _kind(column, guesses, None) if g.setting in settings]
    words = {t for w in (*names, images.root.name) for t in vocabulary.tokens(w)}
    return guesses + _pixels(images, words)


def _image(sheet: Sheet, columns: Mapping[str, Column], images: Images) -> tuple[list[Guess], str]:
    """The column that names most images, once each; the finest where several do equally well."""
    best: tuple[float, list[Guess], str] = (0.0, [], "")
    if not images.paths:
        raise DataError(f"{images.root} holds no images.")
    ways: list[Callable[[Column, Images], tuple[float, list[Guess]]]] = [_by_path, _by_name]
    ways += [lambda c, i, t=tag: _by_tag(c, i, t) for tag in _finest_first()]  # type: ignore[misc]
    for way in ways:
        for column in columns.values():
            if column.counts:
                once = len(column.counts) / sum(column.counts.values())
                share, guesses = way(column, images)
                if share * once > best[0] + 0.05:
                    best = (share * once, guesses, column.name)
        if best[0] > 0.5:
            break  # a path needs no search, a search by name no reading of headers
    if best[0] < 0.1:
        shown = [
            f"{c.name} ({private(next(iter(c.counts)))})" for c in columns.values() if c.counts
        ]
        raise DataError(
            f"no column of {sheet.path.name} names the images under {images.root}: the first of "
            f"{len(images.paths):,} is {private(images.paths[0])}. Columns: {listed(shown, 8)}."
        )
    return best[1], best[2]


def _finest_first() -> list[str]:
    return ["SOPInstanceUID", "AccessionNumber", "StudyInstanceUID", "PatientID"]


def _by_path(column: Column, images: Images) -> tuple[float, list[Guess]]:
    there = set(images.paths)
    cells = [c for c in column.cells if c]
    paths = (c.replace("\\", "/") for c in cells)
    hits = sum((below(images.root, path) or path) in there for path in paths)
    return hits / len(cells), [_image_guess(column, hits, "are paths of images")]


def _by_name(column: Column, images: Images) -> tuple[float, list[Guess]]:
    """By file name, with what goes before and after where one folder and one ending do for all."""
    cells = [c for c in column.cells if c]
    found = {c: images.by_name[last_part(c)] for c in cells if last_part(c) in images.by_name}
    hits = sum(c in found for c in cells)
    if not hits:
        return 0.0, []
    around = {_around(c.replace("\\", "/"), p) for c, paths in found.items() for p in paths}
    one = around.pop() if len(around) == 1 else None
    if one is None:
        guess = _image_guess(column, hits, "are names of images, in several folders or endings")
        why = "files are looked for by their name, in all folders"
        return hits / len(cells), [guess, Guess(setting="join", value=FILE_NAME, why=why)]
    folder, suffix = one
    guesses = [_image_guess(column, hits, f"are images in {folder or '.'}/")]
    if folder:
        guesses.append(Guess(setting="folder", value=folder, why="goes before", sure=Sure.SURE))
    if suffix:
        guesses.append(Guess(setting="suffix", value=suffix, why="is added", sure=Sure.SURE))
    return hits / len(cells), guesses


def _around(cell: str, path: str) -> tuple[str, str] | None:
    """Folder before and ending after a cell that make it the path; None where more differs."""
    suffix = "" if path.endswith(cell) else PurePosixPath(path).suffix
    if not path.endswith(cell + suffix):
        return None
    folder = path.removesuffix(cell + suffix)
    return (folder.rstrip("/"), suffix) if not folder or folder.endswith("/") else None


def _by_tag(column: Column, images: Images, tag: str) -> tuple[float, list[Guess]]:
    cells = [c for c in column.cells if c]
    hits = sum(digest(c) in images.by_tag[tag] for c in cells) if images.by_tag[tag] else 0
    guess = replace(_image_guess(column, hits, f"are the {tag} of DICOM files"), example="")
    why = f"the tag {tag} of the files says which row holds"
    return hits / len(cells), [guess, Guess(setting="join", value=tag, why=why, sure=Sure.SURE)]


def _image_guess(column: Column, hits: int, what: str) -> Guess:
    cells = sum(column.counts.values())
    sure = Sure.SURE if hits == cells else Sure.LIKELY if hits > 0.9 * cells else Sure.CHECK
    example = next(iter(column.counts))
    why = f"{hits:,} of {cells:,} cells {what}"
    return Guess(setting="image", value=column.name, why=why, sure=sure, example=example)


def _patient(columns: Mapping[str, Column], joined_on: str | None) -> list[Guess]:
    """A column that is not filled everywhere is named too: without it the splits would be by image,
    and nobody would have said so."""
    named = [c for c in columns.values() if vocabulary.names_someone(c.name)]
    named = [c for c in named if len(c.counts) > 1 and 2 * sum(c.counts.values()) > len(c.cells)]
    # of a patient and a lesion the patient: the coarser group keeps more apart
    found = sorted(named, key=lambda c: (not all(c.cells), len(c.counts)))
    if not found:
        return []
    column = found[0]
    most, blank = max(column.counts.values()), column.cells.count("")
    noun = "lesion" if {"lesion", "laesion"} & vocabulary.tokens(column.name) else "patient"
    why = f"by its name; {len(column.counts):,} of them, {most} rows at most"
    if blank:
        why += f"; {blank:,} of {len(column.cells):,} rows have none and are refused until they do"
    known = not blank and (most > 1 or column.name == joined_on)
    sure = Sure.LIKELY if known else Sure.CHECK
    guesses = [Guess(setting="patient", value=column.name, why=why, sure=sure)]
    if noun != "patient":
        guesses.append(Guess(setting="group_noun", value=noun, why="what that column names"))
    return guesses


def _split(columns: Mapping[str, Column]) -> list[Guess]:
    for column in columns.values():
        words = {w: vocabulary.split_word(w) for w in column.counts}
        if len(words) < 2 or None in words.values() or len(set(words.values())) < 2:
            continue
        if not all(column.cells):
            continue  # some rows have none, which `splits.assign` refuses
        why = f"holds words for splits: {column.examples()}"
        guesses = [Guess(setting="split", value=column.name, why=why, sure=Sure.SURE)]
        meant = [f"{w} is {s}" for w, s in words.items() if plain(w) != s]
        if meant:
            guesses = [replace(g, why=f"{g.why}; {listed(meant)}") for g in guesses]
        return guesses
    return []


def _label(sheet: Sheet, columns: Mapping[str, Column]) -> list[Guess]:
    ranked = sorted(((_label_score(c), c) for c in columns.values()), key=lambda p: -p[0])
    flags = [c for c in columns.values() if _is_flag(c) and not vocabulary.is_attribute(c.name)]
    if len(flags) >= 2 and (not ranked or ranked[0][0] < 4):
        names = [c.name for c in flags]
        shown = [f"{c.name} ({_ones(c):,})" for c in flags]
        why = f"{len(names)} columns of 0, 1 or blank, with ones: {listed(shown, 4)}"
        guesses = [Guess(setting="label", value=names, why=why, sure=Sure.CHECK)]
        if _one_each(flags):
            why = "every row has exactly one of them"
            guesses.append(Guess(setting="kind", value="multiclass", why=why))
        doubts = sum(n for c in flags for w, n in c.counts.items() if w in ("-1", "-1.0"))
        if doubts:
            why = f"{doubts:,} cells are -1; ignore, zeros or ones is yours to say"
            guesses.append(Guess(setting="uncertain", value="ignore", why=why, sure=Sure.CHECK))
        return guesses
    if not ranked or ranked[0][0] <= 0:
        shown = [f"{c.name} ({len(c.counts)} words)" for c in columns.values()]
        why = f"no label found: for the audit only; other columns: {listed(shown, 8) or 'none'}"
        return [Guess(setting="label", value=None, why=why, sure=Sure.CHECK)]
    score, column = ranked[0]
    others = [c.name for s, c in ranked[1:] if s == score]
    reason = "by its name and its words" if score >= 3 else "by its few words"
    also = f"; as likely: {listed(others)}" if others else ""
    why = f"{reason}, {len(column.counts)}: {column.examples()}{also}"
    sure = Sure.LIKELY if score >= 3 and not others else Sure.CHECK
    return [Guess(setting="label", value=column.name, why=why, sure=sure), *_several(column)]


_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}(?!\d)")


def _label_score(column: Column) -> float:
    """How much speaks for a label: its name, few words and no dates, words for what is normal."""
    hint, counts = vocabulary.label_hint(column.name), column.counts
    rows, words = sum(counts.values()), {p for c in counts for p in c.split("|")}
    if len(counts) < 2 or len(words) > max(2, min(60, rows // 2)):
        return -10.0
    if all(_DATE.match(c) for c in counts):
        return -10.0
    known = any(vocabulary.plain(w) in vocabulary.NEGATIVE - {"0", "n", "no"} for w in words)
    return hint + 1 + known - (rows < len(column.cells) / 2)


_ONES = {"1", "1.0", "true", "yes"}


def _is_flag(column: Column) -> bool:
    """0, 1 or blank; or a cross or blank, in no column of the same cross in every row."""
    words = {w.lower() for w in column.counts}
    crossed = bool(words) and words <= MARKS and not all(column.cells)
    return crossed or (words <= FLAGS and bool(words & _ONES))


def _is_one(word: str) -> bool:
    return word.lower() in _ONES | MARKS


def _one_each(columns: Sequence[Column]) -> bool:
    """Whether every row has exactly one, as the classes of one label have in columns of their
    own."""
    rows = zip(*(column.cells for column in columns), strict=True)
    return len(columns) > 2 and all(sum(map(_is_one, row)) == 1 for row in rows)


def _ones(column: Column) -> int:
    return sum(n for w, n in column.counts.items() if _is_one(w))


def _several(column: Column) -> list[Guess]:
    """Where cells hold several findings, what stands between them, and the word for none."""
    counts = column.counts
    for separator in ("|", ";"):
        many = [w for w in counts if separator in w]
        if not many:
            continue
        words = Counter(p.strip() for w, n in counts.items() for p in w.split(separator) * n)
        why = f"several findings in {len(many)} kinds of cells, such as {many[0]}"
        guesses = [Guess(setting="separator", value=separator, why=why)]
        nothing = [w for w in words if vocabulary.is_negative(w)]
        if nothing:
            why = f"means that nothing was found ({words[nothing[0]]:,} rows)"
            guesses.append(Guess(setting="none_label", value=nothing[0], why=why))
        return guesses
    return []


def _kind(column: Column, before: Sequence[Guess], whose: Column | None) -> list[Guess]:
    """Kind, order, words to leave out, and rare classes, of one column of labels."""
    if any(g.setting == "separator" for g in before):
        return []
    unlabelled = [
        w for w in column.counts if w.lower() in vocabulary.UNLABELLED or is_error_cell(w)
    ]
    # as `table.read` calls them
    counts: Counter[str] = Counter()
    for word, rows in column.counts.items():
        if word not in unlabelled:
            counts[whole_number(word)] += rows
    rename = _spelt_otherwise(counts)
    words = [w for w in counts if w not in rename]
    guesses = []
    if rename:
        why = "spelt in two ways; the more frequent stays"
        guesses.append(Guess(setting="rename", value=rename, why=why))
    if unlabelled:
        rows = sum(column.counts[w] for w in unlabelled)
        why = f"{rows:,} rows without a label yet"
        guesses.append(Guess(setting="exclude", value={column.name: unlabelled}, why=why))
    if len(words) == 2:
        ordered = vocabulary.negative_first(words)
        known = ordered == vocabulary.negative_first(words[::-1])
        ordered = ordered if known else sorted(words)
        why = f"two classes; positive is {ordered[1]}"
        sure = Sure.LIKELY if known else Sure.CHECK
        return [*guesses, Guess(setting="classes", value=ordered, why=why, sure=sure)]
    numbers = sorted(float(w) for w in words if _is_number(w))
    steps = {b - a for a, b in pairwise(numbers)}
    if len(numbers) == len(words) and 3 <= len(words) <= 11 and steps == {1.0}:
        grades = vocabulary.means_grades(column.name)
        why = "whole numbers in steps of one; multiclass if they are no grades"
        sure = Sure.LIKELY if grades else Sure.CHECK
        return [*guesses, Guess(setting="kind", value="ordinal", why=why, sure=sure)]
    if len(words) > 2 and (order := vocabulary.on_scale(words) or vocabulary.numbered(words)):
        graded = vocabulary.on_scale(words) or vocabulary.means_grades(f"{column.name} {words[-1]}")
        if graded:
            why = f"grades from {order[0]} to {order[-1]}"
            guesses.append(Guess(setting="kind", value="ordinal", why=why))
        return [*guesses, Guess(setting="classes", value=order, why="in this order")]
    owners: dict[str, set[str]] = {}
    for i, word in enumerate(map(whole_number, column.cells)):
        word = rename.get(word, word)
        if word in words:
            owners.setdefault(word, set()).add(whose.cells[i] if whose else str(i))
    rare = [w for w in words if len(owners[w]) < FEWEST_PATIENTS]
    if rare and len(words) - len(rare) >= 2:
        who = "patients" if whose else "images"
        said = [w + (f" (a slip of {near[0]}?)" if (near := _near(w, words)) else "") for w in rare]
        have = "1 class has" if len(rare) == 1 else f"{len(rare)} classes have"
        why = f"{have} fewer {who}, joined to 'other': {listed(said, 4)}"
        guesses.append(Guess(setting="rare_below", value=FEWEST_PATIENTS, why=why, sure=Sure.CHECK))
    return guesses


def _spelt_otherwise(counts: Counter[str]) -> dict[str, str]:
    """Rarer spelling -> the most frequent one, of words that differ in case alone, or in what
    stands between their parts: `Covid19` and `COVID-19`. A sign of a number is no such thing."""
    first: dict[str, str] = {}
    bare = {w: re.sub(r"(?<=\w)[\s_-](?=\w)", "", folded(" ".join(w.split()))) for w in counts}
    ranked = [(w, first.setdefault(bare[w], w)) for w, _ in counts.most_common()]
    return {word: usual for word, usual in ranked if word != usual}


def _near(word: str, words: Sequence[str]) -> list[str]:
    """The class that a rare one may be a slip of the pen for; grades differ in as little."""
    others = [w for w in words if w != word and not any(c.isdigit() for c in w + word)]
    return get_close_matches(word, others, n=1, cutoff=0.85)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _attributes(columns: Sequence[Column]) -> list[Guess]:
    found = [c for c in columns if vocabulary.is_attribute(c.name) and len(c.counts) > 1]
    if not found:
        return []
    why = "by their names, to see what gives the label away"
    return [Guess(setting="attributes", value=[c.name for c in found], why=why)]


def _pixels(images: Images, words: set[str]) -> list[Guess]:
    guesses = []
    if modality := vocabulary.modality_of(words):
        why = f"by the names in it; decides which augmentation is harmless ({modality})"
        guesses.append(Guess(setting="modality", value=modality, why=why, sure=Sure.CHECK))
    if _are_grey(images):
        why = "the images looked at are grey"
        guesses.append(Guess(setting="channels", value=1, why=why))
    return guesses


def _are_grey(images: Images, looked_at: int = 8) -> bool:
    """By the headers of a few images, spread over all."""
    from PIL import Image

    if images.headers:
        return all(h["SamplesPerPixel"] == "1" for h in images.headers.values())
    step = max(1, len(images.paths) // looked_at)
    for path in images.paths[::step][:looked_at]:
        try:
            with Image.open(images.root / path) as image:
                if image.mode not in ("1", "L", "I", "I;16", "I;16B", "F"):
                    return False
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return False
    return bool(images.paths)


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
