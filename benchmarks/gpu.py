"""Images per second of the training loop over those of the same model on tensors in memory, GPU.

    python benchmarks/gpu.py            # writes benchmarks/results/gpu.json

resnet50 and densenet121 at 224 and 512 px, from a pixel cache of 10,000 images (8 GB of disk for a
while); what is compared is told in `steps.py`. `--compile off on` measures both with and without
torch.compile, `--cases` takes some of the four. That it runs shows without a GPU:
`--device cpu --images 16 --size 64 --turns 1 --output /tmp/x.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from steps import Case, table

CASES = {
    f"{backbone}-{size_px}": Case(
        backbone=backbone, size_px=size_px, batch_size=batch_size, images=10_000
    )
    for size_px, batch_size in ((224, 128), (512, 32))
    for backbone in ("resnet50", "densenet121")
}
RESULT = Path(__file__).parent / "results" / "gpu.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, help="instead of 224 and 512 px, to see that it runs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", nargs="+", default=["off"], choices=["off", "on"])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--output", type=Path, default=RESULT)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "this machine has no GPU that torch can use, so there is nothing to measure; "
            "benchmarks/steps.py measures the same on a CPU."
        )
    if device.type != "cuda" and asked.output == RESULT:
        raise SystemExit("only figures of a GPU belong into gpu.json: give --output FILE.")
    torch.backends.cudnn.benchmark = True  # as every run on a GPU has it; no effect on a CPU
    cases = tuple(
        replace(
            CASES[name],
            images=asked.images,
            size_px=asked.size or CASES[name].size_px,
            batch_size=min(asked.images, CASES[name].batch_size),
        )
        for name in asked.cases
    )
    command = " ".join(["python benchmarks/gpu.py", *sys.argv[1:]])
    result = table(command, cases, device, asked.turns, asked.compile)
    asked.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written: {asked.output}")


if __name__ == "__main__":
    main()
