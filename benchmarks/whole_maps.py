"""A training step of vgg11_bn with fc6 as one matrix product, over the same step with the
convolution that timm writes.

    python benchmarks/whole_maps.py > benchmarks/results/whole-maps-cpu.json

32 images of 64 px, AdamW, one thread, memory layout and optimizer as `medcnn train` has them. Both
ways take one step in turns; figures are medians over the turns.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from medcnn.models.backbones import build_body
from medcnn.system.run_facts import versions

TURNS = 7
BATCH, SIZE_PX = 32, 64


def step_of(network: nn.Module) -> Callable[[], None]:
    network.train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    images = torch.randn(BATCH, 3, SIZE_PX, SIZE_PX).to(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()

    return step


def write_as_timm_does(network: Any) -> None:
    fc6 = network.pre_logits.fc1
    plain = nn.Conv2d(fc6.in_channels, fc6.out_channels, fc6.kernel_size)
    plain.weight, plain.bias = fc6.weight, fc6.bias
    network.pre_logits.fc1 = plain


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bodies = [build_body("vgg11_bn", channels=3, size_px=SIZE_PX).network for _ in range(2)]
    write_as_timm_does(bodies[1])
    ways = {"product": step_of(bodies[0]), "convolution": step_of(bodies[1])}
    times_s: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(TURNS + 1):
        for way, step in ways.items():
            began = time.perf_counter()
            step()
            if turn:  # the first one allocates
                times_s[way].append(time.perf_counter() - began)
        print(f"turn {turn} of {TURNS}", file=sys.stderr)
    medians = {way: statistics.median(values) for way, values in times_s.items()}
    ratios = [p / c for p, c in zip(times_s["product"], times_s["convolution"], strict=True)]
    found = {
        "command": "python benchmarks/whole_maps.py",
        "device": platform.machine(),
        "versions": versions(),
        "median_s": medians,
        "ratio": statistics.median(ratios),
        "ratio_all": sorted(ratios),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
