"""The hospital's own data: any CSV whose columns are named in YAML, or a folder per class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from medcnn.choices import nearest
from medcnn.datasets.sheets import (
    Sheet,
    found_under,
    read_sheet,
    refuse_missing,
    require_folder,
)
from medcnn.errors import DataError, UsageError, listed
from medcnn.labels import Kind, LabelSpace
from medcnn.manifest import Manifest, Record, Split, parse_split
from medcnn.progress import log

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"),
        *(".dcm", ".dicom", ".jp2"),
    )
)
_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}


def read(
    root: Path | None,
    *,
    table: str | None = None,
    image: str | None = None,
    label: str | Sequence[str] | None = None,
    patient: str | None = None,
    split: str | None = None,
    folder: str = "",
    suffix: str = "",
    kind: str = "auto",
    classes: Sequence[str] | None = None,
    separator: str | None = None,
    none_label: str | None = None,
    exclude: Mapping[str, Sequence[str]] | None = None,
    rename: Mapping[str, str] | None = None,
    rare_below: int = 0,
    rare_name: str = "other",
    split_names: Mapping[str, str] | None = None,
    attributes: Sequence[str] = (),
    group_noun: str = "patient",
) -> Manifest:
    """A table of images, or (table null) a folder per class.

    Args:
        table: CSV or TSV, relative to root.
        image: column with the path of the image, relative to root.
        folder: goes before that path.
        suffix: ending that is added where a path has none, such as `.jpg`.
        label: column with the class; or a list of columns of 0, 1 or blank, one per finding.
        separator: several findings stand in one cell, between these.
        none_label: the word in such a cell that means that none was found.
        kind: binary, multiclass, multilabel or ordinal; auto: multilabel for a list or a
            separator, binary for two classes, else multiclass.
        classes: in order, where the order means something: grades, or negative before positive.
        patient: column that names whose image it is; null splits by image, and says so.
        split: column with train, validation, test; null makes the splits here, by patient.
        split_names: the column's own words -> train, validation, test.
        exclude: column -> values whose rows are left out.
        rename: class of the table -> class here; several may become one.
        rare_below: classes of fewer patients than that are joined ...
        rare_name: ... to this one.
        attributes: columns to keep beside the image: age, sex, site, ...
        group_noun: what the patient column names: patient or lesion.

    Raises:
        UsageError: a column, file or word in the settings that does not exist.
        DataError: the contents are not what they should be.
    """
    place = require_folder(root)
    if table is None:
        if image or label or patient or split:
            raise UsageError(
                "data.image, data.label, data.patient and data.split name columns of a table: give "
                "data.table=FILE.csv too (relative to data.root), or none of them for a folder per "
                "class."
            )
        return _class_folders(place, kind, classes, rename or {})
    if image is None or label is None:
        raise UsageError("a table needs data.image=COLUMN and data.label=COLUMN.")
    sheet = read_sheet(place / table)
    labels = [label] if isinstance(label, str) else list(label)
    columns = [image, *labels, patient, split, *attributes, *(exclude or {})]
    sheet.require(columns, "data.image, data.label, data.patient, data.split, data.attributes")
    excluded: Counter[str] = Counter()
    rows = []
    for i, row in enumerate(sheet.rows):
        reason = next(
            (f"{c} is {row[c]}" for c, words in (exclude or {}).items() if row[c] in words), ""
        )
        if not reason and isinstance(label, str) and not row[label]:
            reason = f"no {label}"
        if reason:
            excluded[reason] += 1
        else:
            rows.append(i)
    whose = {i: sheet.rows[i][patient] if patient else "" for i in rows}
    if patient and (blank := [sheet.line(i) for i in rows if not whose[i]]):
        raise DataError(f"{len(blank)} rows have no {patient}: {listed(blank)}.")
    if isinstance(label, str):
        present = {
            i: _words(sheet.rows[i][label], separator, none_label, rename or {}) for i in rows
        }
        if rare_below:
            present = _rare_joined(present, whose, rare_below, rare_name)
        space = _space(kind, classes, present, many=separator is not None)
        targets = {i: _encoded(space, present[i], sheet.line(i)) for i in rows}
    else:
        space = LabelSpace(kind=Kind.MULTILABEL, names=tuple(labels))
        targets = {i: _flags(sheet, i, labels) for i in rows}
    records = []
    for i in rows:
        row = sheet.rows[i]
        path = str(PurePosixPath(folder) / row[image]) if folder else row[image]
        if suffix and not PurePosixPath(path).suffix:
            path += suffix
        records.append(
            Record(
                image_id=row[image],
                path=path,
                group=whose[i] or row[image],
                target=targets[i],
                split=parse_split(row[split], sheet.line(i), split_names) if split else None,
                attributes={c: row[c] for c in attributes if row[c]},
            )
        )
    manifest = Manifest(
        source=(place / table).name,
        root=place,
        labels=space,
        records=tuple(records),
        group_noun=group_noun if patient else "image",
        excluded=dict(excluded),
    )
    refuse_missing(manifest.source, place, (r.path for r in manifest.records))
    return manifest


def _class_folders(
    root: Path, kind: str, classes: Sequence[str] | None, rename: Mapping[str, str]
) -> Manifest:
    """`root/<class>/...`, or `root/<split>/<class>/...` where the folders are named by splits."""
    tops = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    split_of = {name: _split_or_none(name) for name in tops}
    by_split = bool(tops) and all(split_of.values())
    found = [
        p.relative_to(root)
        for p in sorted(root.rglob("*"))
        if p.is_file()
        and p.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in p.relative_to(root).parts)
    ]
    depth = 1 if by_split else 0
    stray = [p.as_posix() for p in found if len(p.parts) < depth + 2]
    found = [p for p in found if len(p.parts) >= depth + 2]
    if not found:
        raise DataError(
            f"{root}: expected a folder per class with images (class/image.jpg) or data.table, "
            f"found {found_under(root)}."
        )
    present = {i: [rename.get(p.parts[depth], p.parts[depth])] for i, p in enumerate(found)}
    space = _space(kind, classes, present, many=False)
    return Manifest(
        source=root.name,
        root=root,
        labels=space,
        records=tuple(
            Record(
                image_id=p.as_posix(),
                path=p.as_posix(),
                group=p.as_posix(),
                target=_encoded(space, present[i], str(root / p)),
                split=split_of[p.parts[0]] if by_split else None,
            )
            for i, p in enumerate(found)
        ),
        group_noun="image",
        excluded={"not in the folder of a class": len(stray)} if stray else {},
    )


def _split_or_none(name: str) -> Split | None:
    try:
        return parse_split(name, "")
    except DataError:
        return None


def _words(
    cell: str, separator: str | None, none_label: str | None, rename: Mapping[str, str]
) -> list[str]:
    words = [w.strip() for w in cell.split(separator)] if separator else [cell]
    words = [rename.get(w, w) for w in words if w and w != none_label]
    return list(dict.fromkeys(words))


def _rare_joined(
    present: Mapping[int, list[str]], whose: Mapping[int, str], below: int, name: str
) -> dict[int, list[str]]:
    groups: dict[str, set[str]] = {}
    for i, words in present.items():
        for word in words:
            groups.setdefault(word, set()).add(whose[i] or str(i))
    rare = {word for word, patients in groups.items() if len(patients) < below}
    if rare:
        log.info(f"  joined to '{name}', each of fewer than {below}: {', '.join(sorted(rare))}")
    return {
        i: list(dict.fromkeys(name if w in rare else w for w in words))
        for i, words in present.items()
    }


def _space(
    kind: str, classes: Sequence[str] | None, present: Mapping[int, list[str]], *, many: bool
) -> LabelSpace:
    found = sorted({w for words in present.values() for w in words}, key=_natural)
    names = [str(c) for c in classes] if classes else found
    if kind == "auto":
        kind = "multilabel" if many else "binary" if len(names) == 2 else "multiclass"
    if kind not in set(Kind):
        raise UsageError(
            f"data.kind={kind} is not one of auto, {', '.join(Kind)}{nearest(kind, Kind)}"
        )
    if kind == Kind.BINARY and classes is None:
        log.info(
            f"  positive class: '{names[-1]}' (data.classes=[negative,positive] to say otherwise)"
        )
    return LabelSpace(kind=Kind(kind), names=tuple(names))


def _natural(word: str) -> tuple[int, float, str]:
    """Numbers by size and before words, so that grade 10 follows grade 9."""
    try:
        return (0, float(word), word)
    except ValueError:
        return (1, math.inf, word)


def _encoded(space: LabelSpace, words: list[str], where: str) -> tuple[float, ...]:
    try:
        return space.encode(words)
    except DataError as error:
        raise DataError(
            f"{where}: {error} Classes come from data.classes; data.rename maps words onto them."
        ) from None


def _flags(sheet: Sheet, row: int, columns: Sequence[str]) -> tuple[float, ...]:
    target = []
    for column in columns:
        word = sheet.rows[row][column].lower()
        if word not in _YES | _NO | {""}:
            raise DataError(
                f"{sheet.line(row)}: {column} is '{word}'; a finding is 1, 0, or blank for not "
                "assessed."
            )
        target.append(math.nan if not word else float(word in _YES))
    return tuple(target)
