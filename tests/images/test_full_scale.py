"""How many bits of 16 are used: read by the reader, told by the audit, kept by the checkpoint."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from medcnn.images import Preprocessing, read_pixels
from medcnn.images.preprocessing import scale_of
from medcnn.images.reading import may_be_deep
from medcnn.system.errors import ImageError, UsageError

LEVELS = np.random.default_rng(0).integers(0, 4096, (20, 30), dtype=np.uint16)
LEVELS[0, :2] = 0, 4095


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(LEVELS).save(tmp_path / "x.png")
    Image.fromarray(LEVELS).save(tmp_path / "x.tif")
    Image.fromarray(LEVELS).save(tmp_path / "w.tif", tiffinfo={262: 0})
    np.savez(tmp_path / "x.npz", a=LEVELS[None])
    return tmp_path


@pytest.mark.fault
@pytest.mark.parametrize("name", ["x.png", "x.tif", "w.tif", "x.npz#a/0"])
def test_twelve_bits_in_a_file_of_16_span_the_full_range_where_it_is_said(
    folder: Path, name: str
) -> None:
    """Row A7: black and white of the detector are those of the image, white-is-zero too."""
    tops: list[int] = []
    pixels = read_pixels(folder, name, full_scale=12, tops=tops)[:, :, 0]
    wanted = np.rint(LEVELS * (65535 / 4095))
    assert max(tops) == 4095
    assert np.array_equal(pixels, 65535 - wanted if name == "w.tif" else wanted)
    # as before where nothing is said
    stored = read_pixels(folder, name)[:, :, 0]
    assert np.array_equal(stored, 65535 - LEVELS if name == "w.tif" else LEVELS)
    with pytest.raises(ImageError, match="values up to 4095 do not fit into 10 bits"):
        read_pixels(folder, name, full_scale=10)
    assert may_be_deep(folder, name)


COLOURS = np.random.default_rng(1).integers(0, 4096, (20, 30, 4), dtype=np.uint16)
COLOURS[0, 0], COLOURS[:, :, 3] = 4095, 65535


@pytest.mark.fault
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["x.png", "x.tif", "lzw.tif", "x.jp2", "x.npz#a/0"])
def test_colours_of_twelve_bits_in_16_are_found_and_scaled_as_grey_is(
    tmp_path: Path, name: str, channels: int
) -> None:
    """Row A7: the upper 8 of 16 bits would be 16 levels of 256."""
    values = np.ascontiguousarray(COLOURS[:, :, :channels])
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(values))
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb")
    tifffile.imwrite(tmp_path / "lzw.tif", values, photometric="rgb", compression="lzw")
    (tmp_path / "x.jp2").write_bytes(imagecodecs.jpeg2k_encode(values, level=0))
    np.savez(tmp_path / "x.npz", a=values[None, :, :, :3])
    assert may_be_deep(tmp_path, name)
    tops: list[int] = []
    as_stored = read_pixels(tmp_path, name, tops=tops)
    assert scale_of(tops) == 12
    exact = np.rint(values[:, :, :3] * (65535 / 4095)).astype(np.uint16)
    found = read_pixels(tmp_path, name, full_scale=12)
    deep = found.dtype == np.uint16  # of an npz, which keeps all bits
    assert np.array_equal(found, exact if deep else exact >> 8)
    assert np.array_equal(as_stored, values[:, :, :3] if deep else values[:, :, :3] >> 8)
    with pytest.raises(ImageError, match="do not fit into 10 bits"):
        read_pixels(tmp_path, name, full_scale=10)


@pytest.mark.fault
def test_what_says_its_own_depth_is_not_scaled_again(tmp_path: Path) -> None:
    """Row A7."""
    unit = (LEVELS / 65535).astype(np.float32)
    Image.fromarray(unit).save(tmp_path / "f.tif")
    Image.fromarray((LEVELS >> 4).astype(np.uint8)).save(tmp_path / "g.png")
    for name in ("f.tif", "g.png"):
        same = read_pixels(tmp_path, name, full_scale=12)
        assert np.array_equal(same, read_pixels(tmp_path, name))
    assert not may_be_deep(tmp_path, "g.png")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("tops", "bits"),
    [([4095, 3000], 12), ([4096], 14), ([255, 80], 8), ([1023], 10), ([16384], 16), ([], 16)],
)
def test_the_depth_of_a_set_is_inferred_from_its_highest_value(tops: list[int], bits: int) -> None:
    """Row A7."""
    assert scale_of(tops) == bits


def test_a_checkpoint_of_before_reads_as_it_did(folder: Path) -> None:
    kept = Preprocessing(size_px=20, channels=1, bits=16).to_json()
    assert kept.pop("full_scale") == 16
    before = Preprocessing.from_json(kept)
    assert before.read(folder, "x.png").max() <= 4095
    scaled = Preprocessing.from_json({**kept, "full_scale": 12})
    assert scaled.read(folder, "x.png").max() > 50_000
    with pytest.raises(UsageError, match="full_scale must be 8 to 16"):
        Preprocessing(size_px=20, full_scale=7)
