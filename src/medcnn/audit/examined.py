"""Everything known about a set when the checks begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medcnn.audit.duplicates import Pair
from medcnn.audit.finding import group_name, image_name, label_text
from medcnn.audit.shortcuts import Shortcut
from medcnn.audit.thumbnails import Looks
from medcnn.audit.traits import Association
from medcnn.data.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """Attributes:
    pairs: equal and near-equal images.
    shortcuts: how well each source predicts the label.
    traits: how strongly the way a file was made is associated with a label.
    columns: the same for the columns of the table.
    max_bad: number of unusable files that is allowed.
    unsplit: why there are not three splits, or "".
    full_scale: number of bits assumed to be used in 16-bit samples.
    """

    manifest: Manifest
    looks: Looks
    pairs: tuple[Pair, ...]
    shortcuts: tuple[Shortcut, ...]
    traits: tuple[Association, ...]
    columns: tuple[Association, ...]
    max_bad: int
    unsplit: str
    full_scale: int = 16

    @property
    def usable(self) -> list[int]:
        return [row for row, f in enumerate(self.looks.facts) if not f.bad]

    @property
    def labelled(self) -> bool:
        return not bool(np.isnan(self.manifest.targets()).all())


@dataclass(frozen=True, slots=True)
class Names:
    """The names of records on the page."""

    of: Examined

    def image(self, row: int) -> str:
        return image_name(self.of.manifest, row, self.of.looks.facts[row].persons)

    def cells(self, row: int) -> tuple[str, str, str, str]:
        manifest = self.of.manifest
        group = group_name(manifest, row) if manifest.grouped else ""
        return self.image(row), group, manifest.records[row].split or "", label_text(manifest, row)
