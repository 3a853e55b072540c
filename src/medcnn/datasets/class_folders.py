"""A folder per class: `root/<class>/...`, or `root/<split>/<class>/...`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from medcnn.datasets.classes import encoded, space_of
from medcnn.datasets.sheets import found_under
from medcnn.errors import DataError
from medcnn.manifest import Manifest, Record, Split, parse_split

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"),
        *(".dcm", ".dicom", ".jp2"),
    )
)


def read_class_folders(
    root: Path, kind: str, classes: Sequence[str] | None, rename: Mapping[str, str]
) -> Manifest:
    """Every image below the folder of its class; folders named by splits stand above classes.

    What begins with a dot is ignored; other files that are no images, or lie in no class, are
    counted in `excluded`.
    """
    tops = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    split_of = {name: _split_or_none(name) for name in tops}
    by_split = bool(tops) and all(split_of.values())
    depth = 1 if by_split else 0
    excluded: Counter[str] = Counter()
    found = []
    for path in (p.relative_to(root) for p in sorted(root.rglob("*")) if p.is_file()):
        if any(part.startswith(".") for part in path.parts):
            continue
        if len(path.parts) < depth + 2:
            excluded["not in the folder of a class"] += 1
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            excluded["in the folder of a class, without the ending of an image"] += 1
        else:
            found.append(path)
    if not found:
        raise DataError(
            f"{root}: expected a folder per class with images (class/image.jpg) or data.table, "
            f"found {found_under(root)}."
        )
    present = {i: [rename.get(p.parts[depth], p.parts[depth])] for i, p in enumerate(found)}
    space = space_of(kind, classes, present, many=False)
    return Manifest(
        source=root.name,
        root=root,
        labels=space,
        records=tuple(
            Record(
                image_id=p.as_posix(),
                path=p.as_posix(),
                group=p.as_posix(),
                target=encoded(space, present[i], str(root / p)),
                split=split_of[p.parts[0]] if by_split else None,
            )
            for i, p in enumerate(found)
        ),
        group_noun="image",
        excluded=dict(excluded),
    )


def _split_or_none(name: str) -> Split | None:
    try:
        return parse_split(name, "")
    except DataError:
        return None
