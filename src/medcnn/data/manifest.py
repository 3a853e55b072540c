"""One table format for all data sets: image, patient, labels, split.

A manifest is written as `manifest.csv`, which any spreadsheet opens, with a header
`manifest.json` (kind and order of the labels, source of the set).
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import LabelSpace
from medcnn.data.own.words import tidy
from medcnn.data.split_words import split_word
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.files import heading, plain, quoted, table, write_text
from medcnn.system.paths import leaves_root
from medcnn.system.registry import nearest

EXAM = "exam"
"""A study, or what an accession number stands for, whose patient is not known."""
NO_PATIENT = frozenset({"image", EXAM})
NO_DICOM = "files that are not DICOM"
NO_CLASS = "not in a class folder"
NO_ENDING = "in a class folder, without the extension of an image"
OTHER_FILES = frozenset(
    (
        *(NO_DICOM, NO_CLASS, NO_ENDING),
        # as earlier run folders have them
        *("files that are no DICOM", "not in the folder of a class"),
        "in the folder of a class, without the ending of an image",
    )
)
"""Reasons in `excluded` that count files, which may not be images at all."""


class Split(StrEnum):
    """The part of a data set that an image belongs to."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Modality(StrEnum):
    """The kind of photograph; decides which augmentations are harmless."""

    FUNDUS = "fundus"
    DERMOSCOPY = "dermoscopy"
    CHEST = "chest"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image.

    Attributes:
        image_id: unique in its manifest.
        path: relative to the root, with `/`; a row of an npz is `file.npz#array/row`.
        group: patient, or lesion if the set identifies only lesions; never in two splits.
        target: [K] floats as in `labels`, nan if not assessed.
        split: None until `splits.assign` has run.
        fold: its number in a cross-validation, from 1, or None.
        attributes: age, sex, view, site and the like, as written in the table.
        origin: image id and group before they became pseudonyms; None if they did not. They
            determine splits, random numbers and the fingerprint, and are never written to files.
        line: its line in the table, as spreadsheets count; None if there is no table.
    """

    image_id: str
    path: str
    group: str
    target: tuple[float, ...]
    split: Split | None = None
    fold: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    origin: tuple[str, str] | None = None
    line: int | None = None

    @property
    def own_id(self) -> str:
        """The image id before it became a pseudonym."""
        return self.origin[0] if self.origin else self.image_id

    @property
    def own_group(self) -> str:
        """The group before it became a pseudonym."""
        return self.origin[1] if self.origin else self.group

    def in_split(self, split: Split | None, fold: int | None = None) -> Record:
        """A copy in this split, and in `fold` unless that is None."""
        # written out, since `dataclasses.replace` takes three times as long
        return Record(
            image_id=self.image_id,
            path=self.path,
            group=self.group,
            target=self.target,
            split=split,
            fold=self.fold if fold is None else fold,
            attributes=self.attributes,
            origin=self.origin,
            line=self.line,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The records of one dataset under one root, and what their targets mean.

    Attributes:
        group_noun: what a group is: patient, lesion; or, if the set does not identify patients,
            EXAM or image. Then splits may share a patient.
        excluded: reason -> number of images of the source that were left out (for `OTHER_FILES`,
            of files).
        rows_left_out: reason -> number of table rows that are not images: they name none, or
            repeat another row in every cell.
        faults: why the set must not be used, one for each table row without a record. Only an
            audit continues, to report everything at once.
    """

    source: str
    root: Path
    labels: LabelSpace
    records: tuple[Record, ...]
    modality: Modality = Modality.OTHER
    group_noun: str = "patient"
    excluded: Mapping[str, int] = field(default_factory=dict)
    rows_left_out: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        faults = []
        counts = Counter(r.image_id for r in self.records)
        if len(counts) < len(self.records):
            twice = [image_id for image_id, count in counts.items() if count > 1]
            faults.append(f"{len(twice)} image ids are not unique: {_hidden(twice)}")
        outside = [repr(r.path) for r in self.records if leaves_root(r.path)]
        if outside:
            faults.append(f"{len(outside)} paths leave the data root: {_hidden(outside)}")
        width = len(self.labels.outputs)
        if wrong := [r.image_id for r in self.records if len(r.target) != width]:
            faults.append(f"{len(wrong)} targets do not have {width} values: {_hidden(wrong)}")
        if not self.records:
            faults.append("no image with a label was found")
        if faults:
            raise DataError(f"{self.source} under {self.root}: " + "; ".join(faults) + ".")

    def targets(self) -> NDArray[np.float32]:
        """[N, K], nan if not assessed."""
        return np.array([r.target for r in self.records], dtype=np.float32)

    @property
    def pseudonymous(self) -> bool:
        """Whether all ids are keyed pseudonyms, as in a hospital's own data, not in public sets."""
        return all(r.origin is not None for r in self.records)

    @property
    def grouped(self) -> bool:
        """Whether the set says which images belong together."""
        return self.group_noun != "image"

    @property
    def patients_known(self) -> bool:
        """Whether patients or lesions are known."""
        return self.group_noun not in NO_PATIENT

    def rows(self, split: str) -> NDArray[np.int64]:
        """Positions of the records of a split, or of `all`, in manifest order.

        Raises:
            UsageError: no split has that name.
        """
        if split not in (known := ("all", *Split)):
            raise UsageError(f"split={split} is not one of {', '.join(known)}.")
        found = (i for i, r in enumerate(self.records) if split in ("all", r.split))
        return np.fromiter(found, np.int64)

    def with_records(self, records: Iterable[Record]) -> Manifest:
        """A copy with other records."""
        return replace(self, records=tuple(records))

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> images, groups and positives per label, for the report's table of data.

        Keys of the inner dict: `images`, `groups`, and one `label:<name>` per class. The negative
        class of binary labels is counted too.
        """
        places = {split: [r for r in self.records if r.split is split] for split in Split}
        return {split: self._counted(chosen) for split, chosen in places.items() if chosen}

    def fold_counts(self) -> dict[int, dict[str, int]]:
        """Fold -> the same counts."""
        folds = sorted({r.fold for r in self.records if r.fold is not None})
        return {f: self._counted([r for r in self.records if r.fold == f]) for f in folds}

    def _counted(self, chosen: list[Record]) -> dict[str, int]:
        target = np.array([r.target for r in chosen])
        row = {"images": len(chosen), "groups": len({r.group for r in chosen})}
        if len(self.labels.names) > len(self.labels.outputs):
            row[f"label:{self.labels.names[0]}"] = int((target[:, 0] == 0).sum())
        for name, column in zip(self.labels.outputs, target.T, strict=True):
            row[f"label:{name}"] = int((column == 1).sum())
        return row

    def fingerprint(self) -> str:
        """SHA-256 over labels and records.

        Equal if and only if the same images have the same labels in the same splits. The root does
        not matter, so a set may be moved.
        """
        digest = hashlib.sha256(json.dumps(self.labels.to_json()).encode())
        for r in self.records:
            cells = [_cell(v) for v in r.target]
            row = [r.own_id, r.path, r.own_group, r.split, cells, sorted(r.attributes.items())]
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write the table to `path` (.csv) and its header next to it (.json).

        Images whose ids are pseudonyms get blank paths.
        """
        attributes = sorted({name for r in self.records for name in r.attributes})
        with table(path) as file:
            writer = csv.writer(file)
            labels = [heading(f"label:{name}") for name in self.labels.outputs]
            attribute_columns = [heading(f"attribute:{name}") for name in attributes]
            fold = ["fold"] if any(r.fold for r in self.records) else []
            first = ("image_id", "path", "group", "split", *fold, "line")
            writer.writerow([*first, *labels, *attribute_columns])
            for r in self.records:
                cells = [_cell(v) for v in r.target]
                extra = [r.attributes.get(name, "") for name in attributes]
                place = "" if r.origin else r.path
                names = map(quoted, (r.image_id, place, r.group))
                line = "" if r.line is None else str(r.line)
                own = [r.fold or ""] if fold else []
                writer.writerow([*names, r.split or "", *own, line, *cells, *map(quoted, extra)])
        header = {
            "source": self.source,
            "modality": self.modality,
            "labels": self.labels.to_json(),
            "group_noun": self.group_noun,
            "excluded": dict(self.excluded),
            "rows_left_out": dict(self.rows_left_out),
            "fingerprint": self.fingerprint(),
        }
        write_text(path.with_suffix(".json"), json.dumps(header, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path, root: Path) -> Manifest:
        """Read the manifest that `write` wrote to `path`, for images under `root`.

        Raises:
            DataError: a file is missing, or a row contradicts the header; names the line.
        """
        header_path = path.with_suffix(".json")
        for needed in (path, header_path):
            if not needed.is_file():
                raise DataError(f"{needed} is missing; a manifest consists of a .csv and a .json.")
        try:
            header = json.loads(header_path.read_text(encoding="utf-8"))
            labels = LabelSpace.from_json(header["labels"])
            modality, group_noun = Modality(header["modality"]), str(header["group_noun"])
            source, excluded = str(header["source"]), dict(header["excluded"])
            rows_left_out = dict(header.get("rows_left_out", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{header_path} is not the header of a manifest: {error!r}.") from error
        records = []
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            needed_columns = ["image_id", "path", "group", "split"]
            if absent := [c for c in needed_columns if c not in (reader.fieldnames or ())]:
                raise DataError(f"{path} has no column {listed(absent)}, so it is not a manifest.")
            for line, row in enumerate(reader, start=2):
                try:
                    cells = (row[heading(f"label:{name}")] for name in labels.outputs)
                    target = tuple(float(c) if c else math.nan for c in cells)
                except (KeyError, ValueError) as error:
                    raise DataError(f"{path}:{line}: bad label column or value: {error}") from None
                attributes = {
                    k.removeprefix("attribute:"): plain(v)
                    for k, v in row.items()
                    if k.startswith("attribute:") and v
                }
                split = parse_split(row["split"], f"{path}:{line}") if row["split"] else None
                records.append(
                    Record(
                        image_id=plain(row["image_id"]),
                        path=plain(row["path"]),
                        group=plain(row["group"]),
                        target=target,
                        split=split,
                        fold=int(of) if (of := row.get("fold") or "").isdecimal() else None,
                        attributes=attributes,
                        line=int(of) if (of := row.get("line") or "").isdecimal() else None,
                    )
                )
        return cls(
            source=source,
            root=root,
            labels=labels,
            records=tuple(records),
            modality=modality,
            group_noun=group_noun,
            excluded=excluded,
            rows_left_out=rows_left_out,
        )


def parse_split(text: str, where: str, names: Mapping[str, str] | None = None) -> Split:
    """The split that a table calls `text`.

    Args:
        text: a word from the table.
        where: file and line for the message.
        names: the table's own words -> train, validation, test.
    """
    word = tidy(text).lower()
    own = {tidy(k).lower(): v for k, v in (names or {}).items()}
    found = own.get(word) or split_word(word)
    if found not in set(Split):
        raise DataError(
            f"{where}: split {private(text)} is not one of train, validation, test"
            f"{nearest(word, Split)}"
        )
    return Split(found)


def _hidden(names: list[str]) -> str:
    return listed([private(name) for name in names])


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:g}"
