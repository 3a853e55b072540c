"""What the network sees comes back to where it was in the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medcnn.images.framing import frame_of
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.images.steps import STEPS, Step
from medcnn.system.errors import UsageError

RNG = np.random.default_rng(0)
CROPS: dict[str, list[Any]] = {
    "none": [],
    "border": ["border_crop"],
    "centre": [{"name": "centre_crop", "share": 0.7}],
    "both": ["border_crop", {"name": "centre_crop", "share": 0.7}, "hair_removal", "clahe"],
}


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("shape", [(200, 300, 3), (310, 160, 3)])
def test_a_spot_comes_back_to_its_place(crop: str, fit: Fit, shape: tuple[int, int, int]) -> None:
    how = Preprocessing(size_px=96, fit=fit, steps=CROPS[crop])
    image = RNG.integers(90, 110, shape, np.uint8)
    image[:17], image[:, -23:] = 0, 0  # a border
    row, column = round(0.45 * shape[0]), round(0.45 * shape[1])
    image[row - 5 : row + 6, column - 5 : column + 6] = 255
    seen = how.apply(image)[0].astype(np.float32)
    back = frame_of(how, image).back(seen, *shape[:2])
    found = np.argwhere(back > 0.9 * np.nanmax(back)).mean(axis=0)
    assert np.abs(found - (row, column)).max() < 2


def test_a_field_that_the_camera_cut_off_comes_back_too() -> None:
    rows, columns = np.ogrid[:240, :300]
    disc = (rows - 120) ** 2 + (columns - 150) ** 2 < 135**2  # beyond the top and the bottom
    image = np.repeat((disc * 90)[:, :, None], 3, axis=2).astype(np.uint8)
    image[60:70, 200:210] = 255
    how = Preprocessing(size_px=128, steps=["disc_crop"])
    frame = frame_of(how, image)
    assert frame.part.top < 0
    back = frame.back(how.apply(image)[0].astype(np.float32), 240, 300)
    found = np.argwhere(back > 200).mean(axis=0)
    assert np.abs(found - (64.5, 204.5)).max() < 2
    assert np.isnan(back[:, 0]).all(), "beside the disc, nothing was shown"
    assert np.isfinite(back[:, 150]).all()


def test_what_was_cut_off_has_no_value_and_the_rest_has() -> None:
    image = RNG.integers(0, 255, (100, 200, 1), np.uint8)
    how = Preprocessing(size_px=50, channels=1, fit=Fit.CROP)
    back = frame_of(how, image).back(np.ones((50, 50), np.float32), 100, 200)
    assert np.isnan(back[:, :50]).all()
    assert np.isnan(back[:, 150:]).all()
    assert (back[:, 50:150] == 1).all()


def test_a_crop_of_a_plug_in_that_does_not_say_what_it_leaves_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = Step(function=lambda pixels: pixels[: len(pixels) // 2], at_full_size=True)
    monkeypatch.setitem(STEPS.own, "half", half)
    how = Preprocessing(size_px=50, steps=["half"])
    with pytest.raises(UsageError, match="step half changes the size"):
        frame_of(how, np.zeros((100, 100, 3), np.uint8))
