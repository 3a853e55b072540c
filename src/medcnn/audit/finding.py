"""What a check found, in words for the reader, with all rows concerned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from medcnn.data.manifest import Manifest
from medcnn.system.privacy import pseudonym


class Severity(StrEnum):
    """`refuse`: scores on such data cannot be trusted. `warn`: a score may not mean what it seems
    to. `note`: good to know."""

    REFUSE = "refuse"
    WARN = "warn"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of a data set.

    Attributes:
        check: its name in the table of checks.
        title: one line, with the count.
        meaning: why it matters, in plain words.
        advice: what to do.
        columns: headings of `rows`.
        rows: everything concerned, but nothing that identifies a person.
        shown: for each of `rows`, the records whose thumbnails are shown with it; may be shorter.
    """

    check: str
    severity: Severity
    title: str
    meaning: str
    advice: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    shown: tuple[tuple[int, ...], ...] = ()


def group_name(manifest: Manifest, row: int) -> str:
    """The pseudonym of a record's patient."""
    record = manifest.records[row]
    return record.group if record.origin else pseudonym(record.group, manifest.group_noun)


def image_name(manifest: Manifest, row: int, persons: Sequence[str] = ()) -> str:
    """The id of an image; if it contains that of its patient, or a name, a pseudonym and its place
    instead."""
    record = manifest.records[row]
    if record.origin:
        return f"{record.image_id} ({place(manifest, row)})"
    inside = manifest.grouped and len(record.group) > 1 and record.group in record.image_id
    if inside or "path" in persons:
        return f"{pseudonym(record.image_id, 'image')} ({place(manifest, row)})"
    return record.image_id


def place(manifest: Manifest, row: int) -> str:
    """`line 43` of the hospital's table, as in a spreadsheet, or the number of the image."""
    line = manifest.records[row].line
    return f"image {row + 1}" if line is None else f"line {line}"


def classes_of(manifest: Manifest, row: int) -> list[str]:
    """The classes of a record, as a list, since a name may contain any separator."""
    target = manifest.records[row].target
    if len(manifest.labels.names) > len(manifest.labels.outputs):
        return [] if target[0] != target[0] else [manifest.labels.names[int(target[0] > 0.5)]]
    return [n for n, t in zip(manifest.labels.outputs, target, strict=True) if t > 0.5]


def label_text(manifest: Manifest, row: int) -> str:
    """The label of a record in words: `melanoma`, `Effusion|Mass`, or `none`."""
    if present := classes_of(manifest, row):
        return "|".join(present)
    return "" if all(t != t for t in manifest.records[row].target) else "none"


def counted(number: int, noun: str) -> str:
    """`1 image`, `1,204 images`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "es" if noun[-1] in "sx" else "s")
