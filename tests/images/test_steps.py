from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data.phantoms import fundus
from medcnn.images.chest import border_crop
from medcnn.images.contrast import clahe, tile_maps
from medcnn.images.fundus import disc_crop, find_disc
from medcnn.images.preprocessing import Preprocessing
from medcnn.images.skin import hair_mask, hair_removal, shades_of_grey
from medcnn.images.skin_tone import typology_angle
from medcnn.images.steps import CHAINS, LIMITS, STEPS, chosen_steps, take
from medcnn.system.errors import UsageError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)


def retina(size_px: int = 300) -> tuple[np.ndarray, float]:
    """A phantom photograph with its whole disc in view, and the disc's radius in px."""
    for patient in range(20):
        drawing = next(fundus.draw(patient, 0, size_px))
        radius = fundus.CAMERAS[drawing.row["camera"]].field_radius
        if radius < 1:
            pixels = np.asarray(Image.open(io.BytesIO(drawing.data)).convert("RGB"))
            return pixels, radius * size_px / 2
    raise AssertionError


@pytest.mark.parametrize(("right", "down"), [(0, 0), (60, 20), (90, -70), (0, -80), (110, 60)])
def test_the_disc_is_found_where_it_lies_whole_or_cut(right: int, down: int) -> None:
    pixels, radius = retina()
    canvas = np.zeros((500, 620, 3), np.uint8)
    canvas[100 + down : 400 + down, 160 + right : 460 + right] = pixels
    photograph = canvas[80:420]
    disc = find_disc(photograph)
    assert disc is not None
    wanted = (310 + right, 170 + down, radius)
    assert np.allclose((disc.x, disc.y, disc.radius), wanted, atol=0.03 * radius)
    square = disc_crop(photograph)
    assert square.shape[0] == square.shape[1] == round(2 * disc.radius)
    assert not square[:5, :5].any()


def test_a_disc_of_28_pixels_is_found_to_half_a_pixel() -> None:
    pixels, radius = retina()
    small = np.asarray(Image.fromarray(pixels).resize((28, 28), Image.Resampling.BILINEAR))
    disc = find_disc(small)
    assert disc is not None
    wanted = (14, 14, radius * 28 / 300)
    assert np.allclose((disc.x, disc.y, disc.radius), wanted, atol=0.6)


def test_letters_beside_the_disc_do_not_move_it_and_are_masked() -> None:
    pixels, radius = retina()
    canvas = np.zeros((360, 500, 3), np.uint8)
    canvas[30:330, 100:400] = pixels
    canvas[5:20, 5:100] = 255
    disc = find_disc(canvas)
    assert disc is not None
    assert abs(disc.radius - radius) < 0.03 * radius


@pytest.mark.parametrize("pixels", [NOISE, np.zeros((40, 40, 3), np.uint8), NOISE[:1, :1]])
def test_an_image_without_a_disc_is_left_alone(pixels: np.ndarray) -> None:
    assert find_disc(pixels) is None
    assert disc_crop(pixels) is pixels


def test_hair_is_removed_and_nothing_else_is_touched() -> None:
    skin = np.full((240, 320, 3), (200, 160, 140), np.uint8)
    hairy = skin.copy()
    for i in range(30, 200):
        hairy[i, i + 20 : i + 23] = 30
    found = hair_mask(hairy, width=0.025, contrast=0.06)
    done = hair_removal(hairy)
    assert np.array_equal(done[~found], hairy[~found])
    assert np.abs(done.astype(int) - skin).max() <= 2
    spot = skin.copy()
    spot[100:140, 100:150] = 60
    assert np.array_equal(hair_removal(spot), spot)


def test_crossing_hairs_are_removed_and_vessels_and_networks_are_kept() -> None:
    skin = np.full((240, 320, 3), (200, 160, 140), np.uint8)
    lines = np.zeros((240, 320), dtype=bool)
    for start in (40, 110, 180):
        for i in range(5, 235):
            lines[i, start + i // 3 : start + i // 3 + 3] = True
            lines[i, 300 - start - i // 3 : 303 - start - i // 3] = True
    hairy, bloody = skin.copy(), skin.copy()
    hairy[lines] = (40, 30, 25)
    assert np.abs(hair_removal(hairy).astype(int) - skin).max() <= 2
    bloody[lines] = (195, 60, 60)
    assert np.array_equal(hair_removal(bloody), bloody)
    network = skin.copy()
    network[40:200:12, 60:260], network[40:200, 60:260:12] = 60, 60
    network[41:200:12, 60:260], network[40:200, 61:260:12] = 60, 60
    assert np.array_equal(hair_removal(network), network)


def test_the_angle_of_the_skin_is_that_of_its_colour_without_padding_rim_hair_and_lesion() -> None:
    from skimage.color import rgb2lab

    angles = []
    for colour in ((235, 205, 185), (205, 165, 140), (120, 85, 65), (60, 42, 34)):
        skin = np.full((150, 200, 3), colour, np.uint8)
        lightness, _, yellow = rgb2lab(skin)[0, 0]
        expected = np.degrees(np.arctan2(lightness - 50, yellow))
        assert typology_angle(skin) == pytest.approx(expected, abs=0.05)
        skin[40:110, 50:150] = (60, 30, 25)
        skin[:60, 70:75] = 20
        padded = np.zeros((200, 200, 3), np.uint8)
        padded[25:175] = skin
        y, x = np.mgrid[:200, :200] - 100
        padded[y**2 + x**2 > 110**2] = 3
        assert typology_angle(padded) == pytest.approx(expected, abs=0.05)
        angles.append(expected)
    assert angles == sorted(angles, reverse=True)
    assert np.isnan(typology_angle(np.zeros((40, 40, 3), np.uint8)))


def test_under_a_coloured_lamp_the_averages_become_equal() -> None:
    lit = (RNG.uniform(20, 150, (50, 50, 1)) * (1.0, 0.8, 0.6)).astype(np.uint8)
    done = shades_of_grey(lit).astype(float)
    norms = (done**6).mean(axis=(0, 1)) ** (1 / 6)
    assert np.ptp(norms) < 0.01 * norms.mean()


def test_no_map_of_a_tile_is_steeper_than_its_limit() -> None:
    levels = np.clip(RNG.normal(100, 5, (64, 64)), 0, 255).astype(np.int32)
    maps = tile_maps(levels, bins=256, clip_limit=2.0, tiles=4)
    rise = np.diff(maps, axis=2)
    assert rise.min() >= 0
    # the limit, and what all bins get of what was clipped
    assert rise.max() <= 3.05 / 256
    assert (maps[..., 0] == 0).all()
    assert (maps[..., -1] == 1).all()


def test_local_contrast_grows_and_black_stays_black() -> None:
    flat = np.clip(RNG.normal(100, 5, (64, 64, 1)), 0, 255).astype(np.uint8)
    assert clahe(flat).std() > 1.5 * flat.std()
    assert not clahe(np.zeros((30, 40, 3), np.uint8)).any()


def test_an_even_border_with_a_letter_in_it_is_cut_and_the_picture_is_not() -> None:
    framed = np.zeros((200, 200, 1), np.uint8)
    framed[20:190, 30:180] = RNG.integers(60, 200, (170, 150, 1))
    framed[5:12, 40:50] = 255
    assert np.array_equal(border_crop(framed), framed[20:190, 30:180])
    assert border_crop(np.zeros((40, 40, 1), np.uint8)).shape[0] >= 20


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(60, 80, 3), (60, 80, 1), (9, 5, 3), (1, 1, 1)])
def test_every_step_takes_any_depth_size_and_colour(
    name: str, dtype: type, shape: tuple[int, int, int]
) -> None:
    pixels = RNG.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    before = pixels.copy()
    (step,) = chosen_steps(name)
    done = take(step, pixels)
    assert done.dtype == dtype
    assert done.shape[2] == shape[2]
    assert np.array_equal(done, take(step, pixels))
    assert np.array_equal(pixels, before), "the image that is given is not written to"


def test_every_number_that_is_an_option_has_its_limits() -> None:
    numbers = {
        k for name in STEPS for k, v in chosen_steps(name)[0].items() if type(v) in (int, float)
    }
    assert numbers == set(LIMITS)


@pytest.mark.parametrize("chain", CHAINS)
def test_steps_go_to_json_and_back(chain: str) -> None:
    how = Preprocessing(size_px=16, steps=chosen_steps(chain))
    assert Preprocessing.from_json(json.loads(json.dumps(how.to_json()))) == how
    assert how.apply(NOISE).shape == (3, 16, 16)


def test_without_steps_an_image_is_only_resized() -> None:
    stages = [name for name, _ in Preprocessing(size_px=16).stages(NOISE)]
    assert stages == ["resized", "final"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("disc_corp", "did you mean 'disc_crop'"),
        ([{"name": "clahe", "clip_limt": 2}], "did you mean 'clip_limit'"),
        ([{"name": "clahe", "clip_limit": 0}], "from 1 to 100"),
        (["clahe", "clahe"], "more than once"),
        (7, "list of steps"),
    ],
)
def test_a_wrong_step_is_answered_with_what_is_right(value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        chosen_steps(value)


def test_a_step_that_could_do_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="changes colours"):
        Preprocessing(size_px=16, channels=1, steps=chosen_steps("shades_of_grey"))
