"""The hospital's own data: any table whose columns are named in YAML, or a folder per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest, Record, parse_split
from medcnn.data.own.class_folders import read_class_folders
from medcnn.data.own.joining import (
    FILE_NAME,
    IMAGE_SUFFIXES,
    attributes_of,
    below,
    by_patient,
    counted,
    ending,
    first_of,
    joined,
    named,
)
from medcnn.data.own.labelling import Words, by_column, by_word, unlabelled
from medcnn.data.own.people import is_nobody, note_odd_names, one_name, refuse_identifying
from medcnn.data.own.sheets import (
    Sheet,
    read_sheet,
    refuse_rows,
    require_folder,
    tried,
    whole_number,
)
from medcnn.data.own.words import is_error_cell, tidy
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.privacy import as_names, as_pseudonyms
from medcnn.system.progress import log


def read(
    root: Path | None,
    *,
    table: str | None = None,
    sheet: str | None = None,
    encoding: str | None = None,
    follow_links: bool = False,
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
        encoding: of a text, as Python names it; null finds it out, and says where it guesses.
        follow_links: also images and folders that are links, and out of root.
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
            equal steps need `classes`. Of a list of columns of which each image has exactly one:
            multiclass, ordinal, or binary (negative before positive).
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
    _refuse_unquoted(given)
    # YAML reads 1 as a number, the table has it as text, a spreadsheet as 1.0
    classes = [whole_number(str(c)) for c in classes] if classes else None
    rename, split_names = _texts(rename), _texts(split_names)
    _refuse_without_effect(given)
    if table is None:
        return read_class_folders(place, kind, classes, rename, tags, follow_links=follow_links)
    if image is None:
        raise UsageError("a table needs data.image=COLUMN, and data.label=COLUMN to train.")
    source = read_sheet(place / table, sheet, encoding)
    labels = [label] if isinstance(label, str) else list(label or ())
    columns = [image, *labels, patient, split, *attributes, *(exclude or {})]
    source.require(
        columns,
        "data.image, data.label, data.patient, data.split, data.attributes and data.exclude",
    )
    own = {c for c in (image, patient) if c}
    flow = _flow(source, image, exclude or {}, label if isinstance(label, str) else None)
    blank = {i for i in flow.rows if patient and is_nobody(source.rows[i][patient])}
    faults = [f"{source.line(i)}: no {patient}, so nobody knows whose image it is" for i in blank]
    cells = {i: source.rows[i][image] for i in (*flow.rows, *flow.reasons) if i not in blank}
    if join is not None:
        found = joined(
            place, cells, join, tags, source.line, table, set(flow.reasons), follow_links
        )
    else:
        paths = {i: _path(place, folder, cell, suffix) for i, cell in cells.items()}
        found = named(place, paths, tags, source.line, set(flow.reasons), follow_links)
    faults += found.faults
    rows = [i for i in cells if i in found.files and i not in flow.reasons]
    if not rows:
        refuse_rows(faults)
    whose = {i: one_name(source.rows[i][patient]) if patient else "" for i in rows}
    if patient:
        note_odd_names(patient, whose.values())
    by_tag = {} if patient else by_patient([p for i in rows for p in found.files[i]], found.headers)
    first_path = first_of(by_tag)
    refuse_identifying(source, attributes, whose, own)
    words = Words(
        kind=str(kind),
        classes=classes,
        separator=separator,
        none_label=None if none_label is None else str(none_label),
        rename=rename,
        rare_below=rare_below,
        rare_name=rare_name,
        uncertain=uncertain,
        uncertain_words=uncertain_words,
    )
    try:
        if label is None:
            labelled = unlabelled()
        elif isinstance(label, str):
            labelled = by_word(
                source,
                rows,
                label,
                words,
                lambda i: whose[i] or by_tag.get(found.files[i][0], "") or str(i),
            )
        else:
            labelled = by_column(source, rows, labels, words)
    except DataError:
        refuse_rows(faults)  # they may be all that is left of a class
        raise
    faults += labelled.faults.values()
    of_path: dict[str, tuple[int, tuple[float, ...]]] = {}

    def records(i: int) -> list[Record]:
        row, at, target = source.rows[i], source.line(i), labelled.target(i)
        for path in found.files[i]:
            first = of_path.setdefault(path, (i, target))
            if first[0] != i:
                how = "the same labels" if _same(first[1], target) else "other labels"
                line = source.lines[first[0]]
                raise DataError(f"{at}: {private(path)} stands with {how} in line {line} already")
        kept = {c: v for c in attributes if (v := tidy(row[c])) and not is_error_cell(v)}
        cell = row[image]
        by_path = join in (None, FILE_NAME) and not cell.startswith("/")
        said = tidy(row[split]) if split else ""

        def own_id(path: str) -> str:
            return cell if by_path else path

        return [
            Record(
                image_id=own_id(path),
                path=path,
                group=whose[i] or by_tag.get(path, path if join else cell),
                target=target,
                split=parse_split(said, at, split_names) if said else None,
                attributes=kept | attributes_of(found.headers.get(path), tags),
                line=source.lines[i],
                origin=(own_id(path), first_path[path]) if path in by_tag else None,
            )
            for path in found.files[i]
        ]

    made, refused = tried([i for i in rows if i not in labelled.faults], records)
    faults += refused
    if not made:
        refuse_rows(faults)
    left_out, without = counted(flow.reasons, found)
    return Manifest(
        source=(place / table).name,
        root=place,
        labels=labelled.space,
        records=tuple(r for of_row in made.values() for r in of_row),
        group_noun=group_noun if patient else "patient" if by_tag else "image",
        excluded=left_out,
        rows_left_out=_said({"the same row again": flow.again, "no image of that name": without}),
        faults=tuple(faults),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """Rows that stay, row -> why it does not, and how many repeat another in every cell."""

    rows: list[int]
    reasons: dict[int, str]
    again: int


def _said(counts: Mapping[str, int]) -> dict[str, int]:
    for reason, count in counts.items():
        if count:
            log.info(f"  {count:,} rows left out: {reason}")
    return {reason: count for reason, count in counts.items() if count}


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


def _path(root: Path, folder: str, cell: str, suffix: str) -> str:
    path = cell.replace("\\", "/")  # tables written under Windows
    inside = below(root, path)
    if inside is not None:
        path = inside
    elif not path.startswith("/"):
        path = "/".join(part for part in f"{folder}/{path}".split("/") if part not in ("", "."))
    # by the endings of images: `1.2.840` has none of these
    return path if ending(path) in IMAGE_SUFFIXES else path + suffix


def _flow(sheet: Sheet, image: str, exclude: Mapping[str, Any], label: str | None) -> _Flow:
    """Which rows stay. A reason does not repeat the value, which may name a patient in any column.

    Raises:
        UsageError: a value of `exclude` that no row has: a typo would keep what it should not.
    """
    words_of_column = {
        c: [str(v) for v in (values if isinstance(values, list | tuple) else [values])]
        for c, values in exclude.items()
    }
    for column, words in words_of_column.items():
        there = sorted(set(map(tidy, sheet.rows.column(column))))
        words = words_of_column[column] = as_names(words, there)
        if absent := [w for w in words if tidy(w) not in there]:
            foreign = any(w in as_pseudonyms([w]) for w in absent)
            raise UsageError(
                f"data.exclude: {sheet.path} has no row whose {column} is "
                f"{listed([private(w) for w in absent])}. Found: "
                f"{listed([private(w) for w in there], 10)}.{_OTHER_KEY if foreign else ''}"
            )
    unwanted = {c: set(map(tidy, words)) for c, words in words_of_column.items()}
    flow = _Flow(rows=[], reasons={}, again=0)
    first: dict[str, int] = {}
    again = 0
    for i, row in enumerate(sheet.rows):
        same = first.setdefault(row[image], i)
        if same != i and row == sheet.rows[same]:
            again += 1
            continue
        reasons = [
            f"{c} is in data.exclude" for c, words in unwanted.items() if tidy(row[c]) in words
        ]
        if not reasons and label is not None and not tidy(row[label]):
            reasons = [f"no {label}"]
        if reasons:
            flow.reasons[i] = reasons[0]
        else:
            flow.rows.append(i)
    return replace(flow, again=again)


def _refuse_without_effect(given: Mapping[str, Any]) -> None:
    """Raises UsageError for settings that others leave without effect."""
    label, kind = given["label"], given["kind"]
    if given["table"] is None:
        _refuse_idle(
            "in a folder per class (for a table give data.table=FILE.csv, relative to data.root)",
            given,
            "sheet encoding image join label patient split folder suffix separator none_label "
            "uncertain uncertain_words exclude rare_below split_names attributes",
        )
        return
    if label is None:
        _refuse_idle(
            "without data.label=COLUMN",
            given,
            "kind classes separator none_label uncertain uncertain_words rename rare_below",
        )
    elif isinstance(label, str):
        if given["separator"] is None:
            _refuse_idle("without data.separator", given, "none_label")
        _refuse_idle(
            "where data.label is one column (data.rename and data.exclude say there what a word "
            "means)",
            given,
            "uncertain uncertain_words",
        )
    else:
        exclusive = kind in (Kind.BINARY, Kind.MULTICLASS, Kind.ORDINAL)
        _refuse_idle(
            "where data.label lists columns: their names are the findings, each 1, 0 or blank, so",
            given,
            ("kind " if not exclusive and kind != Kind.MULTILABEL else "")
            + ("uncertain uncertain_words " if exclusive else "")
            + ("classes " if given["classes"] != list(label) else "")
            + "separator none_label rename rare_below",
        )
        if given["uncertain"] is None:
            _refuse_idle("without data.uncertain=zeros, ones or ignore", given, "uncertain_words")
    if given["split"] is None:
        _refuse_idle("without data.split=COLUMN", given, "split_names")
    if given["join"] is not None:
        _refuse_idle("with data.join", given, "folder suffix")


def _refuse_unquoted(given: Mapping[str, Any]) -> None:
    """Raises UsageError for words that YAML took for something else: `no` is false there."""
    faults = []
    for name, value in given.items():
        if name in ("root", "follow_links", "rare_below"):
            continue
        parts = [*value, *value.values()] if isinstance(value, Mapping) else [value]
        flat = [w for part in parts for w in (part if isinstance(part, list | tuple) else [part])]
        if found := [str(w).lower() for w in flat if isinstance(w, bool)]:
            faults.append(f"data.{name} holds {' and '.join(dict.fromkeys(found))}")
        elif name == "classes" and value is not None and None in flat:
            faults.append("data.classes holds an empty value (null, ~ or nothing)")
    if faults:
        raise UsageError(
            f"{'; '.join(faults)}: YAML reads the words yes, no, on, off, true and false so. Quote "
            'them as the table has them: classes: ["no", "yes"].'
        )


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
