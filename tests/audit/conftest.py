"""A small set of unlike images with patients, splits and classes, and a place to put faults in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medcnn.audit.finding import Finding
from medcnn.config import AuditLimits
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.images import Preprocessing
from medcnn.pages.audit import Audit
from medcnn.verbs.steps.auditing import audit_of

LABELS = LabelSpace(kind=Kind.BINARY, names=("healthy", "ill"))


def drawing(seed: int, size_px: int = 96) -> NDArray[np.uint8]:
    """[size, size, 3]: soft hills of every width, unlike for unlike seeds."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size_px, size_px))
    for cells in (3, 6, 12, 24):
        hills = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        total += np.asarray(hills.resize((size_px, size_px), Image.Resampling.BICUBIC))
    grey = ((total - total.min()) / np.ptp(total) * 200 + 30).astype(np.uint8)
    return np.stack([grey, grey // 2 + 60, grey // 3 + 40], axis=2)


def with_record(manifest: Manifest, row: int, **changed: Any) -> Manifest:
    records = list(manifest.records)
    records[row] = replace(records[row], **changed)
    return manifest.with_records(records)


def audited(
    manifest: Manifest,
    *,
    max_bad: int = 0,
    allow: Sequence[str] = (),
    copies: bool = True,
    unsplit: str = "",
) -> Audit:
    limits = AuditLimits(max_bad=max_bad, allow=tuple(allow), copies=copies)
    return audit_of(manifest, unsplit, Preprocessing(size_px=32), limits, 0, measure=False)


def finding(audit: Audit, check: str) -> Finding:
    """The one finding of a check."""
    (found,) = (f for f in audit.findings if f.check == check)
    return found


def checks(audit: Audit) -> set[str]:
    return {f.check for f in audit.findings}


class Bench:
    """What the tests of the audit work with."""

    labels = LABELS
    drawing = staticmethod(drawing)
    with_record = staticmethod(with_record)
    audited = staticmethod(audited)
    finding = staticmethod(finding)
    checks = staticmethod(checks)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, count: int = 60, name: str = "wards") -> Manifest:
        """A manifest of PNG images, one a patient; every third is in validation or test."""
        root = self.folder / name
        root.mkdir(exist_ok=True)
        splits = (*[Split.TRAIN] * 4, Split.VALIDATION, Split.TEST)
        records = []
        for i in range(count):
            Image.fromarray(drawing(i + 1000 * len(name) - 5000)).save(root / f"{i:03d}.png")
            records.append(
                Record(
                    image_id=f"i{i:03d}",
                    path=f"{i:03d}.png",
                    group=f"DOE^JANE{i:03d}",
                    target=LABELS.encode([LABELS.names[(i // 6) % 2]]),
                    split=splits[i % 6],
                )
            )
        return Manifest(
            source="wards",
            root=root,
            labels=LABELS,
            records=tuple(records),
            modality=Modality.CHEST,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
