"""The hospital's own data: any CSV whose columns are named in YAML, or a folder per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from medcnn.choices import nearest
from medcnn.datasets.class_folders import read_class_folders
from medcnn.datasets.classes import encoded, flags, rare_joined, space_of, words_of
from medcnn.datasets.sheets import (
    Sheet,
    of_every_row,
    read_sheet,
    refuse_missing,
    require_folder,
)
from medcnn.errors import DataError, UsageError, listed
from medcnn.labels import Kind, LabelSpace
from medcnn.manifest import Manifest, Record, parse_split
from medcnn.progress import log


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
        label: column with the class; or a list of columns of 0, 1 or blank, one per finding; null
            for an audit of images without labels.
        separator: several findings stand in one cell, between these.
        none_label: the word in such a cell that means that none was found.
        kind: binary, multiclass, multilabel or ordinal; auto: multilabel for a list or a
            separator, binary for two classes, else multiclass. Grades that are no numbers in
            equal steps need `classes`.
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
        UsageError: a column, file or word in the settings that does not exist, or has no effect.
        DataError: the contents are not what they should be.
    """
    place = require_folder(root)
    # YAML reads 1 as a number, the table has it as text
    classes = [str(c) for c in classes] if classes else None
    rename, split_names = _texts(rename), _texts(split_names)
    if table is None:
        _refuse_idle(
            "in a folder per class (for a table give data.table=FILE.csv, relative to data.root)",
            image=image,
            label=label,
            patient=patient,
            split=split,
            folder=folder,
            suffix=suffix,
            separator=separator,
            none_label=none_label,
            exclude=exclude,
            rare_below=rare_below,
            split_names=split_names,
            attributes=attributes,
        )
        return read_class_folders(place, kind, classes, rename)
    if image is None:
        raise UsageError("a table needs data.image=COLUMN, and data.label=COLUMN to train.")
    if label is None:
        _refuse_idle(
            "without data.label=COLUMN",
            kind="" if kind == "auto" else kind,
            classes=classes,
            separator=separator,
            none_label=none_label,
            rename=rename,
            rare_below=rare_below,
        )
    if split is None:
        _refuse_idle("without data.split=COLUMN", split_names=split_names)
    sheet = read_sheet(place / table)
    labels = [label] if isinstance(label, str) else list(label or ())
    columns = [image, *labels, patient, split, *attributes, *(exclude or {})]
    sheet.require(
        columns,
        "data.image, data.label, data.patient, data.split, data.attributes and data.exclude",
    )
    rows, excluded = _kept(sheet, exclude or {}, label if isinstance(label, str) else None)
    whose = {i: sheet.rows[i][patient] if patient else "" for i in rows}
    if patient and (blank := [sheet.line(i) for i in rows if not whose[i]]):
        raise DataError(f"{len(blank)} rows have no {patient}: {listed(blank)}.")
    if isinstance(label, str):
        if separator is None:
            _refuse_idle("without data.separator", none_label=none_label)
        _note_unused(sheet, rows, label, separator, none_label, rename)
        present = {i: words_of(sheet.rows[i][label], separator, none_label, rename) for i in rows}
        if rare_below:
            present = rare_joined(present, whose, rare_below, rare_name)
        space = space_of(kind, classes, present, many=separator is not None)
    elif label is None:
        # nothing is known of any image: an audit works without, all else refuses
        present = {}
        space = LabelSpace(kind=Kind.MULTILABEL, names=("no label",))
    else:
        _refuse_idle(
            "where data.label lists columns: their names are the findings, each 1, 0 or blank, so",
            kind="" if kind in ("auto", Kind.MULTILABEL) else kind,
            classes=None if classes == labels else classes,
            separator=separator,
            none_label=none_label,
            rename=rename,
            rare_below=rare_below,
        )
        present = {}
        space = LabelSpace(kind=Kind.MULTILABEL, names=tuple(labels))

    def target_of(i: int, at: str) -> tuple[float, ...]:
        if label is None:
            return space.not_assessed
        return encoded(space, present[i], at) if present else flags(sheet, i, labels)

    def record(i: int) -> Record:
        row = sheet.rows[i]
        # tables written under Windows
        path = str(PurePosixPath(folder) / row[image].replace("\\", "/"))
        if suffix and not PurePosixPath(path).suffix:
            path += suffix
        at = sheet.line(i)
        return Record(
            image_id=row[image],
            path=path,
            group=whose[i] or row[image],
            target=target_of(i, at),
            split=parse_split(row[split], at, split_names) if split and row[split] else None,
            attributes={c: row[c] for c in attributes if row[c]},
        )

    manifest = Manifest(
        source=(place / table).name,
        root=place,
        labels=space,
        records=tuple(of_every_row(rows, record)),
        group_noun=group_noun if patient else "image",
        excluded=excluded,
    )
    refuse_missing(manifest.source, place, (r.path for r in manifest.records))
    return manifest


def _kept(
    sheet: Sheet, exclude: Mapping[str, Any], label: str | None
) -> tuple[list[int], dict[str, int]]:
    """The rows that stay, and reason -> how many do not.

    Raises:
        UsageError: a value of `exclude` that no row has: a typo would keep what it should not.
    """
    words_of_column = {
        c: [str(v) for v in (values if isinstance(values, list | tuple) else [values])]
        for c, values in exclude.items()
    }
    for column, words in words_of_column.items():
        there = sorted({row[column] for row in sheet.rows})
        if absent := [w for w in words if w not in there]:
            raise UsageError(
                f"data.exclude: {sheet.path} has no row whose {column} is {listed(absent)}"
                f"{nearest(absent[0], there)} Found: {listed(there, 10)}."
            )
    rows, excluded = [], Counter[str]()
    for i, row in enumerate(sheet.rows):
        reasons = [f"{c} is {row[c]}" for c, words in words_of_column.items() if row[c] in words]
        if not reasons and label is not None and not row[label]:
            reasons = [f"no {label}"]
        if reasons:
            excluded[reasons[0]] += 1
        else:
            rows.append(i)
    return rows, dict(excluded)


def _note_unused(
    sheet: Sheet,
    rows: Sequence[int],
    label: str,
    separator: str | None,
    none_label: str | None,
    rename: Mapping[str, str],
) -> None:
    """Say which words of `rename` never occur: one YAML may serve several hospitals.

    Raises:
        UsageError: `none_label` never occurs, and what does mean "none" would become a class.
    """
    there = {w for i in rows for w in words_of(sheet.rows[i][label], separator, None, {})}
    there |= {sheet.rows[i][label] for i in rows}
    if none_label is not None and none_label not in there:
        raise UsageError(
            f"data.none_label={none_label} stands in no row of {label}{nearest(none_label, there)}"
            f" Found: {listed(sorted(there), 10)}."
        )
    if unused := [w for w in rename if w not in there]:
        log.warning(f"data.rename: {listed(unused)} stand in no row of {label}")


def _texts(mapping: Mapping[Any, Any] | None) -> dict[str, str]:
    return {str(k): str(v) for k, v in (mapping or {}).items()}


def _refuse_idle(where: str, **options: object) -> None:
    """Raises UsageError for options that are given and would have no effect."""
    if idle := [f"data.{name}={value}" for name, value in options.items() if value]:
        raise UsageError(f"{where} these have no effect: {listed(idle)}. Leave them out.")
