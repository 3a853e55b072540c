"""Several processes train one model: the same command, as torchrun starts it, on the CPU."""

from __future__ import annotations

import fcntl
import io
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medcnn.cli import main
from medcnn.models.classifier import Classifier
from medcnn.statistics.predictions import Predictions
from medcnn.system.files import read_sealed
from medcnn.training import steps
from tests.command import SMALL

WORDS = (*SMALL, "trainer.accumulate=2")


def start(
    world: int, *words: str, first: Callable[[int], None] | None = None, said: Path | None = None
) -> list[Any]:
    """`world` processes with the environment that torchrun gives them.

    Args:
        first: what each does before the command.
        said: their stderr.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    # not a fork of this process: autograd works in no fork of one that had threads of it
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    each = [(rank, world, port, words, first, said) for rank in range(world)]
    processes = [server.Process(target=train, args=args) for args in each]
    for process in processes:
        process.start()
    return processes


def train(
    rank: int,
    world: int,
    port: str,
    words: Sequence[str],
    first: Callable[[int], None] | None,
    said: Path | None,
) -> None:
    ranks = {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ.update(ranks, MASTER_ADDR="localhost", MASTER_PORT=port)
    if said:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    torch.set_num_threads(1)
    if first:
        first(rank)
    main(["train", *words])


def finish(processes: list[Any]) -> list[int]:
    """Exit codes."""
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.kill()
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def runs(images: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Finished runs of 1, 2 and 3 processes."""
    folder = tmp_path_factory.mktemp("runs")
    for world in (1, 2, 3):
        codes = finish(start(world, *WORDS, images, f"run_dir={folder / str(world)}"))
        assert codes == [0] * world
    return {world: folder / str(world) for world in (1, 2, 3)}


def weights(run: Path) -> dict[str, Any]:
    return load_file(run / "checkpoints" / "last.safetensors")


def losses(run: Path) -> list[float]:
    history = json.loads((run / "run.json").read_text())["report"]["history"]
    return [epoch["train/loss"] for epoch in history]


@pytest.mark.parametrize("world", [2, 3])
def test_the_weights_are_those_of_one_process_up_to_rounding(
    runs: dict[int, Path], world: int
) -> None:
    one, many = weights(runs[1]), weights(runs[world])
    for name, value in one.items():
        assert torch.allclose(value, many[name], atol=2e-4), name


@pytest.mark.fault
@pytest.mark.parametrize("world", [2, 3])
def test_every_image_is_judged_once_and_alike(runs: dict[int, Path], world: int) -> None:
    """Row 83."""
    for split in ("test", "validation"):
        one = Predictions.read(runs[1] / f"predictions_{split}.csv")
        many = Predictions.read(runs[world] / f"predictions_{split}.csv")
        assert many.image_ids == one.image_ids
        assert np.abs(many.probabilities - one.probabilities).max() < 1e-3
    assert losses(runs[world]) == pytest.approx(losses(runs[1]), abs=1e-4)


TOGETHER = {
    "samplers and averaged weights": ("sampler=balanced", "trainer.swa_from=0.5"),
    "stored features of a frozen body": (
        *("transfer=lp_ft", "transfer.views=2", "augmentation.mixup_alpha=0"),
        *("model=test_resnet", "model.weights=none", "transfer.features=once"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_what_needs_the_whole_batch_is_the_same_in_two_processes(
    images: str, tmp_path: Path, name: str
) -> None:
    one, two = by_one_and_two(images, tmp_path, TOGETHER[name])
    for key, value in weights(one).items():
        assert torch.allclose(value, weights(two)[key], atol=2e-4), key


@pytest.mark.slow
def test_auxiliary_classifiers_learn_in_two_processes(images: str, tmp_path: Path) -> None:
    """Up to dropout and BatchNorm's statistics, which each process draws and takes for itself."""
    words = ("model=googlenet", "model.weights=none", "model.auxiliary=true", "data.size_px=64")
    one, two = by_one_and_two(images, tmp_path, words)
    assert losses(two) == pytest.approx(losses(one), rel=0.2)
    assert losses(two)[0] > 1.5 * np.log(4)  # which is the loss without them


def by_one_and_two(images: str, folder: Path, more: Sequence[str]) -> list[Path]:
    runs = [folder / "1", folder / "2"]
    for world, run in enumerate(runs, start=1):
        words = (*WORDS, images, *more, f"run_dir={run}")
        assert finish(start(world, *words)) == [0] * world
    return runs


def test_a_run_of_two_processes_that_was_stopped_goes_on_with_three_and_with_one(
    images: str, tmp_path: Path, runs: dict[int, Path]
) -> None:
    words = (*WORDS, images, f"run_dir={tmp_path / 'r'}")
    processes = start(2, *words, "trainer.save_every_s=0.001")
    while not list(tmp_path.glob("r/checkpoints/resume*")) and processes[0].is_alive():
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGTERM)  # one of them hears it, and all stop
    assert finish(processes) == [75, 75]
    assert finish(start(3, *words)) == [0, 0, 0]
    for name, value in weights(runs[1]).items():
        assert torch.allclose(value, weights(tmp_path / "r")[name], atol=2e-4), name


def small(images: int, rank: int) -> None:
    """The second process trains on so many images at once at most."""
    steps.PROBED = ("cpu",)
    real = Classifier.forward

    def forward(self: Classifier, batch: torch.Tensor) -> torch.Tensor:
        if rank and self.training and len(batch) > images:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, batch)

    Classifier.forward = forward  # type: ignore[method-assign]


def test_where_one_process_has_less_memory_all_take_smaller_parts(
    images: str, tmp_path: Path, runs: dict[int, Path]
) -> None:
    words = (*WORDS, images, f"run_dir={tmp_path / 'r'}")
    assert finish(start(2, *words, first=partial(small, 2))) == [0, 0]
    for name, value in weights(runs[2]).items():
        assert torch.allclose(value, weights(tmp_path / "r")[name], atol=2e-4), name
    content = io.BytesIO(read_sealed(tmp_path / "r" / "checkpoints" / "resume.pt"))
    assert torch.load(content, weights_only=True)["numbers"]["micro_batch"] == 2
    assert "out of memory on another GPU: continuing with 2" in (tmp_path / "r/log.txt").read_text()


def test_where_one_process_has_no_memory_the_leader_says_so(images: str, tmp_path: Path) -> None:
    words = (*WORDS, images, f"run_dir={tmp_path / 'r'}")
    said = tmp_path / "said.txt"
    assert finish(start(2, *words, first=partial(small, 0), said=said)) == [1, 1]
    lack = "the GPU of another process has too little memory for one image"
    assert lack in " ".join(said.read_text().split())


def test_a_fault_is_reported_once_and_ends_all(images: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("mine")
    words = (*WORDS, images, f"run_dir={tmp_path / 'taken'}")
    said, then = tmp_path / "said.txt", tmp_path / "then.txt"
    assert finish(start(2, *words, said=said)) == [2, 2]
    assert said.read_text().count("error:") == 1
    words = (*WORDS, images, f"run_dir={tmp_path / 's'}")
    assert finish(start(2, *words, "trainer.sync_batchnorm=true", said=then)) == [2, 2]
    assert "needs several GPUs" in " ".join(then.read_text().split())


def torchrun(images: str, run: Path, *more: str) -> subprocess.Popen[str]:
    """Two processes, as docs/many-machines.md starts them; a first state is saved."""
    script = Path(__file__).parents[2] / "scripts" / "train.py"
    options = (
        *("--standalone", "--nproc-per-node=2", "--max-restarts=2"),
        "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    )
    words = (*WORDS, images, f"run_dir={run}", "trainer.save_every_s=0.001", *more)
    started = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options, str(script), *words],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (run / "checkpoints" / "resume.pt").exists() and started.poll() is None:
        time.sleep(0.01)
    return started


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_a_signal_to_torchrun_saves_and_ends_its_processes_for_good(
    images: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Rows 7 and 9."""
    run = tmp_path / "r"
    started = torchrun(images, run, "trainer.epochs=10000")
    started.send_signal(number)
    _, said = started.communicate(timeout=120)  # until the last of its processes has ended
    assert started.returncode == (-number if number == signal.SIGKILL else 1), said
    facts = json.loads((run / "run.json").read_text())
    assert facts["exit"]["code"] == 75, said
    assert facts["sittings"] == 1  # --max-restarts began nothing anew
    with (run / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.slow
def test_torchrun_starts_again_what_was_killed_and_the_weights_are_the_same(
    images: str, tmp_path: Path
) -> None:
    # enough epochs for the kill to come before the end
    words = ("trainer.epochs=60",)
    assert finish(start(2, *WORDS, images, f"run_dir={tmp_path / 'whole'}", *words)) == [0, 0]
    started = torchrun(images, tmp_path / "r", *words)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 0, said
    assert "another process of this training ended" in " ".join(said.split())
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "r")[name]), name
