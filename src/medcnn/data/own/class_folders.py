"""A folder per class: `root/<class>/...`, or `root/<split>/<class>/...`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from medcnn.data.manifest import Manifest, Record, Split, parse_split
from medcnn.data.own.classes import encoded, refuse_names, space_of
from medcnn.data.own.dicom_headers import DAMAGED, looks_like_dicom, read_headers
from medcnn.data.own.joining import (
    attributes_of,
    by_patient,
    files_below,
    first_of,
    is_image,
)
from medcnn.data.own.sheets import found_under
from medcnn.system.errors import DataError, UsageError


def read_class_folders(
    root: Path,
    kind: str,
    classes: Sequence[str] | None,
    rename: Mapping[str, str],
    tags: Sequence[str] = (),
) -> Manifest:
    """Every image below the folder of its class; folders named by splits stand above classes.

    DICOM files may lack an ending. Where every image is a DICOM that names its patient, patients
    are the groups, by a keyed digest of their PatientID. What begins with a dot is ignored; what
    is no image, or lies in no class, is counted in `excluded`.

    Args:
        tags: of the DICOM headers, kept as attributes.
    """
    tops = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    split_of = {name: _split_or_none(name) for name in tops}
    by_split = bool(tops) and all(split_of.values())
    depth = 1 if by_split else 0
    excluded: Counter[str] = Counter()
    found = []
    for path in files_below(root):
        if path.count("/") < depth + 1:
            excluded["not in the folder of a class"] += 1
        elif not is_image(root, path):
            excluded["in the folder of a class, without the ending of an image"] += 1
        else:
            found.append(path)
    headers, refused = read_headers(root, [p for p in found if looks_like_dicom(root / p)], tags)
    # a damaged image is for the audit to tell of, and for audit.max_bad to allow
    excluded.update(why for why in refused.values() if why != DAMAGED)
    whole = [p for p in found if p not in refused]
    found = [p for p in found if refused.get(p, DAMAGED) == DAMAGED]
    if not found:
        raise DataError(
            f"{root}: expected a folder per class with images (class/image.jpg) or data.table, "
            f"found {found_under(root, hidden=True)}."
        )
    if tags and not headers:
        raise UsageError(f"data.tags has no effect: no image under {root} is a DICOM.")
    whose = by_patient(whole, headers)
    first = first_of(whose)
    present = {i: [rename.get(n, n)] for i, n in enumerate(p.split("/")[depth] for p in found)}
    if not classes:
        refuse_names(present, f"folders of {root}")
    space = space_of(kind, classes, present, many=False)
    return Manifest(
        source=root.name,
        root=root,
        labels=space,
        records=tuple(
            Record(
                image_id=path,
                path=path,
                group=whose.get(path, path),
                target=encoded(space, present[i], str(root / path)),
                split=split_of[path.split("/")[0]] if by_split else None,
                attributes=attributes_of(headers.get(path), tags),
                origin=(path, first[path]) if path in first else None,
            )
            for i, path in enumerate(found)
        ),
        group_noun="patient" if whose else "image",
        excluded=dict(excluded),
    )


def _split_or_none(name: str) -> Split | None:
    try:
        return parse_split(name, "")
    except DataError:
        return None
