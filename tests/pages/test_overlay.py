from __future__ import annotations

import numpy as np
import pytest

from medcnn.pages.overlay import DARK, LEAST_PX, STRIP_PX, VIRIDIS, highest, overlaid, with_scale

GREY = np.full((40, 60, 1), 100, np.uint8)


def test_the_colours_are_those_of_viridis() -> None:
    colormaps = pytest.importorskip("matplotlib").colormaps
    steps = np.linspace(0, 1, 101)
    ours = np.stack(
        [np.interp(steps, np.linspace(0, 1, 17), channel) for channel in VIRIDIS.T], axis=1
    )
    assert np.abs(ours - 255 * colormaps["viridis"](steps)[:, :3]).max() < 5


def test_only_what_speaks_for_the_class_is_coloured() -> None:
    values = np.zeros((40, 60), np.float32)
    values[:10], values[10:20], values[20:30] = 2.0, -5.0, np.nan
    done = overlaid(GREY, values)
    assert np.ptp(done[0, 0]) > 50
    assert (done[10:20] == 100).all()
    assert (done[30:] == 100).all()
    assert (done[20:30] == 100 * DARK).all(), "not shown to the network"


def test_deep_and_coloured_images_lie_below_in_grey() -> None:
    deep = np.full((40, 60, 3), (65535, 0, 0), np.uint16)
    done = overlaid(deep, np.zeros((40, 60)))
    assert (done == round(0.299 * 255)).all()


def test_the_highest_value_of_a_map_that_nothing_speaks_for_is_0() -> None:
    assert highest(np.array([[-1.0, np.nan]])) == 0
    assert highest(np.full((2, 2), np.nan)) == 0
    assert highest(np.array([[-1.0, 3.0]])) == 3


def test_the_scale_stands_below_an_image_that_is_not_distorted() -> None:
    values = np.ones((40, 60), np.float32)
    picture = with_scale(GREY, values, "gradcam of nevus", "logits per position")
    times = -(-LEAST_PX // 60)
    assert picture.size == (60 * times, 40 * times + STRIP_PX)
    large = with_scale(np.zeros((300, 700, 3), np.uint8), np.ones((300, 700)), "", "")
    assert large.size == (700, 300 + STRIP_PX)
    other = with_scale(GREY, values * 3, "gradcam of nevus", "logits per position")
    assert other.tobytes() != picture.tobytes(), "the scale is printed"
    assert np.array_equal(np.asarray(other)[: 40 * times], np.asarray(picture)[: 40 * times])
