"""The same loop on a GPU; skipped where there is none."""

from __future__ import annotations

import gc
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.pixels.batches import batches
from medcnn.pixels.opening import open_store
from medcnn.statistics.predictions import Predictions
from medcnn.system.files import read_sealed
from medcnn.training import epochs, steps
from tests.command import run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU"),
    # torch says so once where the first thing that a thread of autograd does is a matrix product
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS"),
    # and so of each engine of cuDNN that finds no room, before it tries the next one
    pytest.mark.filterwarnings("ignore:Plan failed with"),
]

QUICK = ("data.phantom=dermoscopy", "data.patients=60", "data.size_px=64", "trainer.epochs=2")


def saved(folder: Path) -> dict[str, Any]:
    content = io.BytesIO(read_sealed(folder / "checkpoints" / "resume.pt"))
    return dict(torch.load(content, weights_only=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_precision_and_depth_trains_on_a_gpu(
    tmp_path: Path, precision: str, bits: int
) -> None:
    words = (f"trainer.precision={precision}", f"data.bits={bits}", f"run_dir={tmp_path / 'r'}")
    assert run("train", *QUICK, *words, "trainer.device=cuda") == 0
    facts = json.loads((tmp_path / "r" / "run.json").read_text())
    assert facts["hardware"]["device"] == torch.cuda.get_device_name()


def test_a_checkpoint_says_the_same_on_gpu_and_cpu(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    words = ("trainer.precision=fp32", "trainer.device=cuda", f"run_dir={folder}")
    assert run("train", *QUICK, *words) == 0
    checkpoint = f"checkpoint={folder}/checkpoints/best.safetensors"
    assert run("evaluate", checkpoint, "device=cpu", f"run_dir={tmp_path / 'e'}") == 0
    ours = Predictions.read(folder / "predictions_test.csv")
    theirs = Predictions.read(tmp_path / "e" / "predictions_test.csv")
    assert ours.image_ids == theirs.image_ids
    # TF32 and other orders of summation move the third digit of a logit at most
    assert np.abs(ours.probabilities - theirs.probabilities).max() < 5e-3


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_no_step_waits_for_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first step may: cuDNN, the allocator and pinned memory are set up then."""
    real, calls = epochs.update, []

    def watched(*arguments: Any) -> None:
        calls.append(1)
        torch.cuda.set_sync_debug_mode("error" if len(calls) > 3 else "default")
        try:
            real(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(epochs, "update", watched)
    words = ("trainer.batch_size=8", "trainer.device=cuda")
    for precision in ("bf16", "fp16"):
        calls.clear()
        folder = f"run_dir={tmp_path / precision}"
        assert run("train", *QUICK, *words, folder, f"trainer.precision={precision}") == 0
        assert len(calls) > 10


def test_a_poisoned_batch_leaves_no_trace_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = steps.augment, []

    def augment(images: torch.Tensor, *arguments: Any, **more: Any) -> torch.Tensor:
        calls.append(1)
        images = real(images, *arguments, **more)
        return images * torch.nan if len(calls) == 3 else images

    monkeypatch.setattr(steps, "augment", augment)
    # given, so that no probe augments the first batch once more
    words = ("trainer.batch_size=8", "trainer.micro_batch=8", "trainer.device=cuda")
    words = (*words, "trainer.keep_state=true")
    words = (*words, f"run_dir={tmp_path / 'r'}")
    assert run("train", *QUICK, *words) == 0
    stored = saved(tmp_path / "r")
    assert [h["train/skipped"] for h in stored["numbers"]["history"]] == [1, 0]
    for part in ("classifier", "averaged"):
        assert all(bool(t.isfinite().all()) for t in stored[part].values())


@pytest.mark.filterwarnings("ignore")  # what the compiler warns of would end as its failure
def test_a_compiled_run_keeps_plain_names(tmp_path: Path) -> None:
    words = ("trainer.compile=on", "trainer.device=cuda", f"run_dir={tmp_path / 'r'}")
    assert run("train", *QUICK, *words) == 0
    assert "torch.compile failed" not in (tmp_path / "r" / "log.txt").read_text()
    with safe_open(tmp_path / "r" / "checkpoints" / "last.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if "_orig_mod" in name]  # noqa: SIM118


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_ended_goes_on_to_the_same_bits_on_a_gpu(
    tmp_path: Path, number: signal.Signals
) -> None:
    """In processes of their own: cuBLAS reads once how it is to add, and a kill is a kill."""
    strict = ("trainer.reproducible=strict", "trainer.device=cuda", "trainer.save_every_s=1e-6")
    command = [sys.executable, "-m", "medcnn", "train", *QUICK, "trainer.batch_size=8", *strict]
    subprocess.run([*command, f"run_dir={tmp_path / 'whole'}"], check=True)
    ended = [*command, f"run_dir={tmp_path / 'ended'}"]
    started = subprocess.Popen(ended)
    while not list(tmp_path.glob("ended/checkpoints/resume.pt")) and started.poll() is None:
        time.sleep(0.01)
    started.send_signal(number)
    assert started.wait(120) == (75 if number is signal.SIGTERM else -number)
    subprocess.run(ended, check=True)
    assert json.loads((tmp_path / "ended" / "run.json").read_text())["sittings"] == 2
    for name in ("best", "last"):
        left, right = (
            load_file(tmp_path / run / "checkpoints" / f"{name}.safetensors")
            for run in ("whole", "ended")
        )
        assert all(torch.equal(left[k], right[k]) for k in left), name


def test_memory_that_is_too_small_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little of a densenet is weights, so that half a batch needs little more than half of it."""
    real, peaks = epochs.update, []

    def watched(*arguments: Any) -> None:
        real(*arguments)
        # of the first one cuDNN's trials would count
        if not peaks:
            torch.cuda.reset_peak_memory_stats()
        peaks.append(torch.cuda.max_memory_allocated())

    words = ("model=densenet121", "data.size_px=128", "trainer.epochs=1", "trainer.device=cuda")
    words = (*QUICK, *words, "trainer.precision=fp32")
    with monkeypatch.context() as during:
        during.setattr(epochs, "update", watched)
        assert run("train", *words, f"run_dir={tmp_path / 'whole'}") == 0
    assert saved(tmp_path / "whole")["numbers"]["micro_batch"] == 32
    gc.collect()
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.7 * max(peaks[1:]) / whole)
    try:
        assert run("train", *words, f"run_dir={tmp_path / 'parts'}") == 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert saved(tmp_path / "parts")["numbers"]["micro_batch"] in (1, 2, 4, 8, 16)
    assert "still 32 in a batch" in (tmp_path / "parts" / "log.txt").read_text()


def test_a_probe_leaves_no_trace_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, statistics and optimizer before the first gradients of the first step."""
    real, found = steps.Stepper._gradients, []

    def watched(stepper: steps.Stepper, *arguments: Any) -> Any:
        if len(found) < 2:
            of = [*stepper.state.classifier.state_dict().values()]
            of += [t for one in stepper.state.optimizer.state.values() for t in one.values()]
            found.append([t.clone() for t in of])
            assert all(p.grad is None for p in stepper.parameters)
        return real(stepper, *arguments)

    monkeypatch.setattr(steps.Stepper, "_gradients", watched)
    assert run("train", *QUICK, "trainer.device=cuda", f"run_dir={tmp_path / 'r'}") == 0
    assert len(found[0]) > 100
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_tensor_cores_take_products_of_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[str]] = {"augment": set(), "predict": set()}

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **more: Any) -> Any:
            found[name].add(torch.get_float32_matmul_precision())
            return real(*arguments, **more)

        return noted

    monkeypatch.setattr(steps, "augment", noting("augment", steps.augment))
    monkeypatch.setattr(epochs, "predict", noting("predict", epochs.predict))
    assert run("train", *QUICK, "trainer.device=cuda", f"run_dir={tmp_path / 'r'}") == 0
    assert found == {"augment": {"high"}, "predict": {"highest"}}
    assert torch.backends.cudnn.benchmark


def test_every_pixel_comes_to_the_gpu_as_it_was_read(colours: Callable[..., Manifest]) -> None:
    """While the GPU still works on what came before."""
    manifest, device = colours(), torch.device("cuda")
    store = open_store(
        manifest, Preprocessing(size_px=64, channels=3, fit=Fit.PAD, bits=16), cache="off"
    )
    order, found = np.tile(np.arange(48), 20), []
    work = torch.rand(2048, 2048, device=device)
    for batch in batches(store, manifest.targets(), order, 16, device=device):
        for _ in range(5):
            work = work @ work / 1024
        # on the stream of the computation, after all that; a copy that nothing waited for differs
        found.append((batch.rows, batch.images.clone(), batch.targets.clone()))
    for rows, images, targets in found:
        assert np.array_equal(images.cpu().numpy(), store.take(rows))
        assert np.array_equal(targets.cpu().numpy(), manifest.targets()[rows])


def test_a_dry_run_tells_the_memory_of_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("train", *QUICK, "trainer.dry_run=true", "trainer.device=cuda:0") == 0
    said = capsys.readouterr().out
    peak = re.search(r"on the GPU (\d+\.\d) GB at the peak", said)
    assert peak
    assert float(peak[1]) > 0
    assert "trained on" not in said  # a part of a batch, as a CPU does
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has no two CUDA GPUs")
def test_two_gpus_with_common_statistics_train_as_one(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "train.py"
    words = (*QUICK, "augmentation.mixup_alpha=0", "trainer.precision=fp32", "trainer.device=cuda")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    two = ("trainer.sync_batchnorm=true", f"run_dir={tmp_path / 'two'}")
    subprocess.run([*torchrun, str(script), *words, *two], check=True)
    assert run("train", *words, f"run_dir={tmp_path / 'one'}") == 0
    facts = json.loads((tmp_path / "two" / "run.json").read_text())
    assert facts["hardware"]["processes"] == 2
    losses = [
        [h["train/loss"] for h in saved(tmp_path / run)["numbers"]["history"]]
        for run in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
