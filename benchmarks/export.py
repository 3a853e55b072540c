"""Images a second of resnet50 at 224 px on one thread: torch eager, ONNX in fp32, ONNX in int8.

    python benchmarks/export.py [ROUNDS] > benchmarks/results/export.json

Random weights and noise for pixels: time does not depend on either, and nothing here is about
accuracy. The three take turns, one batch each a round; medians of rounds, and of the ratios of
each round (with the lowest and highest), of wall time and of processor time. Torch computes what
`predict` does, logits and features, without mirror images.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Modality
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import exporting
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.models.deployed import Model
from medcnn.models.exported import Exported
from medcnn.models.inference import answered
from medcnn.models.quantising import quantised
from medcnn.statistics.decisions import Readout
from medcnn.system.run_facts import versions

SIZE_PX, BATCH, CALIBRATING = 224, 8, 16


def model_of(backbone: str) -> Model:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone=backbone,
        options={},
        head="linear",
        head_options={},
        channels=3,
        size_px=SIZE_PX,
    )
    classifier, _ = build_classifier(architecture, 7)
    checkpoint = Checkpoint(
        architecture=architecture,
        labels=LabelSpace(kind=Kind.MULTICLASS, names=tuple("abcdefg")),
        preprocessing=Preprocessing(size_px=SIZE_PX),
        readout=Readout(),
        normalisation=classifier.normalisation,
        modality=Modality.OTHER,
        training={},
        provenance={},
        flips="",
    )
    return Model(
        checkpoint=checkpoint,
        network=classifier.eval(),
        device=torch.device("cpu"),
        dtype=torch.float32,
        provenance={"checkpoint": "random", "checkpoint_sha256": "0" * 64},
    )


def over_torch(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Median, lowest and highest of how many times as fast as torch each was in a round."""
    torch_s = np.array(seconds["torch eager"])
    return {
        name: [round(float(f(torch_s / np.array(s))), 2) for f in (np.median, np.min, np.max)]
        for name, s in seconds.items()
    }


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    model = model_of("resnet50")
    rng = np.random.default_rng(0)
    proto = exporting.as_onnx(exporting.program_of(model), 0)
    origin = exporting.origin_of(model)
    seen = rng.integers(0, 255, (CALIBRATING, SIZE_PX, SIZE_PX, 3), np.uint8)
    files = {
        "onnx fp32": exporting.with_description(proto, model.checkpoint, origin),
        "onnx int8": exporting.with_description(quantised(proto, seen), model.checkpoint, origin),
    }
    networks = {"torch eager": model.network, **{n: Exported(c, n) for n, c in files.items()}}
    images = torch.from_numpy(rng.integers(0, 255, (BATCH, 3, SIZE_PX, SIZE_PX), np.uint8))
    taken: dict[str, list[float]] = {name: [] for name in networks}
    busy: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(rounds + 1):  # the first is not counted
        for name, network in networks.items():
            start, working = time.perf_counter(), time.process_time()
            answered(network, images, "", torch.float32, features=True)
            if number:
                taken[name].append(time.perf_counter() - start)
                busy[name].append(time.process_time() - working)
            print(f"{number} {name}", file=sys.stderr)
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = next(line for line in cpu.splitlines() if line.startswith("flags")).split()
    result = {
        "backbone": "resnet50",
        "size_px": SIZE_PX,
        "batch": BATCH,
        "threads": 1,
        "rounds": rounds,
        "processor": platform.machine(),
        "vector_instructions": [f for f in flags if f.startswith(("avx", "amx"))],
        "versions": versions() | {"onnxruntime": metadata.version("onnxruntime")},
        "images_per_s": {n: round(BATCH / float(np.median(t)), 2) for n, t in taken.items()},
        "times_torch": over_torch(taken),
        "times_torch_by_processor_time": over_torch(busy),
        "megabytes": {n: round(len(c) / 1e6, 1) for n, c in files.items()},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
