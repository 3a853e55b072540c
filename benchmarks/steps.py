"""Images per second of the training loop over those of the same model on tensors in memory, CPU.

    python benchmarks/steps.py > benchmarks/results/steps-cpu.json

The loop is `training.epochs` itself, as `medcnn train` runs it, over a pixel cache on disk into
which random pixels were drawn: reading, check sums, augmentation (that of dermoscopy, which does
the most), mixup, clipping, skipping what is not finite, moving average, counting. The limit is a
bare loop with the same network, head, loss, optimizer, precision and batch: forward, loss,
backward, step, on one batch that already lies on the device. In turns, one thread; figures are
medians over the turns. Here a turn is one step, so that other work on the machine slows both down
alike; on a GPU (`gpu.py`), which must not be asked after each step, it is an epoch.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medcnn.cli.compose import read_command
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.computing import autocast
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.segments import Pixels
from medcnn.system.run_facts import versions
from medcnn.training.epochs import epochs
from medcnn.training.steps import Stepper, tf32
from medcnn.training.stopping import Stop
from medcnn.verbs.steps.starting import setting_of, state_of
from medcnn.verbs.train import TrainConfig

CLASSES = tuple("abcdefg")
VALIDATION = 2 * len(CLASSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    backbone: str
    size_px: int
    batch_size: int
    images: int


CASES = (
    Case(backbone="resnet18", size_px=64, batch_size=64, images=1280),
    Case(backbone="resnet18", size_px=128, batch_size=32, images=640),
    Case(backbone="densenet121", size_px=64, batch_size=32, images=640),
)


def drawn(folder: Path, size_px: int, count: int) -> tuple[Manifest, PixelStore]:
    """A pixel cache of random images, without the files that it would be decoded from."""
    shape, segment = (3, size_px, size_px), bytes(16)
    rng, count = np.random.default_rng(0), count + VALIDATION
    crcs = np.zeros(count, np.uint32)
    with (folder / f"{segment.hex()}.pixels").open("wb") as file:
        for i in range(count):
            pixels = rng.bytes(int(np.prod(shape)))
            crcs[i] = zlib.crc32(pixels)
            file.write(pixels)

    def again(_: list[int]) -> dict[int, bytes]:
        raise AssertionError("nothing here is damaged")

    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)
    manifest = Manifest(
        source="drawn",
        root=folder,
        labels=labels,
        modality=Modality.DERMOSCOPY,
        records=tuple(
            Record(
                image_id=f"i{i}",
                path=f"{i}.png",
                group=f"i{i}",
                target=labels.encode([CLASSES[i % len(CLASSES)]]),
                split=Split.VALIDATION if i < VALIDATION else Split.TRAIN,
            )
            for i in range(count)
        ),
    )
    store = PixelStore(
        shape=shape,
        dtype=np.dtype(np.uint8),
        segments=[Pixels(folder, segment, int(np.prod(shape)))],
        places=np.stack([np.zeros(count, np.int64), np.arange(count)], axis=1),
        crcs=crcs,
        checked=np.zeros(count, np.bool_),
        unreadable={},
        again=again,
    )
    return manifest, store


def measured(
    case: Case, manifest: Manifest, store: PixelStore, device: torch.device, turns: int, how: str
) -> dict[str, Any]:
    """Both rates, their ratio, and the peak of a GPU's memory.

    Args:
        turns: epochs on a GPU; on a CPU the steps of one epoch are the turns.
        how: trainer.compile.
    """
    config = read_command(
        "train",
        [
            *(f"model.backbone={case.backbone}", "model.weights=none", f"trainer.compile={how}"),
            *(f"data.size_px={case.size_px}", f"trainer.batch_size={case.batch_size}"),
            *(f"trainer.epochs={turns + 1}", "trainer.save_every_s=1e-9"),
        ],
    ).config
    assert isinstance(config, TrainConfig)
    setting = setting_of(config, manifest, store, device)
    state = state_of(config, network(case), setting)
    after_step: list[Callable[[], None]] = [lambda: None]
    coming = epochs(state, setting, save=lambda: after_step[-1](), stop=Stop(patient=True))

    before = held(device)
    bare = state_of(config, network(case), setting)
    bare.classifier.train()
    forward = Stepper(bare, setting, num_batches=0).forward
    shape = (case.batch_size, 3, case.size_px, case.size_px)
    images = torch.rand(shape, device=device).contiguous(memory_format=setting.memory_format)
    targets = torch.eye(len(CLASSES), device=device)[torch.arange(case.batch_size) % len(CLASSES)]
    steps = case.images // case.batch_size
    resident = held(device) - before  # of the bare loop, beside which ours runs

    def bare_turn(steps: int) -> float:
        finish(device)
        start = time.perf_counter()
        for _ in range(steps):
            with tf32() if device.type == "cuda" else nullcontext():
                with autocast(setting.dtype, device):
                    logits = forward(images)
                loss, count = setting.task.loss(logits.float(), targets, 0)
                (loss / count).backward()
            bare.optimizer.step()
            bare.optimizer.zero_grad(set_to_none=True)
        finish(device)
        return steps * case.batch_size / (time.perf_counter() - start)

    peaks = []

    def our_turn() -> float:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        rate = next(coming).numbers["perf/images_per_s"]
        if device.type == "cuda":
            peaks.append((torch.cuda.max_memory_allocated(device) - resident) / 1e9)
        return rate

    def by_step() -> list[tuple[float, float]]:
        pairs, began = [], [time.perf_counter()]

        def turn() -> None:
            ours = case.batch_size / (time.perf_counter() - began[0])
            pairs.append((ours, bare_turn(1)))
            began[0] = time.perf_counter()

        after_step.append(turn)
        next(coming)
        return pairs

    bare_turn(2), our_turn()  # compiling, check sums, the allocator
    if device.type == "cpu":
        pairs = by_step()
    else:
        pairs = [(our_turn(), bare_turn(steps)) for _ in range(turns)]
    return {
        "backbone": case.backbone,
        "size_px": case.size_px,
        "batch_size": case.batch_size,
        "images": case.images,
        "dtype": str(setting.dtype),
        "compile": how,
        "images_per_s": round(statistics.median(a for a, _ in pairs), 1),
        "bare_images_per_s": round(statistics.median(b for _, b in pairs), 1),
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
        "turns": len(pairs),
        "ratio_quartiles": np.percentile([a / b for a, b in pairs], [25, 75]).round(3).tolist(),
        "micro_batch": state.micro_batch,
        "peak_gpu_gb": round(max(peaks), 2) if peaks else None,
    }


def network(case: Case) -> Classifier:
    architecture = Architecture(
        backbone=case.backbone,
        options={},
        head="linear",
        head_options={},
        channels=3,
        size_px=case.size_px,
    )
    torch.manual_seed(0)
    return build_classifier(architecture, len(CLASSES))[0]


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def held(device: torch.device) -> int:
    """Bytes of a GPU's memory."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def table(
    command: str, cases: tuple[Case, ...], device: torch.device, turns: int, compiled: list[str]
) -> dict[str, Any]:
    found = []
    for size_px in sorted({c.size_px for c in cases}):
        these = [c for c in cases if c.size_px == size_px]
        with tempfile.TemporaryDirectory() as folder:
            manifest, store = drawn(Path(folder), size_px, max(c.images for c in these))
            for case in these:
                kept = manifest.records[: case.images + VALIDATION]
                for how in compiled:
                    part = manifest.with_records(kept)
                    found.append(measured(case, part, store, device, turns, how))
                    print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return {
        "command": command,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.machine(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "cases": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, help="of an epoch, instead of those of each case")
    images = parser.parse_args().images
    torch.set_num_threads(1)
    cases = tuple(replace(c, images=images or c.images) for c in CASES)
    result = table("python benchmarks/steps.py", cases, torch.device("cpu"), 1, ["off"])
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
