"""A hospital's own data: any table whose columns are named in YAML, or one folder per class.

Options of `read`:
        table: CSV, TSV, Excel (.xlsx) or Parquet, relative to root.
        sheet: which sheet of a workbook; null if there is only one.
        encoding: of a text file, by Python's name; null detects it, and says if it guessed.
        follow_links: also read images and folders that are links, even out of root.
        image: column with the path of the image, relative to root; or what `join` names.
        join: content of the image column, if not a path: `file_name`, or the DICOM tag PatientID,
            StudyInstanceUID, SOPInstanceUID or AccessionNumber. Files are searched in all folders;
            a patient, a study and an accession number may have several, which share a split.
        folder: put before that path.
        suffix: added to a path without extension, such as `.jpg`.
        label: column with the class; or a list of columns of 0, 1 or blank, one per finding; null
            for an audit of images without labels.
        separator: separates several findings in one cell.
        none_label: the word in such a cell that means no finding.
        uncertain: what -1 becomes in columns of findings: zeros, ones, or ignore (not assessed);
            or finding -> one of these, with `default` for the rest.
        uncertain_words: words in the table with the same meaning as -1.
        kind: binary, multiclass, multilabel or ordinal; auto: multilabel for a list or a
            separator, binary for two classes, otherwise multiclass. Grades other than numbers in
            equal steps need `classes`. If each image has exactly one of a list of columns:
            multiclass, ordinal, or binary (negative before positive).
        classes: in order, if the order matters: grades, or negative before positive.
        patient: column with the patient; null: the PatientID of the DICOM headers if all were read
            and have one; otherwise splits are by image or study, with a message.
        split: column with train, validation, test; null makes the splits here, by patient.
        split_names: the column's own words -> train, validation, test.
        exclude: column -> values whose rows are left out.
        rename: class of the table -> class here; several may become one.
        rare_below: classes with fewer patients than this are joined ...
        rare_name: ... as this one.
        attributes: columns to keep with the image: age, sex, site, ...
        tags: DICOM tags to keep with the image: ViewPosition, PatientAge, Manufacturer, ...
        group_noun: what the patient column identifies: patient or lesion.

"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.data.manifest import Manifest, Record, Split, parse_split
from medcnn.data.own.class_folders import read_class_folders
from medcnn.data.own.joining import (
    FILE_NAME,
    ROW_IS,
    Joined,
    attributes_of,
    by_patient,
    counted,
    first_of,
    joined,
    named,
    path_maker,
)
from medcnn.data.own.kept_rows import Kept, kept_rows
from medcnn.data.own.labelling import Labelled, Words, labelled
from medcnn.data.own.options import refuse_unquoted, refuse_without_effect
from medcnn.data.own.people import (
    is_nobody,
    note_odd_names,
    one_name,
    refuse_identifying,
    refuse_identifying_tags,
)
from medcnn.data.own.sheets import Sheet, read_sheet, refuse_rows, require_folder
from medcnn.data.own.words import is_error_cell, tidy
from medcnn.system.errors import DataError, UsageError, private
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
    """A table of images, or (table null) one folder per class. For the options, see the top.

    Raises:
        UsageError: a column, file or word in the settings does not exist, or has no effect.
        DataError: the contents are not valid.
    """
    given = locals()
    place = require_folder(root)
    refuse_unquoted(given)
    refuse_without_effect(given)
    words = Words.of(given)
    if table is None:
        return read_class_folders(
            place, kind, words.classes, words.rename, tags, follow_links=follow_links
        )
    if image is None:
        raise UsageError("a table needs data.image=COLUMN, and data.label=COLUMN to train.")
    source = _sheet(place / table, given)
    kept = kept_rows(source, image, exclude or {}, label if isinstance(label, str) else None)
    whose, faults = _people(source, kept.rows, patient)
    images = source.rows.column(image)
    cells = {i: images[i] for i in (*whose, *kept.reasons)}
    found = _files(place, source, cells, set(kept.reasons), given)
    faults += found.faults
    whose = {i: name for i, name in whose.items() if i in found.files}
    if not whose:
        refuse_rows(faults)
    note_odd_names(patient, whose.values())
    by_tag = {} if patient else by_patient(found.paths(whose), found.headers)
    refuse_identifying(source, attributes, whose, {image, patient or image})
    refuse_identifying_tags(tags, found.headers, found.people(whose))
    owners = {i: name or by_tag.get(found.files[i][0], "") or str(i) for i, name in whose.items()}
    try:
        outcome = labelled(source, owners, label, words)
    except DataError:
        refuse_rows(faults)  # they may be the last rows of a class
        raise
    faults += outcome.faults.values()
    noun = group_noun if patient else "patient" if by_tag else ROW_IS.get(join or "", "image")
    return _Reading(
        sheet=source,
        cells=cells,
        whose=whose,
        found=found,
        labels=outcome,
        by_tag=by_tag,
        join=join,
        tags=tags,
        split_of=_split_reader(source, split, split_names),
        kept_of=_attribute_reader(source, attributes),
    ).manifest(place, kept, faults, noun)


def _sheet(path: Path, given: Mapping[str, Any]) -> Sheet:
    """The table, with all columns that the options name."""
    sheet = read_sheet(path, given["sheet"], given["encoding"])
    label = given["label"]
    labels = [label] if isinstance(label, str) else label or ()
    single = (given["image"], given["patient"], given["split"])
    sheet.require(
        [single[0], *labels, *single[1:], *given["attributes"], *(given["exclude"] or {})],
        "data.image, data.label, data.patient, data.split, data.attributes and data.exclude",
    )
    return sheet


def _files(
    root: Path, sheet: Sheet, cells: Mapping[int, str], left_out: set[int], given: Mapping[str, Any]
) -> Joined:
    """The files of all rows, by path or as `join` says.

    Args:
        cells: row -> its image column.
        left_out: rows for which only the files are needed.
    """
    join, tags, follow_links = given["join"], given["tags"], given["follow_links"]
    if join is not None:
        name = sheet.path.name  # its folder may name a patient, and reasons are written to files
        return joined(root, cells, join, tags, sheet.line, name, left_out, follow_links)
    path_of = path_maker(root, given["folder"], given["suffix"])
    paths = {i: path_of(cell) for i, cell in cells.items()}
    return named(root, paths, tags, sheet.line, left_out, follow_links)


def _people(
    sheet: Sheet, rows: Sequence[int], patient: str | None
) -> tuple[dict[int, str], list[str]]:
    """Row -> its patient, blank without a patient column; and faults of rows without a patient."""
    if patient is None:
        return dict.fromkeys(rows, ""), []
    cells = sheet.rows.column(patient)
    names = {cell: "" if is_nobody(cell) else one_name(cell) for cell in set(cells)}
    faults = [
        f"{sheet.line(i)}: no {patient}, so the patient is not known"
        for i in rows
        if not names[cells[i]]
    ]
    return {i: name for i in rows if (name := names[cells[i]])}, faults


def _split_reader(
    sheet: Sheet, column: str | None, names: Mapping[str, str] | None
) -> Callable[[int], Split | None]:
    """A function for the split of a row (DataError for unknown words), None if it has none."""
    if column is None:
        return lambda row: None
    cells = sheet.rows.column(column)
    own = {str(k): str(v) for k, v in (names or {}).items()}
    known: dict[str, Split | None] = {}

    def split_of(row: int) -> Split | None:
        cell = cells[row]
        if cell not in known:
            word = tidy(cell)
            known[cell] = parse_split(word, sheet.line(row), own) if word else None
        return known[cell]

    return split_of


def _attribute_reader(sheet: Sheet, columns: Sequence[str]) -> Callable[[int], dict[str, str]]:
    """A function for the attributes of a row; equal ones are one object, to save memory."""
    columns = list(dict.fromkeys(columns))
    cells = [sheet.rows.column(c) for c in columns]
    known: dict[tuple[str, ...], dict[str, str]] = {}

    def kept_of(row: int) -> dict[str, str]:
        key = tuple(column[row] for column in cells)
        if key not in known:
            words = zip(columns, map(tidy, key), strict=True)
            known[key] = {c: word for c, word in words if word and not is_error_cell(word)}
        return known[key]

    return kept_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """Everything known about each row, from which its records follow.

    Attributes:
        cells: row -> its image column.
        whose: row -> patient, or blank; without rows that have no file.
        by_tag: path -> patient, from DICOM headers.
        join: the option of that name.
    """

    sheet: Sheet
    cells: Mapping[int, str]
    whose: Mapping[int, str]
    found: Joined
    labels: Labelled
    by_tag: Mapping[str, str]
    join: str | None
    tags: Sequence[str]
    split_of: Callable[[int], Split | None]
    kept_of: Callable[[int], dict[str, str]]

    def manifest(self, root: Path, kept: Kept, faults: Sequence[str], group_noun: str) -> Manifest:
        """Raises DataError if no row yields a record.

        Args:
            faults: of rows that were already left out.
        """
        records, refused = self._records()
        faults = [*faults, *refused]
        if not records:
            refuse_rows(faults)
        excluded, without = counted(kept.reasons, self.found)
        left_out = {"the same row again": kept.again, "no image of that name": without}
        return Manifest(
            source=self.sheet.path.name,
            root=root,
            labels=self.labels.space,
            records=tuple(records),
            group_noun=group_noun,
            excluded=excluded,
            rows_left_out=_said(left_out),
            faults=tuple(faults),
        )

    def _records(self) -> tuple[list[Record], list[str]]:
        """All records, and the faults of rows that yield none."""
        row_of: dict[str, int] = {}
        first_path = first_of(self.by_tag)
        records: list[Record] = []
        faults: list[str] = []
        for row in self.whose:
            if row not in self.labels.faults:
                try:
                    records += self._of_row(row, row_of, first_path)
                except DataError as error:
                    faults.append(str(error))
        return records, faults

    def _of_row(
        self, row: int, row_of: dict[str, int], first_path: Mapping[str, str]
    ) -> list[Record]:
        """Raises DataError if the row is refused.

        Args:
            row_of: path -> the first row that has it; updated here.
            first_path: path -> the first path of the same patient.
        """
        target, cell, found = self.labels.target(row), self.cells[row], self.found
        by_path = self.join in (None, FILE_NAME) and not cell.startswith("/")
        if len({self.by_tag.get(path) for path in found.files[row]}) > 1:
            raise DataError(
                f"{self.sheet.line(row)}: files of this {self.join} have different PatientIDs, but "
                "a study is of one patient. Correct the files, or name the column with the "
                "patient: data.patient=COLUMN"
            )
        for path in found.files[row]:
            first = row_of.setdefault(path, row)
            if first != row:
                how = "the same" if _same(self.labels.target(first), target) else "other"
                raise DataError(
                    f"{self.sheet.line(row)}: {private(path)} is already in line "
                    f"{self.sheet.lines[first]}, with {how} labels"
                )
        split, kept = self.split_of(row), self.kept_of(row)
        # the files of one study show one patient, whoever that is
        own = cell if self.join is None or self.join in ROW_IS else ""
        records = []
        for path in found.files[row]:
            image_id = cell if by_path else path
            header = found.headers.get(path)
            records.append(
                Record(
                    image_id=image_id,
                    path=path,
                    group=self.whose[row] or self.by_tag.get(path, own or path),
                    target=target,
                    split=split,
                    attributes=kept | attributes_of(header, self.tags) if header else kept,
                    line=self.sheet.lines[row],
                    origin=(image_id, first_path[path]) if path in self.by_tag else None,
                )
            )
        return records


def _said(counts: Mapping[str, int]) -> dict[str, int]:
    for reason, count in counts.items():
        if count:
            log.info(f"  left out {count:,} rows: {reason}")
    return {reason: count for reason, count in counts.items() if count}


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))
