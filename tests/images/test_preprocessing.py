from __future__ import annotations

import numpy as np
import pytest

from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.system.errors import UsageError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(30, 50, 3), (50, 30, 1), (16, 16, 3), (1, 400, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_image_becomes_a_square_of_the_wanted_depth(
    fit: Fit, bits: int, channels: int, shape: tuple[int, int, int], dtype: type
) -> None:
    how = Preprocessing(size_px=16, channels=channels, fit=fit, bits=bits)
    pixels = RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    done = how.apply(pixels)
    assert done.shape == (channels, 16, 16)
    assert done.dtype == (np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bits", [8, 16])
def test_black_stays_black_and_white_stays_white(dtype: type, bits: int) -> None:
    how = Preprocessing(size_px=8, channels=1, fit=Fit.SQUASH, bits=bits)
    for value, wanted in ((0, 0), (np.iinfo(dtype).max, 2**bits - 1)):
        assert (how.apply(np.full((20, 31, 3), value, dtype)) == wanted).all()


def test_sixteen_bits_neither_wrap_nor_clip_when_resized() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
    done = Preprocessing(size_px=16, channels=1, fit=Fit.SQUASH, bits=16).apply(ramp)[0]
    blocks = ramp[..., 0].reshape(16, 4, 16, 4).mean(axis=(1, 3))
    assert np.abs(done[2:-2, 2:-2].astype(float) - blocks[2:-2, 2:-2]).max() < 200


def test_padding_keeps_proportions_and_cropping_keeps_the_middle() -> None:
    wide = np.zeros((20, 40, 1), np.uint8)
    wide[:, 10:30] = 200
    padded = Preprocessing(size_px=20, channels=1, fit=Fit.PAD).apply(wide)[0]
    assert (padded[:5] == 0).all()
    assert (padded[15:] == 0).all()
    cropped = Preprocessing(size_px=20, channels=1, fit=Fit.CROP).apply(wide)[0]
    assert (cropped == 200).all()


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    pixels = RNG.integers(0, 256, (28, 28, 3), dtype=np.uint8)
    done = Preprocessing(size_px=28, channels=3).apply(pixels)
    assert np.array_equal(done.transpose(1, 2, 0), pixels)


def test_preprocessing_goes_to_json_and_back() -> None:
    how = Preprocessing(size_px=96, channels=1, fit=Fit.CROP, bits=16)
    assert Preprocessing.from_json(how.to_json()) == how


def test_impossible_settings_are_refused_together() -> None:
    with pytest.raises(UsageError) as raised:
        Preprocessing(size_px=0, channels=2, bits=12)
    assert all(word in str(raised.value) for word in ("size_px", "channels", "bits"))
