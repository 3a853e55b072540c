"""Which files belong to a row of a table that does not hold their paths: by file name, or by a
tag of their DICOM headers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medcnn.data.own.dicom_headers import IDENTIFIERS, Tags, digest, looks_like_dicom, read_headers
from medcnn.data.own.sheets import TABLE_SUFFIXES, whole_number
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.paths import MISSING, faults_on_disk, folded, lookalike
from medcnn.system.progress import log
from medcnn.system.registry import nearest

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"),
        *(".dcm", ".dicom", ".jp2"),
    )
)
FILE_NAME = "file_name"
JOINS = (FILE_NAME, *IDENTIFIERS)
FEW = 5
"""Of so many missing files one of a like name is looked for: each lists a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The files of each row, and the tags of those that are DICOM.

    Attributes:
        files: row -> paths below the root.
        headers: path -> keyword -> text.
        excluded: reason -> how many files or rows found no partner.
        faults: what is wrong with rows that have no files therefore.
    """

    files: Mapping[int, list[str]]
    headers: Mapping[str, Tags] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    faults: Sequence[str] = ()


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
            an accession number may have several, and each gets the labels of the row. A file name
            that is not there may differ from that of a file in case, Unicode form and ending.
        keywords: tags that are wanted beside.
        line: where a row stands. Messages name rows and no values, which may be those of patients.

    Raises:
        UsageError: an unknown join.
        DataError: nothing fits. Rows that hold the same value, and those of which one file was to
            be found where there are several, are faults.
    """
    if join not in JOINS:
        raise UsageError(f"data.join={join} is not one of {', '.join(JOINS)}{nearest(join, JOINS)}")
    rows_of: dict[str, list[int]] = {}
    for row, cell in cells.items():
        rows_of.setdefault(cell, []).append(row)
    faults = [
        f"{line(row)}: the same {join} stands in line {line(rows[0]).rpartition(':')[2]} already; "
        "leave one row of each"
        for cell, rows in rows_of.items()
        if cell
        for row in rows[1:]
    ]
    cells = {row: cell for row, cell in cells.items() if not cell or rows_of[cell][0] == row}
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
        alike: dict[str, set[str]] = {}
        for key, files_of in found.items():
            alike.setdefault(folded(key), set()).update(files_of)
        for key in wanted.values():
            near = alike.get(folded(key)) or alike.get(folded(without_ending(key)))
            if key not in found and near:
                found[key] = sorted(near)
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
        # a spreadsheet may have made 1.0 of 1
        whole = {row: digest(whole_number(cell)) for row, cell in cells.items()}
        wanted = {row: key if key in found else whole[row] for row, key in wanted.items()}
    files = {row: found[key] for row, key in wanted.items() if cells[row] and key in found}
    if not files:
        raise DataError(
            f"{table}: none of {len(cells)} rows names a {join} of the {len(images)} images under "
            f"{root}. Is data.image the column that holds it?"
        )
    if join in (FILE_NAME, "SOPInstanceUID"):
        faults += [
            f"{line(row)}: {len(paths)} files have this {join}; leave one file of each"
            for row, paths in files.items()
            if len(paths) > 1
        ]
    used = {path for paths in files.values() for path in paths}
    identified = {p for p in images if join == FILE_NAME or headers[p][join]}
    excluded[f"without a row in {table}"] = len(identified - used)
    excluded[f"named in {table} and not there"] = len(cells) - len(files)
    log.info(f"  {len(used):,} images belong to {len(files):,} rows of {table} by their {join}")
    if join in (FILE_NAME, "SOPInstanceUID"):
        files = {row: paths for row, paths in files.items() if len(paths) == 1}
    return Joined(files=files, headers=headers, excluded=+excluded, faults=faults)


def named(
    root: Path,
    paths: Mapping[int, str],
    keywords: Sequence[str],
    line: Callable[[int], str],
) -> Joined:
    """The files of rows that hold paths. Paths that leave the root, are no regular files, are not
    there, or are DICOM files without an image, are faults.

    Args:
        paths: row -> path below `root`.
        keywords: tags that are wanted of those that are DICOM.
        line: where a row stands.

    Raises:
        UsageError: tags are wanted, and no file is a DICOM.
    """
    wrong = faults_on_disk(root, paths.values())
    headers: Mapping[str, Tags] = {}
    if keywords and (there := [path for path in paths.values() if path not in wrong]):
        dicom = [path for path in there if looks_like_dicom(root / path)]
        if not dicom:
            raise UsageError("data.tags has no effect: no image of the table is a DICOM.")
        headers, refused = read_headers(root, dicom, keywords)
        wrong |= refused
    faults: list[str] = []
    for row, path in paths.items():
        if why := wrong.get(path):
            alike = lookalike(root, path) if why == MISSING and len(faults) < FEW else None
            hint = f"; there is {private(alike)}, of other case or Unicode form" if alike else ""
            faults.append(f"{line(row)}: {private(path)} is {why}{hint}")
    files = {row: [path] for row, path in paths.items() if path not in wrong}
    return Joined(files=files, headers=headers, faults=faults)


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
    whose = {p: headers[p]["PatientID"] if p in headers else "" for p in paths}
    if not headers or not all(whose.values()):
        return {}
    patients = len(set(whose.values()))
    if patients == 1 and len(whose) > 1:
        log.warning(f"all {len(whose):,} images have one and the same PatientID: it names no one")
        return {}
    log.info(f"  {patients:,} patients, by the PatientID of the DICOM headers")
    return whose


def first_of(whose: Mapping[str, str]) -> dict[str, str]:
    """Path -> the first path of the same patient, which stands for the patient where nothing may
    depend on the key: in splits and in the fingerprint."""
    first: dict[str, str] = {}
    for path in sorted(whose):
        first.setdefault(whose[path], path)
    return {path: first[who] for path, who in whose.items()}


def attributes_of(header: Tags | None, tags: Sequence[str]) -> dict[str, str]:
    """The wanted tags that an image has."""
    return {t: header[t] for t in tags if header[t]} if header else {}
