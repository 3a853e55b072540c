"""The recipe that the default on RetinaMNIST is compared with, as a plain script without medcnn.

    python benchmarks/retina_sketch.py retinamnist.npz SEED [EPOCHS] > result.json

Flips, any rotation, mixup, softened ordinal targets, averaged weights, flip-averaging; ResNet-18
for small images at 28 px; no choice of an epoch. Scores of the most probable and of the median
grade.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score
from torch import Tensor, nn
from torchvision.models import resnet18

BATCH, LR, SOFTNESS, MIXUP, DECAY = 64, 1e-3, 0.5, 0.2, 0.99


def turned(images: Tensor) -> Tensor:
    """Each at an angle of its own, and mirrored or not."""
    angle = torch.rand(len(images)) * 2 * math.pi
    mirror = (torch.rand(len(images), 2) < 0.5).float() * 2 - 1
    zero = torch.zeros(len(images))
    first = torch.stack([angle.cos() * mirror[:, 0], -angle.sin() * mirror[:, 1], zero], 1)
    second = torch.stack([angle.sin() * mirror[:, 0], angle.cos() * mirror[:, 1], zero], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def main() -> None:
    file, seed = sys.argv[1], int(sys.argv[2])
    epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 30
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    arrays = np.load(file)
    images = {
        s: torch.from_numpy(arrays[f"{s}_images"]).permute(0, 3, 1, 2).float() / 255
        for s in ("train", "val", "test")
    }
    grades = {s: torch.from_numpy(arrays[f"{s}_labels"][:, 0]).long() for s in images}
    mean = images["train"].mean((0, 2, 3), keepdim=True)
    std = images["train"].std((0, 2, 3), keepdim=True)
    images = {s: (x - mean) / std for s, x in images.items()}
    apart = (torch.arange(5)[:, None] - torch.arange(5)).abs().float()
    soft = torch.softmax(-apart / SOFTNESS, 1)
    net = resnet18(num_classes=5)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    net = net.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.05)
    count = len(images["train"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, total_steps=epochs * -(-count // BATCH), pct_start=0.1
    )
    start, step = time.monotonic(), 0
    for _ in range(epochs):
        net.train()
        for rows in torch.randperm(count).split(BATCH):
            x, target = turned(images["train"][rows]), soft[grades["train"][rows]]
            share, other = float(draw.beta(MIXUP, MIXUP)), torch.randperm(len(rows))
            x, target = (
                share * x + (1 - share) * x[other],
                share * target + (1 - share) * target[other],
            )
            logits = net(x.contiguous(memory_format=torch.channels_last))
            loss = -(target * F.log_softmax(logits, 1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            keep = min(DECAY, (1 + step) / (10 + step))
            with torch.no_grad():
                pairs = zip(averaged.state_dict().values(), net.state_dict().values(), strict=True)
                for kept, new in pairs:
                    if kept.is_floating_point():
                        kept.lerp_(new, 1 - keep)
                    else:
                        kept.copy_(new)
    averaged.eval()
    with torch.no_grad():
        x = images["test"]
        views = (x, x.flip(2), x.flip(3), x.flip(2, 3))
        probability = torch.stack([averaged(v).softmax(1) for v in views]).mean(0).numpy()
    truth = grades["test"].numpy()
    decisions = {
        "most_probable": probability.argmax(1),
        "median": (probability.cumsum(1) < 0.5).sum(1),
    }
    areas = [roc_auc_score(truth == k, probability[:, k]) for k in range(5)]
    result: dict[str, object] = {"seed": seed, "epochs": epochs, "auroc": float(np.mean(areas))}
    for name, decided in decisions.items():
        result[name] = {
            "accuracy": accuracy_score(truth, decided),
            "kappa": cohen_kappa_score(truth, decided, weights="quadratic"),
        }
    result["wall_s"] = round(time.monotonic() - start)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
