"""What public sets share: their terms, the layout of their root, and turning rows into records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.own.sheets import (
    Sheet,
    found_under,
    of_every_row,
    only,
    read_sheet,
    refuse_missing,
    require_folder,
    to_unpack,
)
from medcnn.system.errors import DataError, UsageError, listed
from medcnn.system.registry import nearest

GRADES = ("0", "1", "2", "3", "4")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A public set in the layout in which its authors distribute it.

    Attributes:
        title: the authors' name for it.
        about, labels, licence: one line each.
        url: where to get it.
        layout: required contents of the root: paths or globs; `a|b` means either.
        group_noun: patient, lesion, or image if the set does not identify either.
        splits: the authors' splits.
    """

    title: str
    about: str
    labels: str
    licence: str
    url: str
    layout: tuple[str, ...]
    modality: Modality
    group_noun: str
    splits: str = "none"

    @property
    def layout_text(self) -> str:
        return ", ".join(" or ".join(entry.split("|")) for entry in self.layout)

    def open(self, root: Path | None) -> Path:
        """The root, checked to have this layout.

        Raises:
            UsageError: no such root.
            DataError: another layout; says what is missing, and names a subfolder that fits.
        """
        place = require_folder(root)
        absent = self._absent(place)
        if not absent:
            return place
        some = "" if len(absent) == len(self.layout) else f" (missing: {', '.join(absent)})"
        inner = [p for p in sorted(place.iterdir()) if p.is_dir() and not self._absent(p)]
        hint = f" {inner[0].name}/ has that layout: data.root={inner[0]}" if inner else ""
        raise DataError(
            f"data.root={place}: expected {self.layout_text} of {self.title}{some}, found "
            f"{found_under(place)}.{to_unpack(place)} Get it from {self.url}{hint}"
        )

    def _absent(self, place: Path) -> list[str]:
        def there(part: str) -> bool:
            found = place.glob(part.rstrip("/"))
            # the glob of a folder also matches the folder's archive
            return any(p.is_dir() or not part.endswith("/") for p in found)

        return [e for e in self.layout if not any(map(there, e.split("|")))]

    def manifest(
        self,
        place: Path,
        labels: LabelSpace,
        records: Sequence[Record],
        *,
        views: Sequence[str] | None = None,
        excluded: Mapping[str, int] | None = None,
        rows_left_out: Mapping[str, int] | None = None,
        group_noun: str | None = None,
    ) -> Manifest:
        """The records as a manifest.

        The authors' splits are used only if their test images are present; otherwise all splits
        will be made by group.

        Args:
            views: keep only these values of the attribute `view`.
            group_noun: if this copy's differs from the set's.

        Raises:
            UsageError: no image has one of the views.
            DataError: images are missing.
        """
        left_out = Counter(excluded or {})
        if views is not None:
            _refuse_unknown_views(views, records)
            of = [r.attributes.get("view", "unknown") for r in records]
            left_out.update(f"view {v}" for v in of if v not in views)
            records = [r for r, v in zip(records, of, strict=True) if v in views]
        if Split.TEST not in {r.split for r in records}:
            records = [replace(r, split=None) for r in records]
        refuse_missing(self.title, place, (r.path for r in records))
        return Manifest(
            source=self.title,
            root=place,
            labels=labels,
            records=tuple(records),
            modality=self.modality,
            group_noun=group_noun or self.group_noun,
            excluded=dict(+left_out),
            rows_left_out=rows_left_out or {},
        )


def sheet_at(place: Path, pattern: str, *columns: str) -> Sheet:
    """The one table below the root that matches a glob.

    Raises:
        UsageError: it lacks a column.
        DataError: there is none, or several.
    """
    found = sorted(place.glob(pattern))
    if not found:
        raise DataError(f"data.root={place}: {pattern} is missing, found {found_under(place)}.")
    sheet = read_sheet(only(found, "tables"))
    sheet.require(columns, "the set itself")
    return sheet


def images_in(place: Path, *patterns: str) -> dict[str, str]:
    """Name without extension -> path relative to the root, of the files that match globs."""
    return {
        p.stem: p.relative_to(place).as_posix()
        for pattern in patterns
        for p in sorted(place.glob(pattern))
    }


def each_row(sheet: Sheet, make: Callable[[Mapping[str, str], int], Record | None]) -> list[Record]:
    """`make(row, number)` of every row; None leaves a row out. Faults of all lines at once."""

    def made(i: int) -> Record | None:
        try:
            return make(sheet.rows[i], i)
        except DataError as error:
            at = sheet.line(i)
            said = str(error)
            raise DataError(said if said.startswith(at) else f"{at}: {said}") from None

    return [r for r in of_every_row(range(len(sheet.rows)), made) if r is not None]


def one_hot(row: Mapping[str, str], columns: Sequence[str]) -> list[str]:
    """The columns with a 1 in a row."""
    return [c for c in columns if row[c] in ("1", "1.0")]


def attributes_of(row: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Our name -> the row's value, for columns that exist and are not blank."""
    return {ours: row[column] for column, ours in names.items() if row.get(column)}


def _refuse_unknown_views(views: Sequence[str], records: Sequence[Record]) -> None:
    known = sorted({r.attributes.get("view", "unknown") for r in records})
    if absent := [v for v in views if v not in known]:
        raise UsageError(
            f"data.views: no image has the view {listed(absent)}{nearest(absent[0], known)} "
            f"Found: {', '.join(known)}."
        )
