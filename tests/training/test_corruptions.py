"""Spoilt images: worse from grade to grade, the same for the same seed and image, whatever the
batch, and each kind what its name says."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from medcnn.data.manifest import Modality
from medcnn.training.corruption_grades import MOVES, TITLES, UNITS, amount_text, grades_of
from medcnn.training.corruptions import CORRUPTIONS, corrupted

KEYS = np.arange(4, dtype=np.uint64) * 7919
EVERY = {k: a for m in Modality for k, a in grades_of(m, list(TITLES)).items()}


def images(channels: int = 3, size_px: int = 64) -> torch.Tensor:
    """Smooth, with a bright square."""
    y, x = torch.meshgrid(*(torch.linspace(0.2, 0.6, size_px),) * 2, indexing="ij")
    one = torch.stack([x, y, (x + y) / 2])[:channels]
    one[:, 20:36, 24:40] = 0.9
    return torch.stack([one, one.flip(1), one.flip(2), 1 - one])


def far(kind: str, of: torch.Tensor) -> list[float]:
    spoilt = corrupted(kind, of, EVERY[kind], KEYS, seed=0)
    return [float((worse - of).abs().mean()) for worse in spoilt]


def test_every_kind_has_a_function_a_title_and_five_grades_in_each_modality() -> None:
    assert list(CORRUPTIONS) == list(TITLES)
    assert set(UNITS) < set(TITLES)
    for modality in Modality:
        found = grades_of(modality, None)
        assert set(MOVES) < set(found) < set(TITLES)
        assert {len(amounts) for amounts in found.values()} == {5}
    assert grades_of(Modality.FUNDUS, ["characters"]) == {
        "characters": grades_of(Modality.DERMOSCOPY, None)["characters"]
    }
    assert amount_text("jpeg_compression", 30) == "quality 30"
    assert amount_text("brightness_up", 1.1) == "factor 1.1"


@pytest.mark.parametrize("kind", list(TITLES))
@pytest.mark.parametrize("channels", [1, 3])
def test_each_grade_is_farther_from_the_image_than_the_one_before(kind: str, channels: int) -> None:
    distances = far(kind, images(channels, 120))
    assert distances[0] >= 0
    assert distances[-1] > 0
    # letters fall where they fall, and blocks beside an edge or on it
    assert kind in ("characters", "pixelate") or distances == sorted(distances)


@pytest.mark.parametrize("kind", list(TITLES))
def test_a_spoilt_image_depends_on_seed_and_image_and_not_on_its_batch(kind: str) -> None:
    def spoilt(of: slice, seed: int = 3) -> torch.Tensor:
        found = corrupted(kind, images()[of], EVERY[kind], KEYS[of], seed)
        return torch.stack(list(found), dim=1)

    whole = spoilt(slice(0, 4))
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert torch.allclose(whole[1:2], spoilt(slice(1, 2)), atol=1e-6)
    drawn = kind.endswith("noise") or kind in ("motion_blur", "characters", *MOVES)
    assert torch.equal(whole, spoilt(slice(0, 4), seed=4)) is not drawn


def test_noise_has_the_spread_that_its_grade_says() -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    for worse, spread in zip(
        corrupted("gaussian_noise", grey, (0.04, 0.08), KEYS, 0), (0.04, 0.08), strict=True
    ):
        assert float((worse - grey).std()) == pytest.approx(spread, rel=0.03)
    (speckle,) = corrupted("speckle_noise", grey, (0.1,), KEYS, 0)
    assert float((speckle - grey).std()) == pytest.approx(0.05, rel=0.03)
    (shot,) = corrupted("shot_noise", grey, (60,), KEYS, 0)
    assert float(shot.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shot.std()) == pytest.approx((0.5 / 60) ** 0.5, rel=0.05)
    (impulse,) = corrupted("impulse_noise", grey, (0.1,), KEYS, 0)
    assert float((impulse != grey).float().mean()) == pytest.approx(0.1, rel=0.1)
    assert set(impulse.unique().tolist()) == {0.0, 0.5, 1.0}


def test_brightness_contrast_and_pixelation_equal_those_of_pillow() -> None:
    values = (images() * 255).round().to(torch.uint8)
    picture = Image.fromarray(values[0].permute(1, 2, 0).numpy())
    small = picture.resize((16, 16), Image.Resampling.BOX)
    wanted = {
        "brightness_up": (1.3, ImageEnhance.Brightness(picture).enhance(1.3)),
        "contrast_down": (0.5, ImageEnhance.Contrast(picture).enhance(0.5)),
        "pixelate": (0.25, small.resize((64, 64), Image.Resampling.BOX)),
    }
    for kind, (amount, reference) in wanted.items():
        (found,) = corrupted(kind, values[:1] / 255, (amount,), KEYS[:1], 0)
        expected = np.asarray(reference).transpose(2, 0, 1) / 255
        assert np.abs(found[0].numpy() - expected).max() < 2 / 255, kind


def test_jpeg_has_the_quality_of_a_file() -> None:
    values = (images() * 255).round().to(torch.uint8)
    out = io.BytesIO()
    picture = Image.fromarray(values[0].permute(1, 2, 0).numpy())
    picture.save(out, "JPEG", quality=20, subsampling=0)
    (found,) = corrupted("jpeg_compression", values[:1] / 255, (20,), KEYS[:1], 0)
    expected = np.asarray(Image.open(out)).transpose(2, 0, 1) / 255
    assert np.abs(found[0].numpy() - expected).mean() < 1 / 255


def test_a_blur_spreads_a_point_of_light_without_losing_it() -> None:
    point = torch.zeros(1, 1, 64, 64)
    point[..., 32, 32] = 1
    for kind, amount in (("defocus_blur", 8), ("motion_blur", (20, 15)), ("gaussian_blur", 4)):
        (spread,) = corrupted(kind, point, (amount,), KEYS[:1], 0)
        assert float(spread.sum()) == pytest.approx(1, abs=1e-3), kind
        assert float(spread.max()) < 0.7, kind
    (disc,) = corrupted("defocus_blur", point, (28,), KEYS[:1], 0)  # 8 px of 64
    assert int((disc[0, 0].amax(dim=0) > 1e-4).sum()) == 17


def test_lengths_in_pixels_grow_with_the_image() -> None:
    small, large = images(size_px=56), images(size_px=224)
    (a,) = corrupted("gaussian_blur", small, (8,), KEYS, 0)
    (b,) = corrupted("gaussian_blur", large, (8,), KEYS, 0)
    assert float((a - small).std()) < float((b - large).std()) * 3
    (none,) = corrupted("gaussian_blur", small, (0.4,), KEYS, 0)
    assert torch.allclose(none, small, atol=1e-4)


def test_black_corners_leave_the_middle_and_a_move_only_moves() -> None:
    (corners,) = corrupted("black_corner", images(), (0.9,), KEYS, 0)
    assert float(corners[..., :4, :4].abs().max()) == 0
    assert torch.equal(corners[..., 20:44, 20:44], images()[..., 20:44, 20:44])
    (moved,) = corrupted("translation", images(), (6,), KEYS, 0)
    steps = {(dy, dx) for dy in (-4, 0, 4) for dx in (-4, 0, 4) if (dy == 0) != (dx == 0)}
    for was, now in zip(images(), moved, strict=True):
        inside = (slice(None), slice(8, 56), slice(8, 56))
        assert any(
            torch.allclose(now[inside], was.roll(step, (1, 2))[inside], atol=1e-5) for step in steps
        )


def test_letters_are_few_small_and_anywhere() -> None:
    plain = torch.full((4, 3, 224, 224), 0.5)
    (written,) = corrupted("characters", plain, ((1, 6, 0.14),), KEYS, 0)
    for one in (written != 0.5).any(dim=1):
        rows, columns = torch.nonzero(one, as_tuple=True)
        assert 1 < int(rows.max() - rows.min()) < 12
        assert 4 < int(columns.max() - columns.min()) < 60
