"""Building the store, the second epoch, and memory, against the loaders in common use.

    python benchmarks/loaders.py FOLDER_OF_JPEGS [COUNT] > result.json     # needs monai

On JPEGs of 3000x2000 (see jpegs.py). Each loader runs in processes of its own, in turns; figures
are medians over the turns. Nothing is augmented, so that all do the same. They are:

    medcnn   the pixel store, no workers
    torch    Dataset of pillow + torchvision, DataLoader with 2 workers kept alive
    timm     timm.data.create_loader, 2 workers kept alive
    monai    CacheDataset in memory, filled by 2 threads, DataLoader without workers
    memory   no loader: one tensor of bytes in memory. What is left is arithmetic, the limit of all

`build`: the store (processes and their start included) and the CacheDataset, on parts of the files,
in turns, 2 cores, 256 px. `second_epoch_s`: the second epoch at 64 px as it trains resnet18
(forward, loss, backward, AdamW; one torch thread, 2 cores); `..._two_threads`: with two, as torch
chooses on 2 cores; `..._224_px`: the first 200 files at 224 px. `pss_mb`: proportional set size of
all processes at the end of that epoch.
Batches of medcnn also let glibc keep freed memory, which makes the arithmetic itself cheaper
(`keep_freed_memory`); the others run as they come.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jpegs import write_jpegs

TURNS, PARTS, BATCH = 3, 3, 32
LOADERS = ("medcnn", "torch", "timm", "monai", "memory")


def manifest_of(folder: Path, names: list[str]) -> Any:
    from medcnn.data.labels import Kind, LabelSpace
    from medcnn.data.manifest import Manifest, Record

    return Manifest(
        source="benchmark",
        root=folder,
        labels=LabelSpace(kind=Kind.MULTICLASS, names=("a", "b")),
        records=tuple(Record(image_id=n, path=f"c/{n}", group=n, target=(1.0, 0.0)) for n in names),
    )


def cached_by_monai(folder: Path, names: list[str], size_px: int) -> Any:
    from monai.data import CacheDataset
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        Resized,
        ResizeWithPadOrCropd,
    )

    steps = Compose(
        [
            LoadImaged("image", reader="PILReader"),
            EnsureChannelFirstd("image"),
            Resized("image", spatial_size=size_px, size_mode="longest"),
            ResizeWithPadOrCropd("image", spatial_size=(size_px, size_px)),
        ]
    )
    items = [{"image": str(folder / "c" / n), "label": 0} for n in names]
    return CacheDataset(items, steps, num_workers=2, progress=False)


def build(folder: Path, names: list[str]) -> dict[str, Any]:
    import torch

    from medcnn.images import Preprocessing
    from medcnn.pixels.opening import open_store

    ours, theirs = [], []
    cached_by_monai(folder, names[:2], 256)  # its imports are no part of the work
    for part in (names[i::PARTS] for i in range(PARTS)):
        with tempfile.TemporaryDirectory() as cache:
            torch.set_num_threads(2)
            start = time.perf_counter()
            open_store(manifest_of(folder, part), Preprocessing(size_px=256), cache=cache)
            ours.append(time.perf_counter() - start)
        torch.set_num_threads(1)
        start = time.perf_counter()
        cached_by_monai(folder, part, 256)
        theirs.append(time.perf_counter() - start)
    return {
        "files_a_part": len(names) // PARTS,
        "medcnn_s": round(statistics.median(ours), 2),
        "monai_s": round(statistics.median(theirs), 2),
        "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
    }


def loader_of(name: str, folder: Path, names: list[str], px: int) -> Callable[[int], Iterable[Any]]:
    """Epoch -> batches [B, 3, px, px] in 0..1 or normalised."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    if name == "medcnn":
        import numpy as np

        from medcnn.images import Preprocessing
        from medcnn.pixels.batches import batches, epoch_order
        from medcnn.pixels.opening import open_store

        manifest = manifest_of(folder, names)
        store = open_store(manifest, Preprocessing(size_px=px), cache=str(folder / "cache"))
        targets, rows = manifest.targets(), np.arange(len(names))

        def ours(epoch: int) -> Iterable[Any]:
            order = epoch_order(rows, seed=0, epoch=epoch)
            coming = batches(store, targets, order, BATCH, device=torch.device("cpu"))
            return (batch.images.float() / 255 for batch in coming)

        return ours
    if name == "torch":
        from PIL import Image
        from torchvision.transforms import v2

        steps = v2.Compose([v2.Resize((px, px)), v2.PILToTensor()])

        class Files(Dataset[Any]):
            def __len__(self) -> int:
                return len(names)

            def __getitem__(self, i: int) -> Any:
                with Image.open(folder / "c" / names[i]) as image:
                    return steps(image.convert("RGB"))

        loader = DataLoader(Files(), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
        return lambda _: (images.float() / 255 for images in loader)
    if name == "timm":
        from timm.data import create_dataset, create_loader

        theirs = create_loader(
            create_dataset("", root=str(folder), split=""),
            input_size=(3, px, px),
            batch_size=BATCH,
            num_workers=2,
            use_prefetcher=False,
            persistent_workers=True,
        )
        return lambda _: (images for images, _ in theirs)
    if name == "memory":
        held = torch.randint(256, (len(names), 3, px, px), dtype=torch.uint8)
        return lambda _: (images.float() / 255 for images in held.split(BATCH))
    kept = DataLoader(cached_by_monai(folder, names, px), BATCH, shuffle=True)
    return lambda _: (batch["image"].as_tensor() / 255 for batch in kept)


def epoch(name: str, folder: Path, names: list[str], threads: int, px: int) -> dict[str, float]:
    import timm
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=2).train()
    optimizer = torch.optim.AdamW(model.parameters())
    loader = loader_of(name, folder, names, px)
    for training in (False, True):
        start, count = time.perf_counter(), 0
        for images in loader(int(training)):
            count += len(images)
            if training:
                target = torch.zeros(len(images), dtype=torch.long)
                F.cross_entropy(model(images), target).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        assert count == len(names)
    seconds = time.perf_counter() - start
    return {"second_epoch_s": seconds, "pss_mb": pss_mb(os.getpid())}


def pss_mb(process: int) -> float:
    """Of a process and all below it."""
    total, waiting = 0.0, [process]
    while waiting:
        number = waiting.pop()
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1000
        for task in Path(f"/proc/{number}/task").iterdir():
            waiting += [int(n) for n in (task / "children").read_text().split()]
    return total


def main() -> None:
    if sys.argv[1] in ("--build", "--epoch"):
        folder = Path(sys.argv[3])
        names = sorted(p.name for p in (folder / "c").iterdir())
        one = sys.argv[1] == "--build"
        name, threads, px = sys.argv[2], int(sys.argv[4]), int(sys.argv[5])
        names = names if px == 64 else names[:200]
        print(json.dumps(build(folder, names) if one else epoch(name, folder, names, threads, px)))
        return
    source, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 600

    def measured(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(source, Path(folder) / "c", count)
        built = measured("--build", "monai", folder, "1", "64")
        turns, two, large = [], [], []
        for _ in range(TURNS):
            turns.append({n: measured("--epoch", n, folder, "1", "64") for n in LOADERS})
            two.append({n: measured("--epoch", n, folder, "2", "64") for n in LOADERS[:2]})
            alone = ("medcnn", "memory")
            large.append({n: measured("--epoch", n, folder, "1", "224") for n in alone})
    from monai import __version__ as monai_version

    from medcnn.system.run_facts import versions

    result: dict[str, Any] = {
        "command": f"python benchmarks/loaders.py {source.name} {count}",
        "device": platform.machine(),
        "versions": {**versions(), "monai": monai_version},
        "build": built,
    }
    for title, figure, found in (
        ("second_epoch_s", "second_epoch_s", turns),
        ("pss_mb", "pss_mb", turns),
        ("second_epoch_s_two_threads", "second_epoch_s", two),
        ("second_epoch_s_224_px", "second_epoch_s", large),
    ):
        result[title] = {
            n: round(statistics.median(t[n][figure] for t in found), 3) for n in found[0]
        }
        result[f"{title}_over_medcnn"] = {
            n: round(statistics.median(t[n][figure] / t["medcnn"][figure] for t in found), 2)
            for n in found[0]
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
