"""All that is known of a set when the checks begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medcnn.audit.duplicates import Pair
from medcnn.audit.finding import group_name, image_name, label_text
from medcnn.audit.shortcuts import Told
from medcnn.audit.thumbnails import Looks
from medcnn.audit.traits import Association
from medcnn.data.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """Attributes:
    pairs: equal and near-equal images.
    told: how well the label is told from each source.
    traits: how strongly the way a file was made goes with a label.
    columns: the same for the columns of the table.
    max_bad: so many files may be unusable.
    unsplit: why there are no three splits; empty where there are.
    full_scale: how many bits are taken as used of samples of 16 bits.
    """

    manifest: Manifest
    looks: Looks
    pairs: tuple[Pair, ...]
    told: tuple[Told, ...]
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
    """What a record is called on the page."""

    of: Examined

    def image(self, row: int) -> str:
        return image_name(self.of.manifest, row, self.of.looks.facts[row].persons)

    def cells(self, row: int) -> tuple[str, str, str, str]:
        manifest = self.of.manifest
        group = group_name(manifest, row) if manifest.grouped else ""
        return self.image(row), group, manifest.records[row].split or "", label_text(manifest, row)
