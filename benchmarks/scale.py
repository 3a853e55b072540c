"""What grows with the number of images, besides the decoding of each: time and memory by size.

    python benchmarks/scale.py 10000 100000 1000000 > result.json

Each size in a process of its own, one thread. No files are there: records are of one array,
thumbnails are drawn from low frequencies (each 200th is a cropped copy of another), and what the
cache holds of an image is 192 bytes, so that what is measured is the index and not the disk. Times
are of the processor. Decoding, which is the same for every image, is measured by `one_pass.py`.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from medcnn.audit.checks import run_checks
from medcnn.audit.duplicates import find
from medcnn.audit.examined import Examined
from medcnn.audit.shortcuts import shortcuts_of
from medcnn.audit.thumbnails import Facts, Looks
from medcnn.audit.traits import associations, columns, file_traits
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.data.splits import assign
from medcnn.pixels.decoder import Recipe
from medcnn.pixels.segments import Stored, Writer, merge, path_key
from medcnn.pixels.shelves import Part, Shelf
from medcnn.system.run_facts import versions

IMAGES_A_PATIENT, COPY_EVERY, SEGMENTS, ITEM_BYTES = 2, 200, 4, 192
LABELS = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
T = TypeVar("T")


def drawn(count: int, folder: Path) -> np.ndarray:
    """[N, 64, 64] greys, on disk."""
    rng = np.random.default_rng(0)
    index = np.arange(16)
    basis = np.cos(np.pi * (np.arange(64) + 0.5)[None] * index[:, None] / 64).astype(np.float32)
    fall = 1 / (1 + np.hypot(index[:, None], index[None])).astype(np.float32)
    greys = np.memmap(folder / "greys", np.uint8, "w+", shape=(count, 64, 64))
    for start in range(0, count, 2000):
        shape = (min(2000, count - start), 16, 16)
        hills = rng.standard_normal(shape, np.float32) * fall
        images = np.einsum("ui,nuv,vj->nij", basis, hills, basis, optimize=True)
        greys[start : start + 2000] = np.clip(images * 20 + 128, 0, 255)
    for row in range(COPY_EVERY, count, COPY_EVERY):
        image = Image.fromarray(greys[row - COPY_EVERY // 2])
        greys[row] = image.resize((64, 64), Image.Resampling.BILINEAR, box=(1, 1, 63, 63))
    return greys


def manifest_of(count: int) -> Manifest:
    rng = np.random.default_rng(1)
    ill = rng.random(count // IMAGES_A_PATIENT + 1) < 0.3
    ages = rng.integers(20, 90, count)
    records = tuple(
        Record(
            image_id=f"image-{n}",
            path=f"set.npz#images/{n}",
            group=f"patient-{n // IMAGES_A_PATIENT}",
            target=(float(ill[n // IMAGES_A_PATIENT]),),
            attributes={"age": str(ages[n]), "sex": "FM"[n % 2]},
            line=n + 2,
        )
        for n in range(count)
    )
    return Manifest(source="x", root=Path("/data"), labels=LABELS, records=records)


def looks_of(greys: np.ndarray) -> Looks:
    def facts(row: int) -> Facts:
        size = f"{3000 + row % 3}x2000"
        traits = {"seen": "1", "format": "JPEG", "size": size, "scanner": f"ACME {row % 5}"}
        return Facts(bad="", traits=traits, persons=())

    colour = np.broadcast_to(greys[:, ::2, ::2, None], (len(greys), 32, 32, 3))
    return Looks(
        grey=greys, colour=colour, facts=tuple(facts(row) for row in range(len(greys))), key="x"
    )


def measured(count: int) -> dict[str, Any]:
    steps: dict[str, Any] = {}

    def timed(name: str, step: Callable[[], T]) -> T:
        began = time.process_time()
        made = step()
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        steps[name] = {
            "s": round(seconds, 2),
            "us_an_image": round(seconds / count * 1e6, 1),
            "peak_mb_so_far": round(peak),
        }
        print(count, name, steps[name], file=sys.stderr, flush=True)
        return made

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MEDCNN_CACHE"], os.environ["MEDCNN_PSEUDONYM_KEY"] = (
            name,
            "a key of a benchmark",
        )
        bare = timed("manifest", lambda: manifest_of(count))
        manifest = timed("splits", lambda: assign(bare, validation=0.15, test=0.15, seed=0))
        timed("fingerprint", manifest.fingerprint)
        _index(manifest, folder, timed)
        greys = drawn(count, folder)
        looks = timed("facts", lambda: looks_of(greys))
        usable = range(count)
        pairs = timed("near-duplicates", lambda: find(greys, usable, str))
        shortcuts = timed("shortcuts", lambda: shortcuts_of(manifest, looks))
        traits = timed("traits", lambda: associations(manifest, file_traits(looks), usable))
        of_columns = timed("columns", lambda: associations(manifest, columns(manifest), usable))
        examined = Examined(
            manifest=manifest,
            looks=looks,
            pairs=tuple(pairs),
            shortcuts_of=tuple(shortcuts),
            traits=tuple(traits),
            columns=tuple(of_columns),
            max_bad=0,
            unsplit="",
            full_scale=16,
        )
        timed("checks", lambda: run_checks(examined, ()))
    planted = {(r - COPY_EVERY // 2, r) for r in range(COPY_EVERY, count, COPY_EVERY)}
    found = {(p.first, p.second) for p in pairs}
    copies = {
        "planted": len(planted),
        "found": len(planted & found),
        "others": len(found - planted),
    }
    total = sum(step["s"] for step in steps.values())
    return {"steps": steps, "us_an_image": round(total / count * 1e6, 1), "copies": copies}


def _index(
    manifest: Manifest, folder: Path, timed: Callable[[str, Callable[[], Any]], Any]
) -> None:
    part = Part(recipe=Recipe(module="", setting={}), folder=folder, item_bytes=ITEM_BYTES)
    paths = [r.path for r in manifest.records]
    seen, item = (1, 2, 3), bytes(ITEM_BYTES)
    crc = zlib.crc32(item)

    def write() -> None:
        size = -(-len(paths) // SEGMENTS)
        for start in range(0, len(paths), size):
            with Writer(folder) as writer:
                for path in paths[start : start + size]:
                    writer.add(
                        Stored(path=path_key(path), seen=seen, content=bytes(16), crc=crc), item
                    )

    timed("index: write", write)
    shelf = timed("index: keys", lambda: Shelf(part, paths))
    timed("index: look up", lambda: shelf.look_up([seen] * len(paths)))
    assert not shelf.missing
    timed("index: merge", lambda: merge(folder, ITEM_BYTES))


def main() -> None:
    if sys.argv[1] == "--one":
        print(json.dumps(measured(int(sys.argv[2]))))
        return
    result: dict[str, Any] = {
        "command": f"python benchmarks/scale.py {' '.join(sys.argv[1:])}",
        "device": platform.machine(),
        "versions": versions(),
    }
    for count in sys.argv[1:]:
        command = [sys.executable, __file__, "--one", count]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        result[count] = json.loads(done.stdout)
    result["load_1min_at_end"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
