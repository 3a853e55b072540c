"""The hospital's own data: any table whose columns are named in YAML, or a folder per class."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from posixpath import splitext
from typing import Any

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record, parse_split
from medcnn.data.own.class_folders import read_class_folders
from medcnn.data.own.classes import (
    encoded,
    flags,
    is_doubt,
    rare_joined,
    refuse_names,
    space_of,
    uncertain_value,
    words_of,
)
from medcnn.data.own.joining import (
    FILE_NAME,
    IMAGE_SUFFIXES,
    attributes_of,
    by_patient,
    first_of,
    joined,
    named,
)
from medcnn.data.own.sheets import (
    Sheet,
    read_sheet,
    refuse_rows,
    require_folder,
    tried,
    whole_number,
)
from medcnn.data.own.vocabulary import UNLABELLED
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.privacy import as_names, as_pseudonyms
from medcnn.system.progress import log


def read(
    root: Path | None,
    *,
    table: str | None = None,
    sheet: str | None = None,
    image: str | None = None,
    join: str | None = None,
    label: str | Sequence[str] | None = None,
    patient: str | None = None,
    split: str | None = None,
    folder: str = "",
    suffix: str = "",
    kind: str = "auto",
    classes: Sequence[str] | None = None,
    separator: str | None = None,
    none_label: str | None = None,
    uncertain: str | Mapping[str, str] | None = None,
    uncertain_words: Sequence[str] = (),
    exclude: Mapping[str, Sequence[str]] | None = None,
    rename: Mapping[str, str] | None = None,
    rare_below: int = 0,
    rare_name: str = "other",
    split_names: Mapping[str, str] | None = None,
    attributes: Sequence[str] = (),
    tags: Sequence[str] = (),
    group_noun: str = "patient",
) -> Manifest:
    """A table of images, or (table null) a folder per class.

    Args:
        table: CSV, TSV, Excel (.xlsx) or Parquet, relative to root.
        sheet: which sheet of a workbook; null where there is one.
        image: column with the path of the image, relative to root; or with what `join` says.
        join: what the image column holds where it holds no path: `file_name`, or the tag of DICOM
            files PatientID, StudyInstanceUID, SOPInstanceUID or AccessionNumber. Files are looked
            for in all folders; a patient, a study and an accession number may have several.
        folder: goes before that path.
        suffix: ending that is added where a path has none, such as `.jpg`.
        label: column with the class; or a list of columns of 0, 1 or blank, one per finding; null
            for an audit of images without labels.
        separator: several findings stand in one cell, between these.
        none_label: the word in such a cell that means that none was found.
        uncertain: what -1 becomes in columns of findings: zeros, ones, or ignore (not assessed);
            or finding -> one of these, with `default` for the rest.
        uncertain_words: what means the same as -1 in the table.
        kind: binary, multiclass, multilabel or ordinal; auto: multilabel for a list or a
            separator, binary for two classes, else multiclass. Grades that are no numbers in
            equal steps need `classes`.
        classes: in order, where the order means something: grades, or negative before positive.
        patient: column that names whose image it is; null: the PatientID of the DICOM headers
            where they were read and all have one, else splits are by image, and it is said.
        split: column with train, validation, test; null makes the splits here, by patient.
        split_names: the column's own words -> train, validation, test.
        exclude: column -> values whose rows are left out.
        rename: class of the table -> class here; several may become one.
        rare_below: classes of fewer patients than that are joined ...
        rare_name: ... to this one.
        attributes: columns to keep beside the image: age, sex, site, ...
        tags: DICOM tags to keep beside the image: ViewPosition, PatientAge, Manufacturer, ...
        group_noun: what the patient column names: patient or lesion.

    Raises:
        UsageError: a column, file or word in the settings that does not exist, or has no effect.
        DataError: the contents are not what they should be.
    """
    given = locals()
    place = require_folder(root)
    # YAML reads 1 as a number, the table has it as text, a spreadsheet as 1.0
    classes = [whole_number(str(c)) for c in classes] if classes else None
    rename, split_names = _texts(rename), _texts(split_names)
    if table is None:
        _refuse_idle(
            "in a folder per class (for a table give data.table=FILE.csv, relative to data.root)",
            given,
            "sheet image join label patient split folder suffix separator none_label uncertain "
            "uncertain_words exclude rare_below split_names attributes",
        )
        return read_class_folders(place, kind, classes, rename, tags)
    if image is None:
        raise UsageError("a table needs data.image=COLUMN, and data.label=COLUMN to train.")
    if label is None:
        _refuse_idle(
            "without data.label=COLUMN",
            given,
            "kind classes separator none_label uncertain uncertain_words rename rare_below",
        )
    if split is None:
        _refuse_idle("without data.split=COLUMN", given, "split_names")
    if join is not None:
        _refuse_idle("with data.join", given, "folder suffix")
    source = read_sheet(place / table, sheet)
    labels = [label] if isinstance(label, str) else list(label or ())
    columns = [image, *labels, patient, split, *attributes, *(exclude or {})]
    source.require(
        columns,
        "data.image, data.label, data.patient, data.split, data.attributes and data.exclude",
    )
    whose_words = {c for c in (image, patient) if c}
    rows, excluded = _kept(source, exclude or {}, label if isinstance(label, str) else None)
    blank = [i for i in rows if patient and source.rows[i][patient].lower() in _NOBODY]
    faults = [f"{source.line(i)}: no {patient}, so nobody knows whose image it is" for i in blank]
    cells = {i: source.rows[i][image] for i in rows if i not in set(blank)}
    if join is not None:
        found = joined(place, cells, join, tags, source.line, table)
    else:
        paths = {i: _path(folder, cell, suffix) for i, cell in cells.items()}
        found = named(place, paths, tags, source.line)
    faults += found.faults
    rows = [i for i in cells if i in found.files]
    if not rows:
        refuse_rows(faults)
    whose = {i: _one_name(source.rows[i][patient]) if patient else "" for i in rows}
    files = [p for i in rows for p in found.files[i]]
    by_tag = {} if patient else by_patient(files, found.headers)
    first_path = first_of(by_tag)
    _refuse_identifying(source, attributes, whose, whose_words)
    doubts, doubt_words = None, {str(w).lower() for w in uncertain_words}
    if isinstance(label, str):
        if separator is None:
            _refuse_idle("without data.separator", given, "none_label")
        _refuse_idle(
            "where data.label is one column (data.rename and data.exclude say there what a word "
            "means)",
            given,
            "uncertain uncertain_words",
        )
        _note_unused(source, rows, label, separator, none_label, rename)
        present = {i: words_of(source.rows[i][label], separator, none_label, rename) for i in rows}
        if not classes:
            refuse_names(present, f"data.label={label}")
        if rare_below:
            owners = {i: whose[i] or by_tag.get(found.files[i][0], "") for i in rows}
            present = rare_joined(present, owners, rare_below, rare_name)
        try:
            space = space_of(kind, classes, present, many=separator is not None)
        except DataError:
            refuse_rows(faults)  # they may be all that is left of a class
            raise
    elif label is None:
        # nothing is known of any image: an audit works without, all else refuses
        present = {}
        space = LabelSpace(kind=Kind.MULTILABEL, names=("no label",))
    else:
        _refuse_idle(
            "where data.label lists columns: their names are the findings, each 1, 0 or blank, so",
            given,
            ("kind " if kind != Kind.MULTILABEL else "")
            + ("classes " if classes != labels else "")
            + "separator none_label rename rare_below",
        )
        if uncertain is None:
            _refuse_idle("without data.uncertain=zeros, ones or ignore", given, "uncertain_words")
        else:
            doubts = uncertain_value(uncertain, labels)
            count = sum(is_doubt(source.rows[i][c], doubt_words) for i in rows for c in labels)
            log.info(f"  {count:,} uncertain cells are read as data.uncertain says")
        present = {}
        space = LabelSpace(kind=Kind.MULTILABEL, names=tuple(labels))
    of_path: dict[str, tuple[int, tuple[float, ...]]] = {}

    def records(i: int) -> list[Record]:
        row, at = source.rows[i], source.line(i)
        if label is None:
            target = space.not_assessed
        elif present:
            target = encoded(space, present[i], at)
        else:
            target = flags(source, i, labels, doubts, doubt_words)
        for path in found.files[i]:
            first = of_path.setdefault(path, (i, target))
            if first[0] != i:
                how = "the same labels" if _same(first[1], target) else "other labels"
                line = source.lines[first[0]]
                raise DataError(f"{at}: {private(path)} stands with {how} in line {line} already")
        kept = {c: row[c] for c in attributes if row[c]}

        def own_id(path: str) -> str:
            return row[image] if join in (None, FILE_NAME) else path

        return [
            Record(
                image_id=own_id(path),
                path=path,
                group=whose[i] or by_tag.get(path, path if join else row[image]),
                target=target,
                split=parse_split(row[split], at, split_names) if split and row[split] else None,
                attributes=kept | attributes_of(found.headers.get(path), tags),
                line=source.lines[i],
                origin=(own_id(path), first_path[path]) if path in by_tag else None,
            )
            for path in found.files[i]
        ]

    made, refused = tried(rows, records)
    faults += refused
    if not made:
        refuse_rows(faults)
    return Manifest(
        source=(place / table).name,
        root=place,
        labels=space,
        records=tuple(r for of_row in made.values() for r in of_row),
        group_noun=group_noun if patient else "patient" if by_tag else "image",
        excluded=excluded | dict(found.excluded),
        faults=tuple(faults),
    )


_NOBODY = {"", "unknown", "none", *UNLABELLED}


def _one_name(cell: str) -> str:
    """The same for 12.0 and 12, and for both forms of accents: two names of one patient would come
    to stand in two splits."""
    return unicodedata.normalize("NFC", whole_number(cell))


def _refuse_identifying(
    sheet: Sheet, attributes: Sequence[str], whose: Mapping[int, str], own: set[str]
) -> None:
    """Raises UsageError for attributes that tell one patient from all others, as names, numbers and
    dates do, and measurements do not: attributes are written as they are."""
    faults = [f"{c} is the column of images or patients" for c in attributes if c in own]
    for column in attributes:
        of = {whose[i] or str(i): cell for i in whose if (cell := sheet.rows[i][column])}
        words = set(of.values())
        measured = all(re.fullmatch(r"-?\d{1,4}|-?\d*[.,]\d+", word) for word in words)
        if len(of) >= 20 and len(words) > 0.9 * len(of) and not measured:
            faults.append(f"{column} has {len(words)} values for {len(of)} patients")
    if faults:
        raise UsageError(
            f"data.attributes: {'; '.join(dict.fromkeys(faults))}. That names patients in every "
            "file that is written; leave it out."
        )


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


def _path(folder: str, cell: str, suffix: str) -> str:
    path = cell.replace("\\", "/")  # tables written under Windows
    if not path.startswith("/"):
        path = "/".join(part for part in f"{folder}/{path}".split("/") if part not in ("", "."))
    # by the endings of images: `1.2.840` has none of these
    return path if splitext(path)[1].lower() in IMAGE_SUFFIXES else path + suffix


def _kept(
    sheet: Sheet, exclude: Mapping[str, Any], label: str | None
) -> tuple[list[int], dict[str, int]]:
    """The rows that stay, and reason -> how many do not. A reason does not repeat the value, which
    may name a patient in any column.

    Raises:
        UsageError: a value of `exclude` that no row has: a typo would keep what it should not.
    """
    words_of_column = {
        c: [str(v) for v in (values if isinstance(values, list | tuple) else [values])]
        for c, values in exclude.items()
    }
    for column, words in words_of_column.items():
        there = sorted({row[column] for row in sheet.rows})
        words = words_of_column[column] = as_names(words, there)
        if absent := [w for w in words if w not in there]:
            foreign = any(w in as_pseudonyms([w]) for w in absent)
            raise UsageError(
                f"data.exclude: {sheet.path} has no row whose {column} is "
                f"{listed([private(w) for w in absent])}. Found: "
                f"{listed([private(w) for w in there], 10)}.{_OTHER_KEY if foreign else ''}"
            )
    rows, excluded = [], Counter[str]()
    for i, row in enumerate(sheet.rows):
        reasons = [
            f"{c} is in data.exclude" for c, words in words_of_column.items() if row[c] in words
        ]
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
            f"data.none_label={none_label} stands in no row of {label}. Found: "
            f"{listed([private(w) for w in sorted(there)], 10)}."
        )
    if unused := [w for w in rename if w not in there]:
        log.warning(f"data.rename: {listed(unused)} stand in no row of {label}")


_OTHER_KEY = (
    " A value under a pseudonym is known by the key alone that it was made with: say here what is "
    "left out, as the table has it."
)
_NOT_SAID: tuple[object, ...] = (None, "", "auto", 0, [], (), {})


def _texts(mapping: Mapping[Any, Any] | None) -> dict[str, str]:
    return {str(k): str(v) for k, v in (mapping or {}).items()}


def _refuse_idle(where: str, given: Mapping[str, object], names: str) -> None:
    """Raises UsageError for options that are given and would have no effect."""
    if idle := [
        f"data.{n}={private(str(given[n])) if n == 'exclude' else given[n]}"
        for n in names.split()
        if given[n] not in _NOT_SAID
    ]:
        raise UsageError(f"{where} these have no effect: {listed(idle)}. Leave them out.")
