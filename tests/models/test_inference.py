from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcnn.config import Precision
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.models.deployed import joined
from medcnn.models.inference import (
    VIEWS,
    autocast_dtype,
    logits_of,
    pick_device,
    predict,
)
from medcnn.models.no_result import NO_RESULT, with_results_only
from medcnn.pixels.opening import open_store
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import UsageError

CPU = torch.device("cpu")


class LeftHalf(nn.Module):
    """Logits: brightness of the left half, brightness of the top half, 0."""

    def forward(self, images: Tensor) -> Tensor:
        left = images[..., : images.shape[3] // 2].mean(dim=(1, 2, 3))
        top = images[:, :, : images.shape[2] // 2].mean(dim=(1, 2, 3))
        return torch.stack([left, top, torch.zeros_like(left)], dim=1)


def test_mirrored_views_are_averaged() -> None:
    images = torch.zeros(1, 1, 4, 4)
    images[..., :2] = 1
    seen = {flips: logits_of(LeftHalf(), images, flips, torch.float32)[0] for flips in VIEWS}
    assert seen[""][0] == 1
    assert seen["h"][0] == pytest.approx(0.5)
    assert seen["v"][0] == 1
    assert seen["hv"][:2] == pytest.approx([0.5, 0.5])


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="test_resnet", options={}, head="linear", head_options={}, channels=3, size_px=32
    )
    return build_classifier(architecture, 3)[0]


# As docs/readout.md states them: of a logit, and of a probability.
BATCH_TOLERANCE, TOLERANCE = 1e-4, 0.02


@pytest.mark.fault
def test_predictions_do_not_depend_on_the_batch_size(
    colours: Callable[..., Manifest], small: nn.Module
) -> None:
    """Row 96."""
    manifest = colours()
    how = Preprocessing(size_px=32, channels=3, fit=Fit.PAD, bits=8)
    store = open_store(manifest, how, cache="off")
    alone, seven, whole = (
        predict(
            small, store, manifest, np.arange(48), split="test",
            batch_size=size, device=CPU, dtype=torch.float32,
        )
        for size in (1, 7, 64)
    )  # fmt: skip
    assert whole.image_ids == tuple(r.image_id for r in manifest.records)
    assert len(set(whole.logits[:, 0].tolist())) > 10, "images that differ"
    for other in (alone, seven):
        assert np.abs(other.logits - whole.logits).max() < BATCH_TOLERANCE
        assert (other.decisions == whole.decisions).all()


@pytest.mark.fault
def test_half_precision_moves_probabilities_by_less_than_the_stated_tolerance(
    colours: Callable[..., Manifest], small: nn.Module
) -> None:
    """Row 96."""
    manifest = colours()
    how = Preprocessing(size_px=32, channels=3, fit=Fit.PAD, bits=8)
    store = open_store(manifest, how, cache="off")
    full, half = (
        predict(
            small, store, manifest, np.arange(48), split="test", device=CPU, dtype=dtype
        ).probabilities
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert 0 < np.abs(full - half).max() < TOLERANCE
    first, second = np.sort(full, axis=1)[:, -2:].T
    clear = second - first > TOLERANCE
    assert (full.argmax(axis=1) == half.argmax(axis=1))[clear].all()


def test_an_unreadable_image_has_no_row_and_is_listed(colours: Callable[..., Manifest]) -> None:
    manifest = colours()
    (manifest.root / "002.png").write_bytes(b"")
    how = Preprocessing(size_px=16, channels=3, fit=Fit.PAD, bits=8)
    store = open_store(manifest, how, cache="off")
    found = predict(
        LeftHalf(),
        store,
        manifest,
        np.arange(5),
        split="test",
        device=CPU,
        dtype=torch.float32,
    )
    assert found.image_ids == ("i000", "i001", "i003", "i004")
    assert found.unreadable == (("i002", "the file is empty (0 bytes)"),)


def test_a_device_that_is_not_there_is_refused_and_auto_takes_what_is() -> None:
    with pytest.raises(UsageError, match=r"device cuda:99 cannot be used: .* auto uses"):
        pick_device("cuda:99")
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda", "mps")


def test_precision_is_full_on_a_cpu_unless_asked_otherwise() -> None:
    assert autocast_dtype(Precision.AUTO, CPU) is torch.float32
    assert autocast_dtype(Precision.BF16, CPU) is torch.bfloat16


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_images_go_in_halves_where_memory_is_too_small_for_all(full: RuntimeError) -> None:
    sizes = []

    class Small(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            if len(images) > 2:
                raise full
            return images.mean(dim=(2, 3))

    images = torch.rand(5, 3, 4, 4)
    found = logits_of(Small(), images, "h", torch.float32)
    assert np.allclose(found, images.mean(dim=(2, 3)).numpy(), atol=1e-6)
    assert sizes[0] == 5
    with pytest.raises(type(full)) as told:
        logits_of(lambda _: Small()(torch.rand(3, 3, 4, 4)), images, "", torch.float32)  # type: ignore[arg-type]
    assert told.value is full


def test_an_image_without_a_result_takes_all_that_is_said_of_it_along() -> None:
    logits = np.array([[1.0], [np.nan], [2.0]], np.float32)
    predictions = Predictions(
        labels=LabelSpace(kind=Kind.BINARY, names=("no", "yes")),
        split="new",
        image_ids=("a", "b", "c"),
        groups=("a", "b", "c"),
        targets=np.full_like(logits, np.nan),
        logits=logits,
        lines=(2, 3, None),
    )
    kept = with_results_only(predictions)
    assert (kept.image_ids, kept.lines) == (("a", "c"), (2, None))
    assert kept.unreadable == (("b", NO_RESULT),)
    assert joined([kept, kept]).lines == (2, None, 2, None)
