"""The files below a folder, and which of them are images, by name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from medcnn.data.own.dicom_headers import looks_like_dicom
from medcnn.system.errors import DataError, listed, private
from medcnn.system.paths import LINKED, faults_on_disk
from medcnn.system.progress import log

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"),
        *(".dcm", ".dicom", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jls", ".heic", ".heif"),
        *(".avif", ".nii", ".nii.gz"),
        # not readable, but listed, so that they are reported instead of silently ignored
        *(".jxl", ".mha", ".mhd", ".nrrd", ".jxr"),
    )
)


# Files and thumbnails that systems add: macOS, Synology, QNAP, Windows, Jupyter.
_SYSTEM = frozenset(
    (
        *("__macosx", "temporary items", "network trash folder", "icon\r", "lost+found"),
        *("@eadir", "@recycle", "@tmp", "@recently-snapshot", "#recycle", "#snapshot"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "__pycache__"),
    )
)


def is_system(name: str) -> bool:
    """Whether a file is hidden (`._a.jpg`), or was created by a system."""
    return name.startswith((".", "~$")) or name.casefold() in _SYSTEM


def files_below(root: Path, *, follow_links: bool = False) -> list[str]:
    """Every file below a root, with `/`, sorted; those of `is_system` are skipped.

    Args:
        follow_links: follow links, even out of the root.

    Raises:
        DataError: links that must not be followed, circular links, pipes and devices, all at once.
    """
    paths = sorted(walked(root, follow_links=follow_links))
    if faults := faults_on_disk(root, paths, follow_links=follow_links):
        shown = [f"{private(path)} is {why}" for path, why in faults.items()]
        hint = f" {FOLLOW}" if set(faults.values()) & {LINKED} else ""
        raise DataError(f"{root}: {len(faults)} files are not opened: {listed(shown)}.{hint}")
    return paths


FOLLOW = "To follow links, set data.follow_links=true."


def walked(root: Path, *, follow_links: bool | None = None) -> Iterator[str]:
    """Paths below `root` that are neither hidden nor folders; at the end, the numbers of hidden
    images and folders are logged.

    Args:
        follow_links: None warns of links to folders; False refuses them.

    Raises:
        DataError: a folder cannot be listed, a link must not be followed, or two paths lead to the
            same folder.
    """

    def refuse(error: OSError) -> None:
        place = os.path.relpath(error.filename, root)
        raise DataError(f"{root}: the folder {private(place)} cannot be listed: {error.strerror}.")

    seen: dict[str, str] = {os.path.realpath(root): "the root itself"}
    hidden: Counter[str] = Counter()
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=bool(follow_links)):
        hidden["folder"] += sum(f.startswith(".") for f in folders)
        hidden.update(kind for kind in map(_hidden_picture, names) if kind)
        folders[:] = sorted(f for f in folders if not is_system(f))
        place = Path(folder).relative_to(root)
        links = [(place / f).as_posix() for f in folders if os.path.islink(root / place / f)]
        if links and not follow_links:
            shown = listed([private(link) for link in links])
            if follow_links is False:
                raise DataError(
                    f"{root}: links to folders are not followed: {shown}. Their images would be "
                    f"left out. {FOLLOW}"
                )
            log.warning(f"links to folders are not followed: {shown}")
        if follow_links:
            for name in folders:
                here, real = (place / name).as_posix(), os.path.realpath(root / place / name)
                if seen.setdefault(real, private(here)) != private(here):
                    raise DataError(
                        f"{root}: {private(here)} is the same folder as {seen[real]}; its images "
                        "would count twice. Remove one of the links."
                    )
        yield from ((place / n).as_posix() for n in names if not is_system(n))
    if said := [f"{words}: {hidden[kind]:,}" for kind, words in _HIDDEN.items() if hidden[kind]]:
        log.info(f"left out, since their names begin with a dot: {'; '.join(said)}")


_HIDDEN = {
    "picture": "hidden images (rename them to include them)",
    "fork": "macOS companion files (._NAME), which are not images",
    "folder": "hidden folders",
}


def _hidden_picture(name: str) -> str:
    """The key in `_HIDDEN` for a file, or ""."""
    if not name.startswith(".") or ending(name) not in IMAGE_SUFFIXES:
        return ""
    return "fork" if name.startswith("._") else "picture"


def is_image(root: Path, path: str) -> bool:
    """Decided by its extension, or for DICOM by its first bytes."""
    return ending(path) in IMAGE_SUFFIXES or looks_like_dicom(root / path)


def ending(path: str) -> str:
    """The extension of a file in lower case: `.jpg`, or both parts of `.nii.gz`."""
    name = path.lower().rpartition("/")[2]
    dot = name.rfind(".")
    last = name[dot:] if 0 < dot < len(name) - 1 else ""
    return ".nii.gz" if last == ".gz" and name.endswith(".nii.gz") else last


def without_ending(path: str) -> str:
    """A file name without an image's extension: `1.2.840` has none, `1.2.840.dcm` has one."""
    name, last = PurePosixPath(path).name, ending(path)
    return name[: -len(last)] if last in IMAGE_SUFFIXES else name


def last_part(cell: str) -> str:
    """The file name in a cell that may contain a path, even one of Windows."""
    return PurePosixPath(cell.replace("\\", "/")).name
