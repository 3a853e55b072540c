"""The same loop on a GPU; skipped where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medcnn.cli import main
from medcnn.predictions import Predictions

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
