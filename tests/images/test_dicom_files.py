"""Look-up tables with hand-computed values, and the files that pydicom brings along."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medcnn.images import Preprocessing, grayscale, read_pixels
from medcnn.system.errors import ImageError

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def header(**tags: Any) -> Dataset:
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation = 16, 12, 0
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    return dataset


def lut(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = entries
    return item


def shown(dataset: Dataset, stored: np.ndarray, window: int = 0) -> list[list[float]]:
    cells = stored.view(f"u{stored.itemsize}")
    pixels = grayscale.rendered(dataset, cells, window)
    return np.round(pixels[:, :, 0] / 65535, 3).tolist()  # type: ignore[no-any-return]


STORED = np.array([[0, 10, 11, 12, 13, 500]], dtype=np.uint16)


@pytest.mark.fault
def test_a_modality_lut_comes_first_and_clamps_at_its_ends() -> None:
    """Row 46; PS3.3 C.11.1.1: 10 -> 0, 11 -> 1000, 12 -> 4095, and the ends beyond."""
    dataset = header(
        ModalityLUTSequence=[lut(10, [0, 1000, 4095], 12)], WindowCenter=2048, WindowWidth=4096
    )
    assert shown(dataset, STORED) == [[0, 0, 0.244, 1, 1, 1]]


@pytest.mark.fault
def test_a_voi_lut_is_preferred_to_a_window_and_scaled_by_its_bits() -> None:
    """Row 50; PS3.3 C.11.2.1.1: 10 bits, so 1023 is white."""
    dataset = header(
        VOILUTSequence=[lut(10, [0, 256, 512, 1023], 10), lut(10, [1023, 0], 10)],
        WindowCenter=5,
        WindowWidth=10,
    )
    assert shown(dataset, STORED) == [[0, 0, 0.25, 0.5, 1, 1]]
    assert shown(dataset, STORED, window=1) == [[1, 1, 0, 0, 0, 0]]
    with pytest.raises(ImageError, match="no window 2: the file has 2 VOI LUTs"):
        shown(dataset, STORED, window=2)


@pytest.mark.fault
def test_of_several_windows_the_chosen_one_is_shown_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row 47."""
    grayscale.say_once.cache_clear()
    dataset = header(WindowCenter=[6, 250.5], WindowWidth=[11, 501])
    with caplog.at_level("INFO"):
        assert shown(dataset, STORED) == [[0, 0.95, 1, 1, 1, 1]]
        assert shown(dataset, STORED, window=1)[0][5] == 1
        assert shown(dataset, STORED, window=1)[0][1] == 0.02
    assert caplog.text.count("number 0 is shown") == caplog.text.count("number 1 is shown") == 1
    with pytest.raises(ImageError, match="no window 2"):
        shown(dataset, STORED, window=2)


@pytest.mark.fault
def test_an_unusable_window_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Row 48."""
    grayscale.say_once.cache_clear()
    for _ in range(3):
        shown(header(WindowCenter=5, WindowWidth=0), STORED)
    assert caplog.text.count("a window of width 0 in a DICOM is not usable") == 1


def test_eight_bits_without_a_window_are_shown_as_they_are() -> None:
    stored = np.array([[0, 51, 255]], dtype=np.uint8)
    dataset = header(BitsAllocated=8, BitsStored=8)
    assert shown(dataset, stored) == [[0, 0.2, 1]]
    signed = header(BitsAllocated=8, BitsStored=8, PixelRepresentation=1)
    assert shown(signed, np.array([[-128, 127]], dtype=np.int8)) == [[0, 1]]
    signed.ModalityLUTSequence = [lut(-128, list(range(256)), 8)]
    assert shown(signed, np.array([[-128, -77, 127]], dtype=np.int8)) == [[0, 0.2, 1]]


@pytest.mark.fault
def test_padding_may_be_a_range_and_signed() -> None:
    """Row 52; PS3.3 C.7.5.1.1.2."""
    stored = np.array([[-2000, -1990, -1000, 0, 1000]], dtype=np.int16)
    dataset = header(
        PixelRepresentation=1,
        BitsStored=16,
        PixelPaddingValue=65536 - 2000,
        PixelPaddingRangeLimit=65536 - 1900,
    )
    found = shown(dataset, stored)[0]
    assert found[:3] == [0, 0, 0]
    assert found[3] == pytest.approx(0.5, abs=0.01)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert shown(dataset, stored)[0][:2] == [0, 0]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_rle.dcm"),
        ("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
    ],
)
def test_one_picture_in_two_encodings_is_the_same_picture(name: str, other: str) -> None:
    """Rows 53, 54 and 57; YBR loses up to a few of 256 levels."""
    first, second = (read_pixels(FILES, n).astype(int) for n in (name, other))
    few = 6 if "y" in name and name.startswith("SC") and "odd" not in name else 0
    assert np.abs(first - second).mean() <= few


@pytest.mark.fault
def test_a_palette_becomes_the_colours_it_stands_for() -> None:
    """Row 55."""
    dataset = pydicom.dcmread(FILES / "examples_palette.dcm")
    palette = np.frombuffer(dataset.GreenPaletteColorLookupTableData, "<u2")
    stored = dataset.pixel_array
    found = read_pixels(FILES, "examples_palette.dcm")
    assert np.array_equal(found[:, :, 1], np.rint(palette[stored] / 257).astype(np.uint8))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MR_truncated.dcm", "truncated: 8130 bytes of pixel data, but the header says 8192"),
        ("MR_small_padded.dcm", "8320 bytes of pixel data, but the header says 8192"),
        ("SC_rgb_rle_2frame.dcm", "2 frames in one file"),
        ("rtdose.dcm", "not a classifiable image: RT Dose"),
        ("liver_1frame.dcm", "not a classifiable image: Segmentation"),
        ("waveform_ecg.dcm", "not a classifiable image: 12-lead ECG"),
        ("reportsi.dcm", "not a classifiable image: Basic Text SR"),
        ("DICOMDIR-empty.dcm", "not a classifiable image: Media Storage Directory"),
    ],
)
def test_what_is_not_a_single_whole_image_is_refused_with_its_reason(name: str, said: str) -> None:
    """Rows 56, 59 and 62."""
    file = next(FILES.rglob(name))
    with pytest.raises(ImageError, match=said):
        read_pixels(file.parent, file.name)


@pytest.mark.fault
@pytest.mark.parametrize("file", sorted(FILES.rglob("*.dcm")), ids=lambda f: f.name)
def test_every_file_is_read_or_refused_in_one_line(file: Path) -> None:
    """Rows 57, 58, 60 and 61."""
    with warnings.catch_warnings():
        # pydicom warns of files that break the standard: here that is their purpose
        warnings.simplefilter("ignore")
        try:
            pixels = read_pixels(file.parent, file.name)
        except ImageError as error:
            reason = str(error)
            assert reason
            assert "\n" not in reason
            return
    assert pixels.ndim == 3
    assert (pixels.dtype, pixels.shape[2]) in ((np.uint16, 1), (np.uint8, 3))


WITHOUT_DECODERS = """
import sys
for module in ("imagecodecs", "pylibjpeg", "openjpeg", "jpeg_ls"):
    sys.modules[module] = None
from pathlib import Path
from medcnn.system.errors import ImageError
from medcnn.images import read_pixels
for file in sys.argv[1:]:
    try:
        print(read_pixels(Path(file).parent, Path(file).name).shape)
    except ImageError as error:
        print(error)
"""


@pytest.mark.fault
def test_without_the_extra_a_syntax_is_named_with_the_line_that_installs_it() -> None:
    """Rows 57 and 58; RLE, JPEG baseline and JPEG 2000 need no extra."""
    needs = {
        "JPGExtended.dcm": "1.2.840.10008.1.2.4.51",
        "JPEG-LL.dcm": "1.2.840.10008.1.2.4.70",
        "MR_small_jpeg_ls_lossless.dcm": "1.2.840.10008.1.2.4.80",
    }
    needs = {name: uid for name, uid in needs.items() if (FILES / name).exists()}
    names = [*needs, "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_jp2klossless.dcm"]
    command = [sys.executable, "-c", WITHOUT_DECODERS, *(str(FILES / n) for n in names)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for uid, line in zip(needs.values(), said, strict=False):
        assert f"({uid})" in line
        assert line.endswith("pip install -c constraints.txt '.[dicom]' in the checkout")
        assert "damaged" not in line or "JPEG Extended" in line
    assert said[len(needs) :] == ["(64, 64, 1)", "(100, 100, 3)", "(64, 64, 1)"]


def test_two_compressions_of_one_radiograph_hold_the_same_pixels(shared: Path) -> None:
    rle, j2k = (
        read_pixels(shared / "dicom", f"wg04_RG3_extremity_mono1_{c}.dcm") for c in ("RLE", "J2KR")
    )
    assert np.array_equal(rle, j2k)


def test_air_is_dark_beside_a_real_leg_of_monochrome1(shared: Path) -> None:
    pixels = read_pixels(shared / "dicom", "wg04_RG3_extremity_mono1_RLE.dcm")[:, :, 0]
    # inside the collimated field, left and right of the bone
    air, bone = pixels[900:1100, 480:560], pixels[900:1100, 760:860]
    assert np.median(air) < 10_000 < 25_000 < np.median(bone)


@pytest.mark.parametrize(
    "name", ["wg04_RG1_chest_mono1_15bit_j2k", "wg04_RG3_extremity_mono1_J2KI"]
)
def test_a_lower_level_of_a_real_radiograph_is_within_one_grey_level(
    shared: Path, name: str
) -> None:
    """At full size where a side is odd."""
    small = Preprocessing(size_px=256, channels=1, bits=16)
    full, fewer = (read_pixels(shared / "dicom", f"{name}.dcm", at_least_px=n) for n in (None, 400))
    assert fewer.size * 15 < full.size or full.shape[0] % 2
    assert np.abs(small.apply(full).astype(float) - small.apply(fewer)).mean() / 65535 < 1 / 255
