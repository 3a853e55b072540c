"""Finds the files of table rows that do not contain paths: by file name, or by a DICOM tag."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medcnn.data.manifest import EXAM, NO_DICOM
from medcnn.data.own.dicom_headers import IDENTIFIERS, Tags, digest, looks_like_dicom, read_headers
from medcnn.data.own.image_files import (
    FOLLOW,
    IMAGE_SUFFIXES,
    ending,
    files_below,
    is_image,
    last_part,
    without_ending,
)
from medcnn.data.own.sheets import TABLE_SUFFIXES, whole_number
from medcnn.system.errors import DataError, UsageError, private
from medcnn.system.paths import LINKED, MISSING, faults_on_disk, folded, lookalike
from medcnn.system.progress import log
from medcnn.system.registry import nearest

FILE_NAME = "file_name"
JOINS = (FILE_NAME, *IDENTIFIERS)
ROW_IS = {"StudyInstanceUID": EXAM, "AccessionNumber": EXAM}
"""What a row stands for if it may have several files."""
FEW = 5
"""Similar names are searched for this many missing files; each search lists a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The files of each row, and the tags of DICOM files.

    Attributes:
        files: row -> paths below the root; includes rows that are left out.
        headers: path -> keyword -> text.
        excluded: reason -> number of files without a row.
        without: rows without a file, if that is allowed.
        faults: why rows have no files.
    """

    files: Mapping[int, Sequence[str]]
    headers: Mapping[str, Tags] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    without: Collection[int] = ()
    faults: Sequence[str] = ()

    def paths(self, rows: Iterable[int]) -> list[str]:
        """The files of `rows`, which all have some."""
        return [path for row in rows for path in self.files[row]]

    def people(self, whose: Mapping[int, str]) -> dict[str, str]:
        """File -> the patient that its row names, or else its header; if neither, itself."""
        named = {path: name for row, name in whose.items() for path in self.files[row]}
        return {p: n or self.headers.get(p, {}).get("PatientID") or p for p, n in named.items()}


def joined(
    root: Path,
    cells: Mapping[int, str],
    join: str,
    keywords: Sequence[str],
    line: Callable[[int], str],
    table: str,
    left_out: Collection[int] = (),
    follow_links: bool = False,
) -> Joined:
    """Files below `root` whose name or tag matches a row.

    Args:
        cells: row -> its image column.
        join: one of JOINS. A SOPInstanceUID or a file name means one file. A patient, a study and
            an accession number may have several files, and each gets the labels of the row. A file
            name may differ from the file's in case, Unicode form and extension.
        keywords: additional tags to read.
        line: gives the place of a row. Messages name rows, not values, which may name patients.
        table: its name, without its folder.
        left_out: rows for which only the files are needed.
        follow_links: follow links, even out of the root.

    Raises:
        UsageError: an unknown join.
        DataError: nothing matches. Repeated values, and several files where one is needed, are
            recorded as faults.
    """
    if join not in JOINS:
        raise UsageError(f"data.join={join} is not one of {', '.join(JOINS)}{nearest(join, JOINS)}")
    stay = {row: cell for row, cell in cells.items() if row not in left_out}
    first, faults = _first_rows(stay, join, line)
    below_root = files_below(root, follow_links=follow_links)
    paths = [p for p in below_root if PurePosixPath(p).suffix.lower() not in TABLE_SUFFIXES]
    if join == FILE_NAME:
        by_key, wanted = _by_name([p for p in paths if is_image(root, p)], cells)
    else:
        by_key, wanted = _by_tag(root, paths, cells, join, keywords)
    found = by_key.found
    files = {row: found[wanted[row]] for row in first if stay[row] and wanted[row] in found}
    if not files:
        raise DataError(
            f"{table}: none of {len(first)} rows matches the {join} of any of the "
            f"{len(by_key.images)} images under {root}. Is data.image the right column?"
        )
    one_each = join in (FILE_NAME, "SOPInstanceUID")
    if one_each:
        faults += [
            f"{line(row)}: {len(paths)} files have this {join}; keep one file of each"
            for row, paths in files.items()
            if len(paths) > 1
        ]
    used = {path for paths in files.values() for path in paths}
    # a file of both a kept row and a left-out row belongs to the kept one
    others = {
        row: [path for path in found.get(wanted[row], ()) if path not in used]
        for row in cells
        if row in left_out and cells[row]
    }
    known = used | {path for paths in others.values() for path in paths}
    excluded = by_key.excluded + Counter({f"without a row in {table}": len(by_key.keyed - known)})
    asked = {*first, *left_out}
    without = [r for r in cells if r in asked and r not in files and wanted[r] not in found]
    log.info(f"  {len(used):,} images matched to {len(files):,} rows of {table} by their {join}")
    if one_each:
        files = {row: paths for row, paths in files.items() if len(paths) == 1}
    files |= {row: paths for row, paths in others.items() if paths}
    return Joined(
        files=files, headers=by_key.headers, excluded=excluded, without=without, faults=faults
    )


def _first_rows(
    cells: Mapping[int, str], join: str, line: Callable[[int], str]
) -> tuple[list[int], list[str]]:
    """The first row of each value, and every blank one; and the faults of the others."""
    rows_of: dict[str, list[int]] = {}
    for row, cell in cells.items():
        rows_of.setdefault(cell, []).append(row)
    faults = [
        f"{line(row)}: same {join} as in line {line(rows[0]).rpartition(':')[2]}; keep one row of "
        "each"
        for cell, rows in rows_of.items()
        if cell
        for row in rows[1:]
    ]
    return [row for row, cell in cells.items() if not cell or rows_of[cell][0] == row], faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByKey:
    """Files by their possible keys.

    Attributes:
        images: all images examined.
        found: name or tag -> paths.
        keyed: images with a name or a tag.
        headers, excluded: as in `Joined`.
    """

    images: Collection[str]
    found: Mapping[str, list[str]]
    keyed: set[str]
    headers: Mapping[str, Tags] = field(default_factory=dict)
    excluded: Counter[str] = field(default_factory=Counter)


def _by_name(images: list[str], cells: Mapping[int, str]) -> tuple[_ByKey, dict[int, str]]:
    """Images by their names, with and without extension; and row -> the name it asks for."""
    found = by_name(images)
    wanted = {row: last_part(cell) for row, cell in cells.items()}
    alike: dict[str, set[str]] = {}
    for key, files_of in found.items():
        alike.setdefault(folded(key), set()).update(files_of)
    for key in wanted.values():
        near = alike.get(folded(key)) or alike.get(folded(without_ending(key)))
        if key not in found and near:
            found[key] = sorted(near)
    return _ByKey(images=images, found=found, keyed=set(images)), wanted


def by_name(images: Iterable[str]) -> dict[str, list[str]]:
    """File name, with and without extension -> paths."""
    found: dict[str, list[str]] = {}
    for path in images:
        for key in {PurePosixPath(path).name, without_ending(path)}:
            found.setdefault(key, []).append(path)
    return found


def _by_tag(
    root: Path, paths: list[str], cells: Mapping[int, str], join: str, keywords: Sequence[str]
) -> tuple[_ByKey, dict[int, str]]:
    """DICOM files by a tag; and row -> the digest of the tag it asks for."""
    dicom = [p for p in paths if looks_like_dicom(root / p)]
    excluded = Counter({NO_DICOM: len(paths) - len(dicom)})
    headers, refused = read_headers(root, dicom, keywords)
    excluded.update(refused.values())
    found: dict[str, list[str]] = {}
    for path, tags in headers.items():
        if tags[join]:
            found.setdefault(tags[join], []).append(path)
        else:
            excluded[f"without {join}"] += 1
    wanted = {row: digest(cell) for row, cell in cells.items()}
    for row, key in wanted.items():
        if key not in found:  # a spreadsheet may have turned 1 into 1.0
            wanted[row] = digest(whole_number(cells[row]))
    keyed = {path for path, tags in headers.items() if tags[join]}
    by_tag = _ByKey(images=headers, found=found, keyed=keyed, headers=headers, excluded=excluded)
    return by_tag, wanted


def counted(reasons: Mapping[int, str], found: Joined) -> tuple[dict[str, int], int]:
    """Reason -> number of images left out; and the number of rows without an image.

    Args:
        reasons: row -> why it is left out.
    """
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for row, reason in reasons.items():
        new = set(found.files.get(row, ())) - seen
        left_out[reason] += len(new)
        seen |= new
    left_out.update(found.excluded)
    return dict(+left_out), len(found.without)


def below(root: Path, path: str) -> str | None:
    """An absolute path as a path below `root`, if it is below it."""
    if path.startswith("/"):
        for top in dict.fromkeys((os.path.abspath(root), os.path.realpath(root))):
            if path.startswith(f"{top}/"):
                return path.removeprefix(f"{top}/").lstrip("/")
    return None


def path_maker(root: Path, folder: str, suffix: str) -> Callable[[str], str]:
    """A function from a cell to the path below `root` that it means.

    Args:
        folder: put before a path that is not absolute.
        suffix: added if a path lacks the extension of an image, like `1.2.840`.
    """

    def path_of(cell: str) -> str:
        path = cell.replace("\\", "/")  # tables written on Windows
        inside = below(root, path)
        if inside is not None:
            path = inside
        elif not path.startswith("/"):
            path = f"{folder}/{path}" if folder else path
            if "//" in (around := f"/{path}/") or "/./" in around:
                path = "/".join(part for part in path.split("/") if part not in ("", "."))
        return path + suffix if suffix and ending(path) not in IMAGE_SUFFIXES else path

    return path_of


def named(
    root: Path,
    paths: Mapping[int, str],
    keywords: Sequence[str],
    line: Callable[[int], str],
    left_out: Collection[int] = (),
    follow_links: bool = False,
) -> Joined:
    """The files of rows that contain paths. Faults are paths that leave the root, are missing, are
    not regular files, or are DICOM files without an image.

    Args:
        paths: row -> path below `root`.
        keywords: tags to read from DICOM files.
        line: gives the place of a row.
        left_out: rows for which only the existence of files is checked.
        follow_links: links may lead out of the root.

    Raises:
        UsageError: tags were asked for, but no file is a DICOM.
    """
    wrong = faults_on_disk(root, paths.values(), follow_links=follow_links)
    headers: Mapping[str, Tags] = {}
    if keywords and (there := [path for path in paths.values() if path not in wrong]):
        dicom = [path for path in there if looks_like_dicom(root / path)]
        if not dicom:
            raise UsageError("data.tags has no effect: no image of the table is a DICOM.")
        headers, refused = read_headers(root, dicom, keywords)
        wrong |= refused
    faults: list[str] = []
    for row, path in paths.items() if wrong else ():
        if (why := wrong.get(path)) and row not in left_out:
            alike = lookalike(root, path) if why == MISSING and len(faults) < FEW else None
            hint = f"; {private(alike)} differs in case or Unicode form" if alike else ""
            hint = f". {FOLLOW}" if why == LINKED else hint
            faults.append(f"{line(row)}: {private(path)} is {why}{hint}")
    files = {row: (path,) for row, path in paths.items() if path not in wrong}
    if left_out:
        stay = {paths[row] for row in files if row not in left_out}
        twice = {row for row in left_out if row in files and paths[row] in stay}
        files = {row: found for row, found in files.items() if row not in twice}
    without = [row for row in left_out if wrong.get(paths.get(row, "")) == MISSING]
    return Joined(files=files, headers=headers, without=without, faults=faults)


def by_patient(paths: Iterable[str], headers: Mapping[str, Tags]) -> dict[str, str]:
    """Path -> patient, if every file has a PatientID; else empty."""
    whose = {p: headers[p]["PatientID"] if p in headers else "" for p in paths}
    if not headers or not all(whose.values()):
        return {}
    patients = len(set(whose.values()))
    if patients == 1 and len(whose) > 1:
        log.warning(f"all {len(whose):,} images have the same PatientID, so it is ignored")
        return {}
    log.info(f"  {patients:,} patients, by the PatientID of the DICOM headers")
    return whose


def first_of(whose: Mapping[str, str]) -> dict[str, str]:
    """Path -> the first path of the same patient. It identifies the patient where results must not
    depend on the key: in splits and in the fingerprint."""
    first: dict[str, str] = {}
    for path in sorted(whose):
        first.setdefault(whose[path], path)
    return {path: first[who] for path, who in whose.items()}


def attributes_of(header: Tags | None, tags: Sequence[str]) -> dict[str, str]:
    """Those of `tags` that an image has."""
    return {t: header[t] for t in tags if header[t]} if header else {}
