"""When a lower level of JPEG 2000 may stand for the image."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless

from medcnn.images import Preprocessing, decoders
from medcnn.images.codestreams import codestream_of
from medcnn.images.dicom import read_dicom
from medcnn.images.levels import estimated_error, shows_the_same
from medcnn.system.errors import ImageError
from tests.images.test_decoders import j2k, picture, written
from tests.images.test_luts import item


def noisy(side: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:side, :side] / side
    values = {
        "noise": rng.normal(200, 250, (side, side)),
        "ramp": 4000 * right + rng.normal(0, 150, (side, side)),
        "uniform": rng.integers(0, 4096, (side, side)),
        "chequered": (down * side + right * side) % 2 * 4095,
    }[kind]
    return values.clip(0, 4095).astype(np.uint16)


STEP = ((np.arange(4096) > 900) * 65535).astype("<u2").tobytes()
BENT: dict[str, dict[str, Any]] = {
    "above": {"WindowCenter": -927, "WindowWidth": 2265, "VOILUTFunction": "LINEAR"},
    "below": {"WindowCenter": 3000, "WindowWidth": 2500, "VOILUTFunction": "LINEAR_EXACT"},
    "both": {"WindowCenter": 1000, "WindowWidth": 800, "VOILUTFunction": "LINEAR"},
    "sigmoid": {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    "a LUT": {
        "VOILUTSequence": [
            item(
                LUTDescriptor=[4096, 0, 16],
                LUTData=((np.arange(4096) > 900) * 65535).astype("<u2").tobytes(),
            )
        ]
    },
}


@pytest.mark.parametrize("kind", ["noise", "ramp", "uniform", "chequered"])
@pytest.mark.parametrize("ht", [False, True])
def test_a_window_that_clips_shows_the_same_in_jpeg_2000_at_every_size(kind: str, ht: bool) -> None:
    """The mean of what a window clips is not what it clips of the mean."""
    values = noisy(256, kind)
    syntax = HTJ2KLossless if ht else JPEG2000Lossless
    frame = bytes(imagecodecs.htj2k_encode(values)) if ht else j2k(values)
    for tags in BENT.values():
        for size_px in (8, 32):
            how = Preprocessing(size_px=size_px, channels=1, bits=16)
            coded, plain = (
                how.apply(read_dicom(data, at_least_px=how.needs_px))
                for data in (written(values, syntax, frame, **tags), written(values, **tags))
            )
            assert np.abs(coded.astype(float) - plain).max() <= 257  # one grey level of 255


@pytest.mark.parametrize("kind", ["noise", "ramp", "uniform"])
def test_a_large_image_is_decoded_in_full_where_the_noise_reaches_a_bend(kind: str) -> None:
    """By an estimate, which is never below half of the true mean error."""
    values = noisy(1024, kind)
    frame = j2k(values)
    levels = [decoders.level_of(frame, codestream_of(frame), n) for n in (1, 2, 3)]
    every = np.arange(4096, dtype=np.uint16)[None]
    for tags in BENT.values():
        curve = read_dicom(written(every, **tags))[0, :, 0] / 257
        for halvings, level in enumerate(levels, 1):
            means = _means(values.astype(float), 2**halvings)
            error = np.abs(curve[np.rint(means).astype(int)] - _means(curve[values], 2**halvings))
            assert estimated_error(level, curve, halvings) >= error.mean() / 2
            assert not (error.mean() > 1 and shows_the_same(level, curve, halvings))


def _means(values: np.ndarray, n: int) -> np.ndarray:
    side = len(values) // n
    return np.asarray(values.reshape(side, n, side, n).mean(axis=(1, 3)))


def test_a_level_is_taken_where_the_window_bends_far_from_the_values() -> None:
    values = picture(1024, 1024, most=3000, period_px=900)
    frame = j2k(values)
    curve = np.clip(np.arange(4096) / 3500, 0, 1) * 255
    for halvings in (1, 2, 3):
        level = decoders.level_of(frame, codestream_of(frame), halvings)
        assert shows_the_same(level, curve, halvings)
        assert shows_the_same(level[:64, :64], np.linspace(0, 255, 4096), halvings)


def with_fewer_levels_than_it_says(values: np.ndarray) -> bytes:
    """A sound codestream of one level: its COD says five, which a COC (ITU-T T.800 A.6.2)
    corrects for the only component."""
    frame = j2k(values, resolutions=2)
    at = frame.index(b"\xff\x52")
    levels, *style = frame[at + 9 : at + 14]
    assert levels == 1
    cod = frame[at : at + 9] + bytes([5, *style])
    coc = b"\xff\x53" + (9).to_bytes(2, "big") + bytes([0, 0, levels, *style])
    return frame[:at] + cod + coc + frame[at + 14 :]


@pytest.mark.fault
def test_what_has_no_lower_level_is_decoded_in_full_and_not_called_damaged() -> None:
    """Row B7: full decoding before anything is called damaged, at every size."""
    values = picture(512, 512)
    frame = with_fewer_levels_than_it_says(values)
    assert codestream_of(frame).halvings == 5
    with pytest.raises(Exception, match=r"broken data|lower level"):
        decoders.level_of(frame, codestream_of(frame), 3)
    full = read_dicom(written(values))
    for size_px in (None, 32, 64, 128, 200):
        found = read_dicom(written(values, JPEG2000Lossless, frame), at_least_px=size_px)
        plain = read_dicom(written(values), at_least_px=size_px)
        assert np.abs(found.astype(int) - plain).mean() < 257
        assert np.array_equal(read_dicom(written(values, JPEG2000Lossless, frame)), full)


@pytest.mark.fault
def test_what_is_damaged_is_called_so_at_every_size() -> None:
    """Row B7."""
    values = picture(512, 512)
    frame = j2k(values)
    broken = frame[:120]
    for size_px in (None, 32, 128):
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            read_dicom(written(values, JPEG2000Lossless, broken), at_least_px=size_px)
