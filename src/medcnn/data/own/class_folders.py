"""One folder per class: `root/<class>/...`, with split folders above or below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import NO_CLASS, NO_ENDING, Manifest, Record, Split
from medcnn.data.own.classes import refuse_names, refuse_splits, space_of
from medcnn.data.own.dicom_headers import DAMAGED, looks_like_dicom, read_headers
from medcnn.data.own.image_files import ending, files_below, is_image, without_ending
from medcnn.data.own.joining import attributes_of, by_patient, first_of
from medcnn.data.own.people import refuse_identifying_tags
from medcnn.data.own.sheets import found_under
from medcnn.data.own.words import tidy
from medcnn.data.split_words import says_nothing, split_word, tokens, words
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.registry import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which folder of a path is its class, and which its split (None: no split)."""

    class_at: int
    split_at: int | None = None

    @property
    def depth(self) -> int:
        """The least number of folders in a path."""
        return 1 + max(self.class_at, self.split_at or 0)


def layout_of(paths: Sequence[str]) -> Layout:
    """What the folders of these images mean. Loose images at the top are ignored, and so is a
    folder with a generic name that all share (`images/train/nevus`, `train/images/nevus`)."""
    parts = [path.split("/")[:-1] for path in paths if "/" in path]
    names = [{p[k] for p in parts if len(p) > k} for k in range(max(map(len, parts), default=0))]
    telling = [
        k for k, found in enumerate(names) if len(found) > 1 or not all(map(says_nothing, found))
    ]
    first, second = (*telling, 0, 1)[:2] if len(telling) != 1 else (telling[0], telling[0] + 1)
    outer = {split_word(p[first]) for p in parts if len(p) > first}
    if outer and None not in outer:
        return Layout(split_at=first, class_at=second)
    inner = {split_word(p[second]) if len(p) > second else None for p in parts}
    if len(inner) > 1 and None not in inner:
        return Layout(class_at=first, split_at=second)
    return Layout(class_at=first)


def no_classes(root: Path, paths: Sequence[str], images: Sequence[str]) -> str:
    """Why the folders of a root do not name classes, what was found, and what to do.

    Args:
        paths: of all files; `images`: of the images among them.
    """
    layout = layout_of(images)
    found = f"{len(images):,} image{'s' * (len(images) > 1)} in " if images else ""
    text = (
        f"{root}: expected one folder per class, two or more (class/image.jpg, optionally in "
        f"split folders), or a table; found {found}{found_under(root, hidden=True)}."
    )
    if layout.split_at == 0:
        text += " Its folders are named like splits, but contain no class folders."
    parts = [p.split("/")[:-1] for p in images]
    if masks := masks_among(p[layout.class_at] for p in parts if len(p) > layout.class_at):
        return (
            f"{text} {listed(masks)} is not a class: such a folder contains segmentation masks. "
            "Take it out of the root, and sort the images into class folders."
        )
    names = {without_ending(path.rpartition("/")[2]) for path in images}
    own = [p for p in paths if ending(p) in _OF_ONE_IMAGE]
    own = [p for p in own if p.rpartition("/")[2][: -len(ending(p))] in names]
    if own and 2 * len(own) >= len(images):
        text += (
            f" {len(own):,} text files are named after images ({private(own[0])}), as for object "
            "detection (YOLO, Pascal VOC). medcnn classifies whole images: write a table with one "
            "row for each image and its class."
        )
    elif images:
        text += " Sort the images into one folder per class, or name the table: data.table=FILE."
    return text


def masks_among(folders: Iterable[str]) -> list[str]:
    """Mask folders next to an image folder, which are not classes."""
    names = set(folders)
    if not any(map(says_nothing, names)):
        return []
    return sorted(n for n in names if tokens(n) & _MASKS and not says_nothing(n))


_OF_ONE_IMAGE = (".txt", ".xml", ".json")
_MASKS = words(
    "mask masks masken label labels annotation annotations groundtruth gt seg segmentation"
)


def read_class_folders(
    root: Path,
    kind: str,
    classes: Sequence[str] | None,
    rename: Mapping[str, str],
    tags: Sequence[str] = (),
    *,
    follow_links: bool = False,
) -> Manifest:
    """Every image below a class folder; split folders are above class folders, or directly below.

    DICOM files may lack an extension. If every image is a DICOM that names its patient, patients
    are the groups, by a keyed digest of their PatientID. Hidden files, empty folders and system
    files are ignored; other files, and images outside class folders, are counted in `excluded`.

    Args:
        tags: of the DICOM headers, kept as attributes.
        follow_links: also read images and folders that are links, even out of the root.

    Raises:
        DataError: no class folders, classes named like splits, or files that must not be opened.
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
    # the audit reports damaged images, and audit.max_bad allows some
    excluded.update(why for why in refused.values() if why != DAMAGED)
    whole = [p for p in found if p not in refused]
    found = [p for p in found if refused.get(p, DAMAGED) == DAMAGED]
    folders = [tidy(p.split("/")[layout.class_at]) for p in found]
    if not found or (not classes and (len(set(folders)) < 2 or masks_among(folders))):
        raise DataError(no_classes(root, paths, sorted(images)))
    if tags and not headers:
        raise UsageError(f"data.tags has no effect: there is no DICOM file under {root}.")
    whose = by_patient(whole, headers)
    refuse_identifying_tags(tags, headers, whose or {p: p for p in whole})
    first = first_of(whose)
    present = {i: [rename.get(name, name)] for i, name in enumerate(folders)}
    if not classes:
        refuse_names(present, f"folders of {root}")
        refuse_splits(present, f"folders of {root}", any_of_them=True)
    space = space_of(kind, classes, present, many=False)
    targets = _targets(root, space, rename, Counter(folders))
    return Manifest(
        source=root.name,
        root=root,
        labels=space,
        records=tuple(
            Record(
                image_id=path,
                path=path,
                group=whose.get(path, path),
                target=targets[folders[i]],
                split=_split(path, layout),
                attributes=attributes_of(headers.get(path), tags),
                origin=(path, first[path]) if path in first else None,
            )
            for i, path in enumerate(found)
        ),
        group_noun="patient" if whose else "image",
        excluded=dict(excluded),
    )


def _targets(
    root: Path, space: LabelSpace, rename: Mapping[str, str], folders: Mapping[str, int]
) -> dict[str, tuple[float, ...]]:
    """The target of each folder; raises DataError that lists all folders without a class.

    Args:
        folders: name -> number of images.
    """
    class_of = {name: rename.get(name, name) for name in folders}
    if unknown := [name for name in folders if class_of[name] not in space.names]:
        meant = [nearest(name, space.names).rstrip(".") for name in unknown]
        shown = [f"{private(n)} ({folders[n]:,}{m})" for n, m in zip(unknown, meant, strict=True)]
        raise DataError(
            f"{root}: folders of images that are not one of {', '.join(space.names)}: "
            f"{listed(shown)}. data.classes lists the classes; data.rename maps folders to them."
        )
    return {name: space.encode([class_of[name]]) for name in folders}


def _split(path: str, layout: Layout) -> Split | None:
    if layout.split_at is None:
        return None
    found = split_word(path.split("/")[layout.split_at])
    return Split(found) if found else None
