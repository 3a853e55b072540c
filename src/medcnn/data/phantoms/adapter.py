"""Phantoms as a data set: drawn if missing, then read like any table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest, Modality
from medcnn.data.own import table
from medcnn.data.phantoms import drawing
from medcnn.system.files import cache_folder, cache_place, private_to
from medcnn.system.progress import log


def read(
    root: Path | None, *, phantom: str = "fundus", patients: int = 340, seed: int = 0
) -> Manifest:
    """The phantom set `phantom` in `root`, by default in the user's cache folder.

    Args:
        patients: number of patients, or of lesions for dermoscopy.
        seed: of the drawing; the seed of a run does not affect the images.
    """
    drawn = drawing.PHANTOMS.choose(phantom)
    name = f"{phantom}-{patients}-seed{seed}-v{drawn.version}"
    place = root or cache_folder() / "phantoms" / name
    if not place.exists():
        log.info(f"drawing {patients} {drawn.group}s of {phantom} phantoms in {place}")
    if root is None:
        cache_place("phantoms")
    place.parent.mkdir(parents=True, exist_ok=True)
    with private_to(place.parent):
        sheet = drawing.generate(place, phantom, patients=patients, seed=seed)
    many = drawn.space.kind is Kind.MULTILABEL
    manifest = table.read(
        place,
        table=sheet.name,
        image=drawn.image,
        label=drawn.targets if many else drawn.targets[0],
        patient=drawn.group,
        kind=drawn.space.kind,
        classes=None if many else drawn.space.names,
        attributes=drawn.attributes,
        group_noun=drawn.group,
    )
    return replace(manifest, source=f"{phantom} phantoms", modality=Modality(phantom))
