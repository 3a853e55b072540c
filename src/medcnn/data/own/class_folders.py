"""A folder per class: `root/<class>/...`, with folders of splits above or below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.manifest import NO_CLASS, NO_ENDING, Manifest, Record, Split
from medcnn.data.own.classes import encoded, refuse_names, refuse_splits, space_of
from medcnn.data.own.dicom_headers import DAMAGED, looks_like_dicom, read_headers
from medcnn.data.own.joining import (
    attributes_of,
    by_patient,
    files_below,
    first_of,
    is_image,
)
from medcnn.data.own.sheets import found_under
from medcnn.data.own.words import tidy
from medcnn.data.split_words import split_word
from medcnn.system.errors import DataError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which folder of a path is its class, and which its split (None: none is)."""

    class_at: int
    split_at: int | None = None

    @property
    def depth(self) -> int:
        """How many folders a path has at least."""
        return 1 + max(self.class_at, self.split_at or 0)


def layout_of(paths: Sequence[str]) -> Layout:
    """What the folders of these images are; loose images at the top say nothing."""
    parts = [path.split("/") for path in paths if "/" in path]
    if parts and all(split_word(p[0]) for p in parts):
        return Layout(split_at=0, class_at=1)
    inner = {split_word(p[1]) if len(p) > 2 else None for p in parts}
    if len(inner) > 1 and None not in inner:
        return Layout(class_at=0, split_at=1)
    return Layout(class_at=0)


def read_class_folders(
    root: Path,
    kind: str,
    classes: Sequence[str] | None,
    rename: Mapping[str, str],
    tags: Sequence[str] = (),
    *,
    follow_links: bool = False,
) -> Manifest:
    """Every image below the folder of its class; folders named by splits stand above classes, or
    right below them.

    DICOM files may lack an ending. Where every image is a DICOM that names its patient, patients
    are the groups, by a keyed digest of their PatientID. What is hidden, empty or a system's is
    ignored; what is no image, or lies in no class, is counted in `excluded`.

    Args:
        tags: of the DICOM headers, kept as attributes.
        follow_links: also images and folders that are links, and out of the root.

    Raises:
        DataError: no folders of classes, classes that are called like splits, or files that must
            not be opened.
    """
    paths = files_below(root, follow_links=follow_links)
    images = {path for path in paths if is_image(root, path)}
    layout = layout_of([path for path in paths if path in images])
    excluded: Counter[str] = Counter()
    found = []
    for path in paths:
        if path.count("/") < layout.depth:
            excluded[NO_CLASS] += 1
        elif path not in images:
            excluded[NO_ENDING] += 1
        else:
            found.append(path)
    headers, refused = read_headers(root, [p for p in found if looks_like_dicom(root / p)], tags)
    # a damaged image is for the audit to tell of, and for audit.max_bad to allow
    excluded.update(why for why in refused.values() if why != DAMAGED)
    whole = [p for p in found if p not in refused]
    found = [p for p in found if refused.get(p, DAMAGED) == DAMAGED]
    if not found:
        inside = " Its folders are called like splits, and no folder of a class is in them."
        raise DataError(
            f"{root}: expected a folder per class with images (class/image.jpg) or data.table, "
            f"found {found_under(root, hidden=True)}.{inside if layout.split_at == 0 else ''}"
        )
    if tags and not headers:
        raise UsageError(f"data.tags has no effect: no image under {root} is a DICOM.")
    whose = by_patient(whole, headers)
    first = first_of(whose)
    folders = [tidy(p.split("/")[layout.class_at]) for p in found]
    present = {i: [rename.get(name, name)] for i, name in enumerate(folders)}
    if not classes:
        refuse_names(present, f"folders of {root}")
        refuse_splits(present, f"folders of {root}", any_of_them=True)
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
                split=_split(path, layout),
                attributes=attributes_of(headers.get(path), tags),
                origin=(path, first[path]) if path in first else None,
            )
            for i, path in enumerate(found)
        ),
        group_noun="patient" if whose else "image",
        excluded=dict(excluded),
    )


def _split(path: str, layout: Layout) -> Split | None:
    if layout.split_at is None:
        return None
    found = split_word(path.split("/")[layout.split_at])
    return Split(found) if found else None
