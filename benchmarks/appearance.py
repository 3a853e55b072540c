"""How often images of the same set look unlike those of a training, and how often those of another.

    python benchmarks/appearance.py SHARED

SHARED is a folder of real images (HAM10000, ChestX-ray14, covid-chestxray-dataset); phantoms are
drawn. Of each set the ranges of 7 in 10 images are held against the other 3, ten times, and those
of all against the other sets.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.data.phantoms.drawing import generate
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.models.appearance import FACTS, Appearance, Floats, facts_of, outside
from medcnn.pixels.opening import open_store

REAL = {
    "HAM10000": ("ham10000", "*part*/*.jpg"),
    "ChestX-ray14": ("nih_chestxray14_sample", "images/*.png"),
    "covid-chestxray": ("covid_chestxray", "images/*"),
    "a fundus photograph": ("fundus", "*.jpg"),
}
DRAW = np.random.default_rng(1)


def facts(root: Path, pattern: str, channels: int) -> Floats:
    found = sorted(p.relative_to(root).as_posix() for p in root.glob(pattern) if p.is_file())
    paths = [found[i] for i in DRAW.permutation(len(found))[:1000]]
    manifest = Manifest(
        source="x",
        root=root,
        labels=LabelSpace(kind=Kind.BINARY, names=("no", "yes")),
        records=tuple(Record(image_id=p, path=p, group=p, target=(0.0,)) for p in paths),
    )
    how = Preprocessing(size_px=128, channels=channels, fit=Fit.PAD, bits=8)
    store = open_store(manifest, how, cache="off")
    return facts_of(store, store.readable(np.arange(len(store))))


def share(of: Floats, given: Floats) -> float:
    ranges = {n: (float(a), float(b)) for n, a, b in zip(FACTS, of.min(0), of.max(0), strict=True)}
    beyond = outside(Appearance(images=len(of), ranges=ranges), given)
    return float((beyond > 0).any(axis=1).mean())


def same(found: Floats) -> float:
    shares = []
    for _ in range(10):
        order = DRAW.permutation(len(found))
        cut = len(found) * 7 // 10
        shares.append(share(found[order[:cut]], found[order[cut:]]))
    return float(np.mean(shares))


def main(shared: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("dermoscopy", "fundus", "chest"):
            generate(Path(folder) / kind, kind, patients=60)
        for channels in (3, 1):
            sets = {
                name: facts(Path(shared) / place, pattern, channels)
                for name, (place, pattern) in REAL.items()
            } | {
                f"{kind} phantoms": facts(Path(folder) / kind, "**/*[gm]", channels)
                for kind in ("dermoscopy", "fundus", "chest")
            }
            for name, found in sets.items():
                if len(found) > 1:
                    others = {n: round(share(found, f), 2) for n, f in sets.items() if n != name}
                    print(channels, name, len(found), round(same(found), 4), json.dumps(others))


if __name__ == "__main__":
    main(*sys.argv[1:])
