"""Loss curves of 1, 2 and 3 processes, laid over each other.

    python benchmarks/ranks.py [NETWORK] [EPOCHS]

Trains the same phantoms with the same settings, by torchrun with gloo on the CPU, and writes
`results/ranks.json` and `docs/figures/ranks.svg`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

TOP = Path(__file__).parents[1]
WORDS = (
    "data=phantom",
    "data.phantom=dermoscopy",
    "data.size_px=32",
    "trainer.batch_size=30",
    "trainer.device=cpu",
    "trainer.threads=1",
    "audit.copies=false",
    "model.weights=none",
)


def main(network: str = "lenet5", epochs: str = "8") -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found: dict[str, dict[str, object]] = {}
    weights = {}
    with tempfile.TemporaryDirectory() as folder:
        for world in (1, 2, 3):
            run = Path(folder) / str(world)
            began = time.monotonic()
            subprocess.run(
                [
                    *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                    f"--nproc-per-node={world}",
                    *(str(TOP / "scripts" / "train.py"), *WORDS, f"model={network}"),
                    *(f"trainer.epochs={epochs}", f"run_dir={run}"),
                ],
                env=environment,
                check=True,
            )
            history = json.loads((run / "run.json").read_text())["report"]["history"]
            weights[world] = load_file(run / "checkpoints" / "last.safetensors")
            found[str(world)] = {
                "train_loss": [epoch["train/loss"] for epoch in history],
                "val_auroc": [epoch["val/auroc"] for epoch in history],
                "wall_s": round(time.monotonic() - began, 1),
            }
    for world in (2, 3):
        pairs = [(weights[1][name], weights[world][name]) for name in weights[1]]
        apart = max(float((a.float() - b.float()).abs().max()) for a, b in pairs)
        found[str(world)]["largest_difference_of_a_weight"] = apart
    result = {"network": network, "torch": torch.__version__, "processes": found}
    name = f"ranks-{network}"
    (TOP / "benchmarks" / "results" / f"{name}.json").write_text(
        json.dumps(result, indent=2) + "\n"
    )
    draw(found, network, TOP / "docs" / "figures" / f"{name}.svg")
    print(json.dumps(result, indent=2))


def draw(found: dict[str, dict[str, object]], network: str, path: Path) -> None:
    import matplotlib.pyplot as plt

    path.parent.mkdir(exist_ok=True)
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for (world, curve), width in zip(found.items(), (7, 4, 1.5), strict=True):
        losses = curve["train_loss"]
        assert isinstance(losses, list)
        steps = range(1, len(losses) + 1)
        axes.plot(steps, losses, linewidth=width, label=f"{world} process(es)", alpha=0.8)
    axes.set(xlabel="epoch", ylabel="training loss", title=network)
    axes.legend(frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
