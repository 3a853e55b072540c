"""Kill a training at seeded random moments, restart it until it is done, and compare the weights.

    python benchmarks/kills.py [KILLS] > benchmarks/results/kills.json       # 20 unless said

A tiny training on phantoms runs through the real command line, once undisturbed and once killed:
by SIGKILL or SIGTERM after a random time of training, or by SIGKILL within the write of a state, a
random share of it being done (the process kills itself there, which no clock of another process
could hit). The state is saved after every step. After each kill the same command is given again.
What is compared: every byte of the weights of best and last, the scores, and the curves.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

from medcnn.system.run_facts import versions

SEED = 0
SETTINGS = (
    *("data.phantom=dermoscopy", "data.patients=60", "data.size_px=32", "trainer.batch_size=8"),
    *("model.backbone=test_resnet", "model.weights=none", "+model.options.drop_rate=0.2"),
    *("head=mlp", "augmentation.mixup_alpha=0.2"),
    *("trainer.epochs=30", "trainer.device=cpu", "trainer.threads=1"),
    "trainer.save_every_s=0.000001",
)
# The command line, and in it the chance to die while a state is written.
CHILD = """
import os, signal, sys
from medcnn.cli import main
number, share = int(sys.argv.pop(1)), float(sys.argv.pop(1))
if number:
    from medcnn import files
    whole, seen = files.write_sealed, []
    def dies(path, content):
        seen.append(path)
        if len(seen) == number:
            (path.parent / f".{path.stem}.killed.part{path.suffix}").write_bytes(
                content[: int(len(content) * share)]
            )
            if share > 0.9:  # all is written, and the newest is called the one before
                newest, before = files.kept_twice(path)
                newest.exists() and newest.replace(before)
            os.kill(os.getpid(), signal.SIGKILL)
        whole(path, content)
    import medcnn.training.state as state
    state.write_sealed = dies
main()
"""


def start(folder: Path, number: int = 0, share: float = 0.0) -> subprocess.Popen[bytes]:
    words = ["train", *SETTINGS, f"run_dir={folder}"]
    command = [sys.executable, "-c", CHILD, str(number), str(share), *words]
    environment = {**os.environ, "MEDCNN_CACHE": str(folder.parent / "cache")}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)


def states(folder: Path) -> int:
    """Time of the newest saved state, 0 where there is none."""
    try:
        return (folder / "checkpoints" / "resume.pt").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def killed(folder: Path, kind: str, rng: random.Random) -> int:
    """One sitting that is ended by force; returns its exit code, 0 where it was done before."""
    if kind == "during a save":
        return start(folder, rng.randint(1, 12), rng.random()).wait()
    before = states(folder)
    child = start(folder)
    while states(folder) == before and child.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.8))
    child.send_signal(signal.SIGKILL if kind == "SIGKILL" else signal.SIGTERM)
    return child.wait()


def result(folder: Path) -> dict[str, object]:
    """What must be the same."""

    def sha(name: str) -> str:
        digest = hashlib.sha256()
        for key, tensor in sorted(
            load_file(folder / "checkpoints" / f"{name}.safetensors").items()
        ):
            digest.update(key.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "events")).Reload()
    curves = {
        tag: [(e.step, e.value) for e in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
        if not tag.startswith("perf/")
    }
    return {
        "sha256 of best": sha("best"),
        "sha256 of last": sha("last"),
        "sha256 of metrics.json": hashlib.sha256(
            (folder / "metrics.json").read_bytes()
        ).hexdigest(),
        "sha256 of curves": hashlib.sha256(json.dumps(curves, sort_keys=True).encode()).hexdigest(),
    }


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rng = random.Random(SEED)
    kinds = [("SIGKILL", "SIGTERM", "during a save")[i % 3] for i in range(wanted)]
    rng.shuffle(kinds)
    with tempfile.TemporaryDirectory() as place:
        whole, torn = Path(place) / "whole", Path(place) / "torn"
        assert start(whole).wait() == 0
        told = []
        for kind in kinds:
            code = killed(torn, kind, rng)
            told.append({"kind": kind, "exit": code})
            print(f"{kind}: exit {code}", file=sys.stderr)
            if code == 0:
                break
        while (code := start(torn).wait()) != 0:
            told.append({"kind": "none", "exit": code})
            if code != 75:
                break
        expected, found = result(whole), result(torn)
        report = {
            "command": f"python benchmarks/kills.py {wanted}",
            "settings": " ".join(SETTINGS),
            "kills": sum(t["exit"] != 0 for t in told),
            "by kind": {
                k: sum(t["kind"] == k and t["exit"] != 0 for t in told) for k in set(kinds)
            },
            "last exit": code,
            "equal": {name: expected[name] == found[name] for name in expected},
            "uninterrupted": expected,
            "killed": found,
            "sittings": told,
            "machine": platform.machine(),
            "versions": versions(),
        }
    print(json.dumps(report, indent=2))
    sys.exit(0 if all(expected[name] == found[name] for name in expected) else 1)


if __name__ == "__main__":
    main()
