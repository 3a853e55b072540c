"""What a first training does to the files: audit and pixel cache in one pass, against two.

    python benchmarks/one_pass.py FOLDER_OF_JPEGS [COUNT] > result.json

JPEGs of 3000x2000 to 256 px, on all cores. Both ways run in turns, each with empty caches and files
read once before (warm file cache); figures are medians over the turns, and times of processors are
those of this process and its decoders. "Two passes" is what `medcnn audit` and then `medcnn train`
do: looks first, then pixels, each with a pass of its own. Both ways must end with the same pixels
and the same looks. Done for enlarged photographs, and for the same with sensor noise, whose files
are as large as a camera's.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jpegs import write_jpegs

from medcnn.audit.thumbnails import Looks, look_at
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.images import Preprocessing
from medcnn.pixels.opening import open_store, pixel_shelves
from medcnn.system.run_facts import versions

TURNS = 5
HOW = Preprocessing(size_px=256)


def manifest_of(folder: Path, names: list[str]) -> Manifest:
    labels = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
    records = tuple(Record(image_id=n, path=n, group=n, target=(0.0,)) for n in names)
    return Manifest(source="x", root=folder, labels=labels, records=records)


def two_passes(manifest: Manifest) -> Looks:
    looks = look_at(manifest, HOW)
    open_store(manifest, HOW, cache="auto")
    return looks


def one_pass(manifest: Manifest) -> Looks:
    looks = look_at(manifest, HOW, also=pixel_shelves(manifest, HOW, "auto"))
    open_store(manifest, HOW, cache="auto")
    return looks


def timed(way: Callable[[Manifest], Looks], manifest: Manifest) -> tuple[float, float, Any]:
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(MEDCNN_CACHE=cache, MEDCNN_PSEUDONYM_KEY="a key of a benchmark")
        began, before = time.perf_counter(), sum(os.times()[:4])
        looks = way(manifest)
        wall, cpu = time.perf_counter() - began, sum(os.times()[:4]) - before
        store = open_store(manifest, HOW, cache="known")
        return wall, cpu, (looks.grey, looks.colour, looks.facts, store.fingerprint())


def compared(manifest: Manifest) -> dict[str, Any]:
    ways = {"two passes": two_passes, "one pass": one_pass}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for record in manifest.records:
        (manifest.root / record.path).read_bytes()
    for turn in range(TURNS):
        made = []
        for name, way in list(ways.items())[:: 1 if turn % 2 else -1]:
            wall, cpu, result = timed(way, manifest)
            taken[name].append((wall, cpu))
            made.append(result)
        first, second = made
        assert first[2:] == second[2:]
        assert all(np.array_equal(a, b) for a, b in zip(first[:2], second[:2], strict=True))
    result: dict[str, Any] = {"files": len(manifest.records)}
    for name, times in taken.items():
        wall, cpu = (statistics.median(t) for t in zip(*times, strict=True))
        result[name] = {"wall_s": round(wall, 2), "processor_s": round(cpu, 2)}
    pairs = list(zip(taken["one pass"], taken["two passes"], strict=True))
    for n, kind in enumerate(("wall", "processor")):
        ratios = sorted(one[n] / two[n] for one, two in pairs)
        result[f"ratio_{kind}"] = round(statistics.median(ratios), 3)
        result[f"ratio_{kind}_all"] = [round(r, 3) for r in ratios]
    return result


def main() -> None:
    source, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 600
    result: dict[str, Any] = {
        "command": f"python benchmarks/one_pass.py {source.name} {count}",
        "device": platform.machine(),
        "processes": [os.cpu_count(), torch.get_num_threads()],
        "turns": TURNS,
        "versions": versions(),
    }
    for title, noise in (("enlarged", 0.0), ("enlarged, sensor noise of 8 grey levels", 8.0)):
        with tempfile.TemporaryDirectory() as folder:
            names = write_jpegs(source, Path(folder), count // 3 if noise else count, noise)
            result[title] = compared(manifest_of(Path(folder), names))
    result["load_1min_at_end"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
