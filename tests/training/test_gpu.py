"""The same loop on a GPU; skipped where there is none."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from medcnn.cli import main
from medcnn.files import read_sealed
from medcnn.predictions import Predictions
from medcnn.training import epochs, steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU"),
]

QUICK = ("data.phantom=dermoscopy", "data.patients=60", "data.size_px=64", "trainer.epochs=2")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


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
    words = ("trainer.batch_size=8", "trainer.device=cuda", f"run_dir={tmp_path / 'r'}")
    assert run("train", *QUICK, *words) == 0
    content = io.BytesIO(read_sealed(tmp_path / "r" / "checkpoints" / "resume.pt"))
    stored = torch.load(content, weights_only=True)
    assert [h["train/skipped"] for h in stored["numbers"]["history"]] == [1, 0]
    for part in ("classifier", "averaged"):
        assert all(bool(t.isfinite().all()) for t in stored[part].values())


def test_a_compiled_run_keeps_plain_names(tmp_path: Path) -> None:
    words = ("trainer.compile=on", "trainer.device=cuda", f"run_dir={tmp_path / 'r'}")
    assert run("train", *QUICK, *words) == 0
    with safe_open(tmp_path / "r" / "checkpoints" / "last.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if "_orig_mod" in name]  # noqa: SIM118
