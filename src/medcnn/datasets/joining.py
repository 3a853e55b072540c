"""Which files belong to a row of a table that does not hold their paths: by file name, or by a
tag of their DICOM headers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medcnn.choices import nearest
from medcnn.datasets.dicom_headers import (
    IDENTIFIERS,
    Tags,
    digest,
    looks_like_dicom,
    read_headers,
)
from medcnn.datasets.sheets import TABLE_SUFFIXES, of_every_row, refuse_missing
from medcnn.errors import DataError, UsageError, listed, private
from medcnn.paths import MISSING, faults_on_disk
from medcnn.progress import log

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"),
        *(".dcm", ".dicom", ".jp2"),
    )
)
FILE_NAME = "file_name"
JOINS = (FILE_NAME, *IDENTIFIERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The files of each row, and the tags of those that are DICOM.

    Attributes:
        files: row -> paths below the root.
        headers: path -> keyword -> text.
        excluded: reason -> how many files or rows found no partner.
    """

    files: Mapping[int, list[str]]
    headers: Mapping[str, Tags] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)


def joined(
    root: Path,
    cells: Mapping[int, str],
    join: str,
    keywords: Sequence[str],
    line: Callable[[int], str],
    table: str,
) -> Joined:
    """Files below `root` whose name or tag is what a row says.

    Args:
        cells: row -> what its image column says.
        join: one of JOINS. A SOPInstanceUID and a file name mean one file; a patient, a study and
            an accession number may have several, and each gets the labels of the row.
        keywords: tags that are wanted beside.
        line: where a row stands. Messages name rows and no values, which may be those of patients.

    Raises:
        UsageError: an unknown join.
        DataError: nothing fits, a value stands in several rows, or one file was to be found and
            there are several.
    """
    if join not in JOINS:
        raise UsageError(f"data.join={join} is not one of {', '.join(JOINS)}{nearest(join, JOINS)}")
    rows_of: dict[str, list[int]] = {}
    for row, cell in cells.items():
        rows_of.setdefault(cell, []).append(row)
    twice = [rows for cell, rows in rows_of.items() if cell and len(rows) > 1]
    if twice:
        shown = [" and ".join(line(row) for row in rows[:2]) for rows in twice]
        raise DataError(
            f"data.join={join} needs one row for each, and several rows hold the same in "
            f"{len(twice)} cases: {listed(shown)}. Leave one row of each."
        )
    found: dict[str, list[str]] = {}
    headers: dict[str, Tags] = {}
    excluded: Counter[str] = Counter()
    paths = [p for p in files_below(root) if PurePosixPath(p).suffix.lower() not in TABLE_SUFFIXES]
    if join == FILE_NAME:
        images = [p for p in paths if is_image(root, p)]
        for path in images:
            for key in {PurePosixPath(path).name, without_ending(path)}:
                found.setdefault(key, []).append(path)
        wanted = {row: last_part(cell) for row, cell in cells.items()}
    else:
        images = [p for p in paths if looks_like_dicom(root / p)]
        excluded["files that are no DICOM"] = len(paths) - len(images)
        headers, refused = read_headers(root, images, keywords)
        excluded.update(refused.values())
        images = list(headers)
        for path, tags in headers.items():
            if tags[join]:
                found.setdefault(tags[join], []).append(path)
            else:
                excluded[f"without {join}"] += 1
        wanted = {row: digest(cell) for row, cell in cells.items()}
    files = {row: found[key] for row, key in wanted.items() if cells[row] and key in found}
    if not files:
        raise DataError(
            f"{table}: none of {len(cells)} rows names a {join} of the {len(images)} images under "
            f"{root}. Is data.image the column that holds it?"
        )
    if join in (FILE_NAME, "SOPInstanceUID") and (
        several := {row: paths for row, paths in files.items() if len(paths) > 1}
    ):
        shown = [f"{line(row)} ({len(paths)} files)" for row, paths in several.items()]
        raise DataError(
            f"several files have the {join} of one row, in {len(several)} cases: {listed(shown)}. "
            "Leave one file of each."
        )
    used = {path for paths in files.values() for path in paths}
    identified = {p for p in images if join == FILE_NAME or headers[p][join]}
    excluded[f"without a row in {table}"] = len(identified - used)
    excluded[f"named in {table} and not there"] = len(cells) - len(files)
    log.info(f"  {len(used):,} images belong to {len(files):,} rows of {table} by their {join}")
    return Joined(files=files, headers=headers, excluded=+excluded)


def named(
    root: Path,
    paths: Mapping[int, str],
    keywords: Sequence[str],
    line: Callable[[int], str],
    table: str,
) -> Joined:
    """The files of rows that hold paths.

    Args:
        paths: row -> path below `root`.
        keywords: tags that are wanted of those that are DICOM.
        line: where a row stands.

    Raises:
        DataError: paths that leave the root or are no regular files, by row; files that are not
            there; DICOM files that are no images. All rows of a kind at once.
        UsageError: tags are wanted, and no file is a DICOM.
    """
    faults = faults_on_disk(root, paths.values())

    def checked(row: int) -> list[str]:
        fault = faults.get(paths[row], MISSING)
        if fault != MISSING:
            raise DataError(f"{line(row)}: {private(paths[row])} is {fault}; it is not opened.")
        return [paths[row]]

    unsafe = [row for row, path in paths.items() if faults.get(path, MISSING) != MISSING]
    of_every_row(unsafe, checked)
    at = {path: line(row).rpartition(":")[2] for row, path in paths.items()}
    refuse_missing(table, root, paths.values(), faults, at)
    files = {row: [path] for row, path in paths.items()}
    if not keywords:
        return Joined(files=files)
    dicom = [path for path in paths.values() if looks_like_dicom(root / path)]
    if not dicom:
        raise UsageError(f"data.tags has no effect: no image of {table} is a DICOM.")
    headers, refused = read_headers(root, dicom, keywords)
    if refused:
        shown = [f"{private(path)}: {why}" for path, why in refused.items()]
        raise DataError(f"{table}: {len(refused)} files are no images:\n  {listed(shown)}")
    return Joined(files=files, headers=headers)


def files_below(root: Path) -> list[str]:
    """Every file below a root, with `/`, in order; what begins with a dot is passed over.

    Raises:
        DataError: links out of the root, pipes and devices, all of them at once.
    """
    paths = sorted(walked(root))
    if faults := faults_on_disk(root, paths):
        shown = [f"{private(path)} is {why}" for path, why in faults.items()]
        raise DataError(f"{root}: {len(faults)} files are not opened: {listed(shown)}.")
    return paths


def walked(root: Path) -> Iterator[str]:
    """Paths below `root` of what is neither hidden nor a folder; raises DataError."""

    def refuse(error: OSError) -> None:
        place = os.path.relpath(error.filename, root)
        raise DataError(f"{root}: the folder {private(place)} cannot be listed: {error.strerror}.")

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [f for f in folders if not f.startswith(".")]
        place = Path(folder).relative_to(root)
        if links := [(place / f).as_posix() for f in folders if os.path.islink(root / place / f)]:
            shown = listed([private(link) for link in links])
            log.warning(f"links to folders are not followed: {shown}")
        yield from ((place / n).as_posix() for n in names if not n.startswith("."))


def is_image(root: Path, path: str) -> bool:
    """By its ending, or as a DICOM by its first bytes."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES or looks_like_dicom(root / path)


def without_ending(path: str) -> str:
    """The name of a file less the ending of an image: `1.2.840` has none, `1.2.840.dcm` has."""
    name = PurePosixPath(path)
    return name.stem if name.suffix.lower() in IMAGE_SUFFIXES else name.name


def last_part(cell: str) -> str:
    """The file name of a cell that may hold a path, also one of Windows."""
    return PurePosixPath(cell.replace("\\", "/")).name


def by_patient(paths: Iterable[str], headers: Mapping[str, Tags]) -> dict[str, str]:
    """Path -> who, where every file names someone in its PatientID; else empty."""
    whose = {p: headers[p]["PatientID"][:12] if p in headers else "" for p in paths}
    if not headers or not all(whose.values()):
        return {}
    patients = len(set(whose.values()))
    if patients == 1 and len(whose) > 1:
        log.warning(f"all {len(whose):,} images have one and the same PatientID: it names no one")
        return {}
    log.info(f"  {patients:,} patients, by the PatientID of the DICOM headers")
    return whose


def attributes_of(header: Tags | None, tags: Sequence[str]) -> dict[str, str]:
    """The wanted tags that an image has."""
    return {t: header[t] for t in tags if header[t]} if header else {}
