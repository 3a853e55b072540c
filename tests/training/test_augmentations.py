from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from medcnn.data.manifest import Manifest, Modality
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.pixels.batches import batches
from medcnn.pixels.opening import open_store
from medcnn.system.distributed import Ranks
from medcnn.training.augmentations import (
    OF_LAST,
    OF_SETTINGS,
    PRESETS,
    Augmentation,
    augment,
)
from medcnn.training.draws import uniforms
from medcnn.training.geometry import surround
from medcnn.training.mixing import Mix, mix_of, mixed

KEYS = np.arange(8, dtype=np.uint64) * 7919


def images(size_px: int = 16) -> torch.Tensor:
    return torch.rand(8, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


def test_random_numbers_are_uniform_and_independent_of_each_other() -> None:
    drawn = uniforms(0, 0, np.arange(20_000, dtype=np.uint64), 4)
    assert 0 <= drawn.min() < 0.001 < 0.999 < drawn.max() < 1
    assert np.allclose(drawn.mean(axis=0), 0.5, atol=0.01)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.03


def test_random_numbers_depend_on_seed_epoch_and_image_alone() -> None:
    assert np.array_equal(uniforms(1, 2, KEYS, 8)[::-1], uniforms(1, 2, KEYS[::-1].copy(), 8))
    for other in (uniforms(2, 2, KEYS, 8), uniforms(1, 3, KEYS, 8)):
        assert not (other == uniforms(1, 2, KEYS, 8)).any()


def test_what_a_preset_does_last_is_a_function_of_seed_epoch_and_image_alone() -> None:
    def shifted(images: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
        assert draw.shape == (len(images), OF_LAST)
        return images * draw[:, :1, None, None]

    plain = replace(PRESETS[Modality.DERMOSCOPY], mixup_alpha=0.0)
    how = replace(plain, last=shifted)
    whole = augment(images(), KEYS, how, seed=3, epoch=1)
    assert torch.equal(whole[2:5], augment(images()[2:5], KEYS[2:5], how, seed=3, epoch=1))
    assert not torch.equal(whole, augment(images(), KEYS, how, seed=3, epoch=2))
    # the numbers of the other settings stay what they are
    shares = uniforms(3, 1, KEYS, OF_SETTINGS + OF_LAST)[:, OF_SETTINGS, None, None, None]
    assert torch.equal(
        whole, augment(images(), KEYS, plain, seed=3, epoch=1) * torch.tensor(shares)
    )


@pytest.mark.parametrize("name", PRESETS)
def test_an_image_is_augmented_alike_in_any_batch(name: str) -> None:
    whole = augment(images(), KEYS, PRESETS[name], seed=3, epoch=1)
    part = augment(images()[2:5], KEYS[2:5], PRESETS[name], seed=3, epoch=1)
    assert torch.allclose(whole[2:5], part, atol=1e-6)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_none_leaves_images_as_they_are() -> None:
    assert torch.equal(augment(images(), KEYS, PRESETS["none"], seed=0, epoch=0), images())


def test_flips_alone_move_pixels_without_changing_them() -> None:
    how = Augmentation(horizontal_flip=True, vertical_flip=True)
    before, after = images(), augment(images(), KEYS, how, seed=0, epoch=0)
    kinds = set()
    for a, b in zip(before, after, strict=True):
        views = {"": a, "h": a.flip(2), "v": a.flip(1), "hv": a.flip(1, 2)}
        kinds.add(next(k for k, v in views.items() if torch.equal(v, b)))
    assert len(kinds) >= 3


def test_a_chest_is_never_mirrored() -> None:
    assert PRESETS[Modality.CHEST].flips == ""
    marked = torch.zeros(8, 1, 32, 32)
    marked[:, :, :, 24:] = 1
    moved = augment(marked, KEYS, PRESETS[Modality.CHEST], seed=0, epoch=0)
    assert (moved[..., 26:30].mean(dim=(1, 2, 3)) > moved[..., 2:6].mean(dim=(1, 2, 3))).all()


def test_a_quarter_turn_moves_the_top_to_a_side() -> None:
    turned = [
        augment(images(), KEYS, Augmentation(rotation_deg=180), seed=s, epoch=0) for s in range(3)
    ]
    assert not torch.allclose(turned[0], turned[1])
    assert not torch.allclose(turned[1], turned[2])


MIX = Mix(alpha=0.4, cut=False, seed=0, epoch=0, step=0)


@pytest.mark.parametrize("cut", [False, True])
def test_mixing_keeps_what_was_not_assessed_unknown(cut: bool) -> None:
    targets, how = torch.ones(8, 2), replace(MIX, cut=cut)
    targets[3, 0] = torch.nan
    mixed_images, mixed_targets = mixed(images(), targets, how)
    assert mixed_targets[:, 0].isnan().sum() in (1, 2)
    assert not mixed_targets[:, 1].isnan().any()
    assert torch.allclose(mixed_targets[:, 1], torch.ones(8))
    assert not torch.equal(mixed_images, images())
    assert torch.equal(mixed_images, mixed(images(), targets, how)[0])


@pytest.mark.parametrize("step", range(6))
def test_cutmix_takes_as_much_of_the_target_as_of_the_image(step: int) -> None:
    """Each image is of one value, and so is its target."""
    value = torch.arange(8.0)[:, None]
    flat = value.view(8, 1, 1, 1).expand(8, 1, 16, 20)
    how = replace(MIX, alpha=1.0, cut=True, step=step)
    cut, targets = mixed(flat, value, how)
    assert torch.allclose(cut.mean(dim=(1, 2, 3)), targets[:, 0], atol=1e-5)
    partner = torch.from_numpy(how.pairs(8)[1]).float()
    assert ((cut == flat) | (cut == partner.view(8, 1, 1, 1))).all()


def test_mixup_and_cutmix_share_the_steps() -> None:
    now = {"seed": 0, "epoch": 0}
    both = Augmentation(mixup_alpha=0.2, cutmix_alpha=1.0)
    cut = [m.cut for step in range(400) if (m := mix_of(both, **now, step=step))]
    assert len(cut) == 400
    assert np.mean(cut) == pytest.approx(0.5, abs=0.08)
    alone = mix_of(Augmentation(cutmix_alpha=1.0), **now, step=0)
    assert alone is not None
    assert (alone.cut, alone.alpha) == (True, 1.0)
    assert mix_of(Augmentation(), **now, step=0) is None


def photographs(side: int, ground: float, skin: float) -> torch.Tensor:
    """[8, 3, side, side] a disc of `skin` on `ground`, as a fundus camera gives it; lit from the
    left, so that a mirror image would show."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    disc = (x**2 + y**2 < 0.8).float()
    image = disc * (skin + 0.1 * x) + (1 - disc) * ground
    return image.expand(8, 3, side, side)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("ground", [0.0, 0.05])
@pytest.mark.parametrize("side", [28, 128])
def test_no_second_disc_comes_into_the_corners_of_a_fundus_photograph(
    modality: Modality, ground: float, side: int
) -> None:
    """What lies beyond a dark surround is black, not a mirror image of the disc."""
    how = replace(PRESETS[modality], brightness=0.0, contrast=0.0)
    for epoch in range(4):
        moved = augment(photographs(side, ground, 0.6), KEYS, how, seed=0, epoch=epoch)
        corners = torch.stack([moved[..., :3, :3], moved[..., :3, -3:], moved[..., -3:, :3]])
        assert corners.max() <= ground + 1e-6
    # its area grows as the scale says, and no more: nothing is there twice
    whole = (photographs(side, ground, 0.6) > 0.3).float().mean()
    assert (moved > 0.3).float().mean(dim=(1, 2, 3)).max() <= whole * (1 + how.scale) ** 2 + 0.02


def test_skin_goes_on_in_the_colour_of_its_border() -> None:
    skin = torch.tensor([0.8, 0.6, 0.5])[None, :, None, None].expand(8, 3, 64, 64).clone()
    skin[:, :, 24:40, 24:40] = 0.2  # a lesion
    skin[:, :, :2, 30:33] = 0.0  # a hair that leaves the picture
    how = Augmentation(rotation_deg=180, scale=0.15, translate=0.05)
    moved = augment(skin, KEYS, how, seed=0, epoch=0)
    for corner in (moved[..., :4, :4], moved[..., -4:, -4:], moved[..., :4, -4:]):
        assert torch.allclose(corner, skin[..., 10:14, 10:14], atol=1e-5)
    # one dark corner is a shadow, two are the tube of a dermatoscope
    skin[:, :, :8, :8] = 0.02
    assert torch.allclose(surround(skin).flatten(), skin[:, :, 10, 10].flatten())
    skin[:, :, -8:, :8] = 0.02
    assert surround(skin).max() == 0


def test_the_fill_of_an_image_is_its_own_in_any_batch() -> None:
    both = torch.cat([photographs(28, 0.0, 0.6)[:4], images(28)[:4]])
    assert torch.equal(surround(both)[4:], surround(images(28)[:4]))
    assert surround(both)[:4].max() == 0
    assert surround(both)[4:].min() > 0.2
    wide = torch.full((2, 1, 3, 40), 0.5)
    assert torch.equal(surround(wide), torch.full((2, 1, 1, 1), 0.5))


@pytest.mark.fault
@pytest.mark.parametrize(("world", "cut"), [(2, False), (3, True), (5, False)])
def test_processes_mix_the_pairs_of_the_whole_batch(
    colours: Callable[..., Manifest], world: int, cut: bool
) -> None:
    """Row B15. The parts that they make, one after the other, are the batch that one makes."""
    manifest = colours()
    store = open_store(
        manifest, Preprocessing(size_px=16, channels=3, fit=Fit.CROP, bits=8), cache="off"
    )
    order, targets = np.arange(len(manifest.records)), manifest.targets()
    how = Mix(alpha=0.3, cut=cut, seed=3, epoch=2, step=0)

    def taken(ranks: Ranks) -> list[tuple[Tensor, Tensor]]:
        coming = batches(
            store,
            targets,
            order,
            13,
            device=torch.device("cpu"),
            ranks=ranks,
            partners=lambda step, size: replace(how, step=step).pairs(size)[1],
        )
        return [
            mixed(b.images.float(), b.targets, replace(how, step=step), b.own)
            for step, b in enumerate(coming)
        ]

    alone = taken(Ranks())
    shared = [taken(Ranks(rank=rank, world=world)) for rank in range(world)]
    for step, whole in enumerate(alone):
        for kind in (0, 1):
            together = torch.cat([parts[step][kind] for parts in shared])
            assert torch.equal(together, whole[kind])
