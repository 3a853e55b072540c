"""Blur, noise, JPEG, erasing and policies, against other libraries and by their laws."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from PIL import Image
from torch import Tensor

from medcnn.config import AugmentationConfig, Choice, build
from medcnn.data.manifest import Modality
from medcnn.system.errors import UsageError
from medcnn.training.augmentations import Augmentation, augment, augmentation_of
from medcnn.training.geometry import surround
from medcnn.training.policies import ANY, PHOTOGRAPH, POLICIES, posterised, rotated, same, sharpened
from medcnn.training.quality import blurred, compressed, erased, noisy

KEYS = np.arange(8, dtype=np.uint64) * 7919
EACH: dict[str, Any] = {
    "blur_px": {"blur_px": 2.0},
    "noise": {"noise": 0.1},
    "jpeg_quality": {"jpeg_quality": 10},
    "erase": {"erase": 0.7},
    "randaugment": {"policy": Choice(name="randaugment", options={"ops": 6, "strength": 0.8})},
    "trivialaugment": {"policy": Choice(name="trivialaugment", options={})},
}


def images(size_px: int = 24, channels: int = 3) -> Tensor:
    """Smooth, with a little texture."""
    torch.manual_seed(0)
    smooth = torch.rand(8, channels, 4, 4)
    smooth = torch.nn.functional.interpolate(smooth, size=size_px, mode="bilinear")
    return (0.9 * smooth + 0.1 * torch.rand(8, channels, size_px, size_px)).clamp(0, 1)


def how_of(name: str) -> Augmentation:
    return Augmentation(**EACH[name], photograph=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EACH)
def test_each_image_is_changed_by_its_own_numbers_in_any_batch(name: str, channels: int) -> None:
    before = images(channels=channels)
    whole = augment(before, KEYS, how_of(name), seed=3, epoch=1)
    part = augment(before[2:5], KEYS[2:5], how_of(name), seed=3, epoch=1)
    assert torch.allclose(whole[2:5], part, atol=1e-6)
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert torch.equal(before, images(channels=channels)), "in place, it would spoil the cache"
    assert not torch.equal(whole, before)
    assert not torch.equal(whole, augment(before, KEYS, how_of(name), seed=3, epoch=2))
    repeated = before[:1].expand(8, -1, -1, -1)
    others = augment(repeated, KEYS, how_of(name), seed=3, epoch=1)
    assert len({bytes(image.numpy()) for image in others}) >= 4


def test_all_of_them_leave_the_numbers_of_the_others_as_they_are() -> None:
    """A run with a plain preset has the weights that it always had."""
    plain = Augmentation(rotation_deg=20, brightness=0.2)
    seen: list[Tensor] = []

    def last(images: Tensor, draw: Tensor) -> Tensor:
        seen.append(draw)
        return images

    for how in (plain, replace(plain, noise=0.1)):
        augment(images(), KEYS, replace(how, last=last), seed=0, epoch=0)
    assert torch.equal(*seen)


def test_blur_equals_torchvisions() -> None:
    """Of the pixels that do not see beyond the border, which ours continues with its last value."""
    ours = blurred(images(), torch.full((8,), 1.5), 1.5)
    theirs = tv.gaussian_blur(images(), [11, 11], [1.5, 1.5])
    inner = (..., slice(5, -5), slice(5, -5))
    assert torch.allclose(ours[inner], theirs[inner], atol=1e-5)


def test_no_blur_changes_nothing_and_a_flat_image_stays_flat() -> None:
    assert torch.allclose(blurred(images(), torch.zeros(8), 3.0), images(), atol=1e-6)
    flat = torch.full((2, 1, 5, 9), 0.3)
    assert torch.allclose(blurred(flat, torch.tensor([0.4, 3.0]), 3.0), flat, atol=1e-6)


def test_noise_has_its_standard_deviation_and_no_pattern() -> None:
    spread = torch.tensor([0.0, 0.02, 0.05, 0.1] * 2)
    grey = torch.full((8, 3, 64, 64), 0.5)
    noise = noisy(grey, spread, KEYS) - grey
    assert torch.allclose(noise.std(dim=(1, 2, 3)), spread, rtol=0.02, atol=1e-6)
    assert noise.mean().abs() < 1e-3
    flat = noise[[1, 2, 3, 5, 6, 7]].flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(6)).abs().max() < 0.05


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 50, 75, 95])
def test_jpeg_equals_pillows(quality: int, channels: int) -> None:
    """Both round on the way, where a value near the middle may go to either side."""
    pixels = (images(37, channels) * 255).round()
    ours = compressed(pixels / 255, torch.full((8,), float(quality))) * 255
    theirs = []
    for image in pixels.permute(0, 2, 3, 1).to(torch.uint8).numpy():
        file = io.BytesIO()
        picture = Image.fromarray(image if channels == 3 else image[:, :, 0])
        picture.save(file, "jpeg", quality=quality, subsampling=0)
        theirs.append(np.array(Image.open(file), dtype=np.float32).reshape(37, 37, channels))
    expected = torch.from_numpy(np.stack(theirs)).permute(0, 3, 1, 2)
    lost = (expected - pixels).abs().mean()
    assert (ours - expected).abs().mean() < min(1.0, 0.35 * lost)


def test_what_is_erased_is_filled_like_the_border_and_has_a_sensible_size() -> None:
    numbers = torch.rand(400, 5, generator=torch.Generator().manual_seed(1))
    light = torch.rand(400, 1, 40, 50, generator=torch.Generator().manual_seed(2)) * 0.5 + 0.5
    result = erased(light, numbers, 0.5)
    changed = (result != light).float().mean(dim=(1, 2, 3))
    assert (changed > 0).float().mean() == pytest.approx(0.5, abs=0.06)
    assert changed.max() < 0.22
    fill = surround(light)
    assert ((result == light) | (result == fill)).all()


def test_a_rotation_of_a_policy_is_by_its_angle() -> None:
    disc = torch.zeros(1, 1, 41, 41)
    disc[0, 0, 20, 35] = 1
    turned = rotated(disc.expand(2, -1, -1, -1), torch.tensor([1.0, -1.0]))
    rows = turned.flatten(1).argmax(dim=1) // 41 - 20
    assert rows[0] == -rows[1]
    assert abs(rows[0]) in (7, 8), "15 pixels from the centre, by 30 degrees"


def test_operations_of_strength_zero_change_nothing_but_those_without_a_strength() -> None:
    before = (images() * 255).round() / 255
    for operation in ANY:
        assert torch.allclose(operation(before, torch.zeros(8)), before, atol=1e-5)
    assert same in ANY
    assert torch.allclose(posterised(before, torch.zeros(8)), before, atol=1 / 200)
    assert len(posterised(before, torch.ones(8)).unique()) == 16
    blurrier = sharpened(before, torch.full((8,), -1.0))
    assert blurrier.std() < before.std() < sharpened(before, torch.ones(8)).std()


@pytest.mark.parametrize("modality", [Modality.CHEST, Modality.OTHER])
@pytest.mark.parametrize("name", POLICIES)
def test_no_policy_changes_what_a_grey_level_means_on_a_radiograph(
    name: str, modality: Modality
) -> None:
    """Brighter stays brighter: the order of grey levels is what a radiograph says."""
    how = augmentation_of(chosen(policy=name, preset="none"), modality)
    assert not how.photograph
    ramp = torch.linspace(0.1, 0.9, 32).expand(8, 3, 32, 32)
    for epoch in range(20):
        middle = augment(ramp, KEYS, how, seed=0, epoch=epoch)[:, :, 16, 12:20]
        assert (middle.diff(dim=2) > -1e-4).all()
        assert torch.allclose(middle[:, 0], middle[:, 1], atol=1e-5), "no colours"


def test_photographs_have_operations_of_their_own() -> None:
    assert augmentation_of(chosen(policy="randaugment"), Modality.FUNDUS).photograph
    assert set(ANY) < set(PHOTOGRAPH)


def chosen(**given: Any) -> AugmentationConfig:
    names = AugmentationConfig.__dataclass_fields__
    return build(AugmentationConfig, {**dict.fromkeys(names), "preset": "auto", **given})


def test_options_of_a_policy_are_checked_by_name() -> None:
    with pytest.raises(UsageError, match="policy randaugment: ops=9 should be from 1 to 6"):
        augmentation_of(chosen(policy={"name": "randaugment", "ops": 9}), Modality.OTHER)
    with pytest.raises(UsageError, match="unknown policy 'randaument'; did you mean"):
        augmentation_of(chosen(policy="randaument"), Modality.OTHER)
