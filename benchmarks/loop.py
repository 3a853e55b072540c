"""Images per second of the training loop over those of the same model on tensors in memory.

    python benchmarks/loop.py data=ham10000 data.root=FOLDER data.size_px=64 > result.json

The limit is a bare loop: forward, loss, backward, AdamW on a batch that already lies on the
device, without augmentation, averaging, clipping or logging. Both are run in turns of a few steps
in one process, one thread; the figure is the median over the turns. Settings are those of
`medcnn train`.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time

import torch
import torch.nn.functional as F

from medcnn.cli.compose import read_command
from medcnn.config import TrainConfig
from medcnn.loading.batches import batches, epoch_order, image_keys
from medcnn.manifest import Split
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.run_folder import versions
from medcnn.training.epochs import update
from medcnn.training.optimizers import adamw
from medcnn.workflows.data import manifest_of, pixels_of, preprocessing_of
from medcnn.workflows.training import setting_of, state_of

TURNS, STEPS = 12, 6


def main() -> None:
    config = read_command("train", sys.argv[1:]).config
    assert isinstance(config, TrainConfig)
    assert config.model is not None
    assert config.head is not None
    torch.set_num_threads(config.trainer.threads or 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    manifest = manifest_of(config.data, config.seed, lambda _: None)
    store = pixels_of(manifest, preprocessing_of(config.data), config.data, lambda _: None)
    setting = setting_of(config, manifest, store, device)
    num_outputs = len(manifest.labels.outputs)
    size = config.trainer.batch_size

    def classifier() -> torch.nn.Module:
        assert config.model is not None
        assert config.head is not None
        architecture = Architecture(
            backbone=config.model.backbone,
            options=config.model.options,
            head=config.head.name,
            head_options=config.head.options,
            channels=config.data.channels,
            size_px=config.data.size_px,
        )
        return build_classifier(architecture, num_outputs)[0]

    state = state_of(config, classifier(), setting)  # type: ignore[arg-type]
    state.classifier.train()
    bare = classifier().to(device, memory_format=setting.memory_format).train()  # type: ignore[call-overload]
    optimizer = adamw(bare, lr=1e-3, weight_decay=0.05, head_lr_factor=1.0)
    shape = (size, config.data.channels, config.data.size_px, config.data.size_px)
    images = torch.rand(shape, device=device).contiguous(memory_format=setting.memory_format)
    targets = torch.randint(num_outputs, (size,), device=device)

    def bare_turn() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            loss = F.cross_entropy(bare(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()
        return STEPS * size / (time.perf_counter() - start)

    rows = manifest.rows(Split.TRAIN)
    coming = iter(())
    keys, all_targets = image_keys(manifest), manifest.targets()

    def our_turn() -> float:
        nonlocal coming
        start, seen = time.perf_counter(), 0
        for _ in range(STEPS):
            batch = next(coming, None)
            if batch is None:
                order = epoch_order(rows, seed=0, epoch=state.epoch)
                coming = batches(store, all_targets, order, size, device=device)
                batch = next(coming)
            state.step += 1
            update(state, setting, [batch], keys, {})
            seen += len(batch.rows)
        return seen / (time.perf_counter() - start)

    bare_turn(), our_turn()
    turns = [(our_turn(), bare_turn()) for _ in range(TURNS)]
    result = {
        "command": " ".join(["python benchmarks/loop.py", *sys.argv[1:]]),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "medcnn_images_per_s": round(statistics.median(a for a, _ in turns), 1),
        "bare_images_per_s": round(statistics.median(b for _, b in turns), 1),
        "ratio": round(statistics.median(a / b for a, b in turns), 3),
        "ratios": [round(a / b, 3) for a, b in turns],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
