"""Images of a new hospital that an old model was trained with, whatever their names there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcnn.audit.duplicates import copies_of
from medcnn.audit.thumbnails import look_at
from medcnn.data.manifest import Manifest, Split
from medcnn.images.preprocessing import Preprocessing
from medcnn.pages.hospital_facts import Copies
from medcnn.verbs.steps.auditing import digests_of
from medcnn.verbs.steps.old_images import OldImages


def copies_from(
    old: OldImages,
    manifest: Manifest,
    how: Preprocessing,
    rows: NDArray[np.int64],
    members: int = 1,
) -> Copies:
    """How many of these rows of a manifest are, or look like copies of, images that the old model
    was trained or chosen with. Of an ensemble, that may be any old image."""
    there, here = look_at(old.manifest, old.preprocessing), look_at(manifest, how)
    known = [
        row
        for row, r in enumerate(old.manifest.records)
        if (members > 1 or r.split is not Split.TEST) and not there.facts[row].bad
    ]
    asked = [row for row in rows.tolist() if not here.facts[row].bad]
    if not known or not asked:
        return Copies(found=0, same=0, among=0)
    hits = copies_of(np.asarray(here.grey[asked]), np.asarray(there.grey), known)
    theirs, ours = digests_of(old.manifest, old.preprocessing), digests_of(manifest, how)
    same = 0
    for row, hit in zip(asked, hits, strict=True):
        digest = ours(row) if hit else ""
        same += bool(digest) and any(theirs(other) == digest for other in hit)
    return Copies(found=sum(map(bool, hits)), same=same, among=len(asked))
