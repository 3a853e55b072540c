"""Crafted files with hand-computed values; pydicom's own files; real radiographs where at hand."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from medcnn.images import Frames, read_pixels
from medcnn.images.dicom import read_dicom
from medcnn.images.dicom_chain import explained
from medcnn.images.said import say_once
from medcnn.system.errors import ImageError

VALUES = np.array([[0, 100, 1000], [2000, 3000, 4095]], dtype=np.uint16)


def crafted(
    stored: np.ndarray = VALUES, syntax: str = ExplicitVRLittleEndian, **tags: Any
) -> bytes:
    """A radiograph of 12 bits in 16, `stored` as it is; `tags` replace or add attributes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["x"])
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["x"])
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if stored.dtype.itemsize == 2 else "OB"
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def shown(**tags: Any) -> np.ndarray:
    """[H, W] in 0..1."""
    return read_dicom(crafted(**tags))[:, :, 0] / 65535


@pytest.mark.fault
def test_a_linear_window_is_that_of_the_standard() -> None:
    """Row 47; PS3.3 C.11.2.1.2.1 with c = 2048, w = 4096: (x - 2047.5) / 4095 + 0.5."""
    wanted = (VALUES.astype(float) - 2047.5) / 4095 + 0.5
    assert np.allclose(shown(WindowCenter=2048, WindowWidth=4096), wanted.clip(0, 1), atol=1e-4)
    narrow = shown(WindowCenter=1000, WindowWidth=201)
    assert narrow[0, 0] == narrow[0, 1] == 0
    assert narrow[0, 2] == pytest.approx(0.5 + 0.5 / 200, abs=1e-4)
    assert narrow[1, 0] == 1


@pytest.mark.fault
def test_sigmoid_and_linear_exact_are_those_of_the_standard() -> None:
    """Row 49; PS3.3 C.11.2.1.3."""
    exact = shown(WindowCenter=2000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT")
    assert np.allclose(exact, ((VALUES - 2000.0) / 2000 + 0.5).clip(0, 1), atol=1e-4)
    sigmoid = shown(WindowCenter=2000, WindowWidth=2000, VOILUTFunction="SIGMOID")
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-4 * (VALUES - 2000.0) / 2000)), atol=1e-4)


@pytest.mark.fault
def test_a_rescale_comes_before_the_window_and_may_be_negative() -> None:
    """Row 45."""
    plain = shown(WindowCenter=2048, WindowWidth=4096)
    turned = shown(RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=2048, WindowWidth=4096)
    assert np.allclose(turned, 1 - plain, atol=1e-3)
    with pytest.raises(ImageError, match="RescaleSlope 0"):
        shown(RescaleSlope=0, RescaleIntercept=5)


@pytest.mark.fault
def test_polarity_is_turned_once() -> None:
    """Rows 43 and 44."""
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = shown(**window)
    mono1 = shown(PhotometricInterpretation="MONOCHROME1", **window)
    inverse = shown(PresentationLUTShape="INVERSE", **window)
    both = shown(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **window)
    for turned in (mono1, inverse, both):
        assert np.allclose(turned, 1 - plain, atol=1e-4)


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE", " inverse ", "LIN OD", "", None])
def test_where_two_words_contradict_each_other_the_shape_decides_and_it_is_said(
    kind: str, shape: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Row B8: as DCMTK and dcm4che have it; without a shape, the photometric interpretation."""
    say_once.cache_clear()
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = shown(**window)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small letters, which pydicom warns of
        data = crafted(PhotometricInterpretation=kind, PresentationLUTShape=shape, **window)
    word = (shape or "").strip().upper()
    turned = word == "INVERSE" if word in ("IDENTITY", "INVERSE") else kind == "MONOCHROME1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_dicom(data)[:, :, 0] / 65535
        facts, _ = explained(data, window=0, frames=Frames.ERROR)
    assert np.allclose(found, 1 - plain if turned else plain, atol=1e-4)
    odd = (kind, word) in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE"))
    assert ("contradict each other" in caplog.text) is odd
    assert ("the shape decides" in facts["polarity"]) is odd
    assert facts["polarity"].startswith("turned" if turned else "kept")


@pytest.mark.fault
@pytest.mark.parametrize("tags", [{"WindowCenter": 5, "WindowWidth": 0}, {"WindowCenter": 5}, {}])
def test_without_a_usable_window_the_range_of_the_values_is_shown(tags: dict[str, Any]) -> None:
    """Row 48."""
    found = shown(**tags)
    assert found.min() < 0.01
    assert found.max() > 0.99
    assert (np.diff(found.ravel()) >= 0).all()


@pytest.mark.fault
def test_a_border_of_padding_does_not_spread_the_range() -> None:
    """Row 52."""
    inside = np.tile(np.arange(1000, 1100, dtype=np.uint16), (20, 1))
    ringed = np.pad(inside, 5, constant_values=4095)
    found = shown(stored=ringed, PixelPaddingValue=4095)
    assert (found[:5] == 0).all()
    assert found[5:-5, 5:-5].max() > 0.99
    assert np.median(found[5:-5, 5:-5]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.fault
def test_signed_values_and_junk_in_unused_bits_are_understood() -> None:
    """Row 51."""
    signed = np.array([[-1000, 0, 1000]], dtype=np.int16)
    found = shown(stored=signed, WindowCenter=0, WindowWidth=2001)
    assert np.allclose(found, [[0, 0.5, 1]], atol=1e-3)
    junk = VALUES | np.uint16(0xA000)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    assert np.allclose(shown(stored=junk, **window), shown(**window))


@pytest.mark.fault
def test_numbers_written_with_the_wrong_sign_are_understood() -> None:
    """Rows 46, 50 and 52: US or SS (PS3.5 6.2) is often the other one."""
    stored = np.array([[0, 24, 1024, 3000, 65535]], dtype=np.uint16)
    deep = {"stored": stored, "BitsStored": 16, "HighBit": 15}
    padded = pydicom.dcmread(BytesIO(crafted(**deep)))
    padded.add_new("PixelPaddingValue", "SS", -1)
    buffer = BytesIO()
    padded.save_as(buffer)
    assert read_dicom(buffer.getvalue())[0, 3:].ravel().tolist() == [65535, 0]

    def shown_by(first: int, entries: list[int], **tags: Any) -> list[float]:
        lut = Dataset()
        lut.add_new("LUTDescriptor", "US", [len(entries), first, 16])
        lut.LUTData = np.array(entries, dtype="<u2").tobytes()
        return shown(VOILUTSequence=[lut], **tags)[0].tolist()  # type: ignore[no-any-return]

    # -1000 as unsigned, after a rescale: -1024, -1000, 0, 1976, ...
    measured = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    ramp = list(range(0, 40000, 20))
    found = shown_by(65536 - 1000, ramp, **deep, **measured)
    assert np.allclose(found, np.array([0, 0, 20000, 39980, 39980]) / 65535, atol=1e-4)
    # 40000 is meant, though the stored values are signed: a modality LUT comes before
    modality = Dataset()
    modality.LUTDescriptor = [3, 0, 16]
    modality.LUTData = np.array([0, 40001, 65535], dtype="<u2").tobytes()
    signed = np.array([[0, 1, 2]], dtype=np.int16)
    found = shown_by(40000, [7, 9, 65535], stored=signed, ModalityLUTSequence=[modality])
    assert np.allclose(found, np.array([7, 9, 65535]) / 65535, atol=1e-4)


@pytest.mark.fault
@pytest.mark.parametrize("data", [bytes([0, 85, 170, 255]), [0x5500, 0xFFAA], [0, 85, 170, 255]])
def test_entries_of_eight_bits_may_be_packed_two_to_a_word(data: Any) -> None:
    """Row 50; as OW or as US."""
    lut = Dataset()
    lut.LUTDescriptor = [4, 0, 8]
    lut.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    stored = np.array([[0, 1, 2, 9]], dtype=np.uint16)
    assert np.allclose(shown(stored=stored, VOILUTSequence=[lut]), [0, 1 / 3, 2 / 3, 1], atol=1e-4)


def test_neighbouring_values_of_32_bits_are_told_apart() -> None:
    stored = np.array([[2**31 - 50, 2**31, 2**31 + 25]], dtype=np.uint32)
    deep = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": stored.tobytes()}
    window = {"WindowCenter": 2**31, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"}
    assert np.allclose(shown(stored=stored, **deep, **window), [[0, 0.5, 0.75]], atol=1e-4)


@pytest.mark.fault
@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_every_uncompressed_syntax_gives_the_same_pixels(syntax: str) -> None:
    """Rows 54 and 57."""
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    assert np.array_equal(shown(syntax=syntax, **window), shown(**window))


@pytest.mark.fault
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_is_read_in_both_planar_configurations(planar: int) -> None:
    """Row 54."""
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    data = crafted(
        stored=rgb,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=planar,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=(rgb.transpose(2, 0, 1) if planar else rgb).tobytes(),
    )
    assert np.array_equal(read_dicom(data), rgb)


@pytest.mark.fault
def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    """Row 60."""
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    (tmp_path / "x.dcm").write_bytes(crafted(**window)[132:])
    assert np.allclose(read_pixels(tmp_path, "x.dcm")[:, :, 0] / 65535, shown(**window))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PixelData": VALUES.tobytes()[:8]}, "truncated: 8 bytes of pixel data"),
        ({"PixelData": VALUES.tobytes() * 2}, "there are more frames"),
        ({"NumberOfFrames": 2}, "2 frames in one file"),
        ({"Rows": 65535, "Columns": 65535}, "made to exhaust memory"),
        ({"PhotometricInterpretation": ""}, "the header lacks PhotometricInterpretation"),
        ({"BitsStored": 17}, "17 bits stored in 16"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "not a classifiable image: Segm"),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(tags: dict[str, Any], said: str) -> None:
    """Rows 56, 59, 61, 62 and 63."""
    with pytest.raises(ImageError, match=said):
        read_dicom(crafted(**tags))


@pytest.mark.fault
def test_a_plan_is_not_an_image() -> None:
    """Row 62."""
    from pydicom.data import get_testdata_file

    plan = Path(str(get_testdata_file("rtplan.dcm", download=False)))
    with pytest.raises(ImageError, match="not a classifiable image: RT Plan"):
        read_pixels(plan.parent, plan.name)


@pytest.mark.parametrize(
    "name",
    [
        "highdicom_dx_thorax_mono1_explicit_le.dcm",
        "nih_dx_implicit_le_mono2.dcm",
        "rg1_chest_mono1_15bit_rle.dcm",
        "wg04_RG3_extremity_mono1_RLE.dcm",
    ],
)
def test_real_radiographs_fill_their_range(shared: Path, name: str) -> None:
    pixels = read_pixels(shared / "dicom", name)
    assert pixels.dtype == np.uint16
    assert np.percentile(pixels, 99.5) - np.percentile(pixels, 0.5) > 20_000


def test_air_is_dark_in_a_real_chest_of_monochrome1(shared: Path) -> None:
    pixels = read_pixels(shared / "dicom", "rg1_chest_mono1_15bit_rle.dcm")[:, :, 0]
    height, width = pixels.shape
    spine = pixels[height // 2 :, width // 2 - 100 : width // 2 + 100]
    lung = pixels[height // 3 : height // 2, width // 5 : width // 3]
    assert np.median(spine) > np.median(lung)


def test_rle_and_uncompressed_hold_the_same_pixels() -> None:
    dataset = pydicom.dcmread(BytesIO(crafted(WindowCenter=2048, WindowWidth=4096)))
    dataset.compress(RLELossless)
    buffer = BytesIO()
    dataset.save_as(buffer)
    plain = read_dicom(crafted(WindowCenter=2048, WindowWidth=4096))
    assert np.array_equal(read_dicom(buffer.getvalue()), plain)


@pytest.mark.fault
@pytest.mark.parametrize("high", [12, 13, 15])
def test_an_overlay_below_the_pixel_is_not_part_of_it(high: int) -> None:
    """Row 51; PS3.5 8.1.1, retired: 12 bits up to HighBit, an overlay in the bits below."""
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    overlay = np.uint16(2 ** (high - 11) - 1)
    lifted = (VALUES << np.uint16(high - 11)) | overlay
    assert np.array_equal(shown(stored=lifted, HighBit=high, **window), shown(**window))
    signed = (VALUES.astype(np.int16) - 2048) << np.int16(high - 11)
    found = shown(stored=signed, HighBit=high, WindowCenter=0, WindowWidth=4096)
    assert np.allclose(found, shown(**window), atol=1e-3)
    with pytest.raises(ImageError, match="HighBit 16, 12 bits stored in 16"):
        shown(HighBit=16, **window)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("uid", "said"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.7", "contains a mask"),
        ("1.2.840.10008.5.1.4.1.1.30", "contains a map of a measured quantity"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose Storage contains a dose"),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", "contains a slide in tiles"),
    ],
)
def test_pixels_that_are_not_a_picture_are_named(uid: str, said: str) -> None:
    """Row 62."""
    with pytest.raises(ImageError, match=f"not a classifiable image: .*{said}"):
        read_dicom(crafted(SOPClassUID=uid))


@pytest.mark.fault
def test_a_private_object_is_read_where_it_has_an_image_and_named_where_not() -> None:
    """Row 62."""
    private = "1.3.46.670589.11.0.0.12.1"
    assert read_dicom(crafted(SOPClassUID=private)).shape == (2, 3, 1)
    dataset = pydicom.dcmread(BytesIO(crafted(SOPClassUID=private)))
    del dataset.PixelData
    buffer = BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(ImageError, match=f"of the private class {private} contains no pixel data"):
        read_dicom(buffer.getvalue())


@pytest.mark.fault
@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 1000, "WindowWidth": 3000},
        {"WindowCenter": 500, "WindowWidth": 999.5, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 900, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"},
    ],
)
@pytest.mark.parametrize("rescale", [(1, 0), (0.5, -300), (-2, 100)])
@pytest.mark.parametrize("kind", ["u2", "i2"])
def test_a_table_shows_what_pydicom_computes_for_every_pixel(
    tags: dict[str, Any], rescale: tuple[float, float], kind: str
) -> None:
    """Rows 45, 49 and 51: within 0.001 of full scale."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    rng = np.random.default_rng(0)
    low = -2048 if kind == "i2" else 0
    stored = rng.integers(low, low + 4096, (40, 30)).astype(kind)
    slope, intercept = rescale
    data = crafted(stored=stored, RescaleSlope=slope, RescaleIntercept=intercept, **tags)
    dataset = pydicom.dcmread(BytesIO(data))
    wanted = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    # pydicom's output range is that of the measured values
    ends = sorted(v * slope + intercept for v in (low, low + 4095))
    wanted = (wanted - ends[0]) / (ends[1] - ends[0])
    if slope > 0:
        assert np.abs(read_dicom(data)[:, :, 0] / 65535 - wanted).max() < 0.001
    else:
        # pydicom mixes up the ends of a falling slope: its order alone can be compared
        found = read_dicom(data)[:, :, 0].astype(float)
        measured = stored.astype(float) * slope + intercept
        assert (np.diff(found.ravel()[np.argsort(measured.ravel())]) >= 0).all()


SYNTAXES = {
    "1.2.840.113619.5.2": "private transfer syntax GE's Implicit VR Big Endian",
    "1.3.46.670589.33.1.4.1": "private transfer syntax 1.3.46",
    "1.2.840.10008.1.2.4.110": "transfer syntax JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "transfer syntax JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "transfer syntax JPEG XL",
    "1.2.840.10008.1.2.4.100": "transfer syntax MPEG2 Main Profile",
    "1.2.840.10008.1.2.4.102": "transfer syntax MPEG-4",
    "1.2.840.10008.1.2.4.92": "transfer syntax JPEG 2000 Part 2",
    "1.2.840.10008.1.2.4.94": "transfer syntax JPIP Referenced",
    "1.2.840.10008.1.2.4.52": "transfer syntax JPEG Extended",
    "1.2.840.10008.1.2.8.1": "transfer syntax Deflated Image Frame Compression",
    "1.2.840.10008.9.9.9": "transfer syntax 1.2.840.10008.9.9.9",
}


@pytest.mark.parametrize("uid", SYNTAXES)
@pytest.mark.parametrize("frames", [1, 20])
def test_a_transfer_syntax_that_is_not_read_is_named_and_called_no_damage(
    uid: str, frames: int
) -> None:
    """Whatever else is odd: no other frame would help."""
    dataset = pydicom.dcmread(BytesIO(crafted(NumberOfFrames=frames)))
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x0a" + bytes(100)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    buffer = BytesIO()
    dataset.save_as(buffer)
    # pydicom writes none that it does not know
    _, end, rest = buffer.getvalue().partition(JPEGBaseline8Bit.encode())
    name = uid.encode() + bytes(len(uid) % 2)
    meta = b"\2\0\x10\0UI" + struct.pack("<H", len(name)) + name
    head = bytes(128) + b"DICM\2\0\0\0UL\4\0" + struct.pack("<I", len(meta)) + meta
    data = head + rest[rest.index(b"\x08\0") :]
    assert end
    with pytest.raises(ImageError) as caught:
        read_dicom(data)
    assert SYNTAXES[uid] in str(caught.value)
    assert uid in str(caught.value)
    assert "is not supported; export the image with another one" in str(caught.value)
    assert "damaged" not in str(caught.value)


COLOUR = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
OF_COLOUR = {"SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


@pytest.mark.fault
def test_colour_without_a_planar_configuration_is_read_pixel_by_pixel_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row 54."""
    say_once.cache_clear()
    found = read_dicom(crafted(COLOUR, PhotometricInterpretation="RGB", **OF_COLOUR))
    assert np.array_equal(found, COLOUR)
    assert "without PlanarConfiguration" in caplog.text


@pytest.mark.fault
@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PhotometricInterpretation": "YBR_RCT"}, "occurs only in JPEG 2000"),
        ({"PhotometricInterpretation": "YBR_ICT"}, "occurs only in JPEG 2000"),
        ({"PhotometricInterpretation": "RGB", "PlanarConfiguration": 2}, "is not 0 or 1"),
    ],
)
def test_colour_that_contradicts_itself_is_refused(tags: dict[str, Any], said: str) -> None:
    """Row 53: colours of JPEG 2000 in a file without it were shown as red and green."""
    with pytest.raises(ImageError, match=said):
        read_dicom(crafted(COLOUR, **({"PlanarConfiguration": 0} | tags), **OF_COLOUR))


@pytest.mark.fault
@pytest.mark.parametrize(
    "tags", [{"PixelPaddingValue": [0, 1]}, {"PixelPaddingRangeLimit": [0, 1]}]
)
def test_padding_of_several_numbers_is_named(tags: dict[str, Any]) -> None:
    """Row 52."""
    with pytest.raises(ImageError, match="not one whole number"):
        shown(**({"PixelPaddingValue": 0} | tags), WindowCenter=2048, WindowWidth=4096)
