"""Every compressed syntax against the values that went in; files made to break a decoder."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medcnn.images import Fit, Frames, Preprocessing, decoders, read_pixels
from medcnn.images.codestreams import codestream_of
from medcnn.images.dicom import MAX_INFLATED_BYTES, read_dicom
from medcnn.images.shrinking import reduced
from medcnn.system.errors import ImageError
from tests.images.apart import read_apart

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz_readers.py"


def picture(
    height: int = 90, width: int = 70, most: int = 4095, period_px: float = 94
) -> np.ndarray:
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:height, :width] * (2 * np.pi / period_px)
    light = 0.5 + 0.4 * np.sin(down) * np.cos(right) + rng.normal(0, 0.01, (height, width))
    return (light.clip(0, 1) * most).astype(np.uint8 if most < 256 else np.uint16)


def written(
    values: np.ndarray, syntax: str = ExplicitVRLittleEndian, *frames: bytes, **tags: Any
) -> bytes:
    """A file of these values, whose window shows them as they are, or of these frames."""
    bits = 8 if values.dtype.itemsize == 1 else 12
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = 8 * values.itemsize, bits
    dataset.HighBit = bits - 1
    # LINEAR_EXACT over 0..2^n-1
    dataset.WindowCenter, dataset.WindowWidth = (2**bits - 1) / 2, 2**bits - 1
    dataset.VOILUTFunction = "LINEAR_EXACT"
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"
    if frames:
        dataset.PixelData = encapsulate(list(frames))
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    for name, value in tags.items():
        setattr(dataset, name, value)
    if syntax == RLELossless and not frames:
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def j2k(values: np.ndarray, **options: Any) -> bytes:
    told = {"codecformat": "j2k", "level": 0, "reversible": True, "bitspersample": 12, **options}
    return bytes(imagecodecs.jpeg2k_encode(values, **told))


def lossless(values: np.ndarray, predictor: int) -> bytes:
    bits = 12 if values.itemsize == 2 else 8
    return bytes(
        imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits)
    )


ENCODERS: dict[str, tuple[str, Callable[[np.ndarray], bytes], int]] = {
    "lossless 14": (JPEGLossless, lambda v: lossless(v, 6), 0),
    "lossless SV1": (JPEGLosslessSV1, lambda v: lossless(v, 1), 0),
    "extended 12 bit": (
        JPEGExtended12Bit,
        lambda v: bytes(imagecodecs.jpeg8_encode(v, level=98, bitspersample=12)),
        40,
    ),
    "JPEG-LS": (JPEGLSLossless, lambda v: bytes(imagecodecs.jpegls_encode(v)), 0),
    "JPEG-LS near": (JPEGLSNearLossless, lambda v: bytes(imagecodecs.jpegls_encode(v, 3)), 3),
    "JPEG 2000 lossless": (JPEG2000Lossless, j2k, 0),
    "JPEG 2000": (JPEG2000, lambda v: j2k(v, reversible=False, level=70), 20),
    "HTJ2K": (HTJ2KLossless, lambda v: bytes(imagecodecs.htj2k_encode(v)), 0),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", ENCODERS)
def test_what_went_in_comes_out_of_every_compressed_syntax(name: str) -> None:
    """Row 57."""
    syntax, encoded, near = ENCODERS[name]
    values = picture()
    found = read_dicom(written(values, syntax, encoded(values)))[:, :, 0]
    plain = read_dicom(written(values))[:, :, 0]
    assert np.abs(found.astype(int) - plain).max() <= near * 65535 / 4095 + 1
    assert np.array_equal(np.rint(plain / 65535 * 4095), values)


@pytest.mark.fault
def test_eight_bits_are_read_out_of_lossless_jpeg_and_rle() -> None:
    """Row 57."""
    values = picture(most=255)
    plain = read_dicom(written(values))
    assert np.array_equal(read_dicom(written(values, JPEGLosslessSV1, lossless(values, 1))), plain)
    assert np.array_equal(read_dicom(written(values, RLELossless)), plain)


def test_colour_is_read_out_of_lossless_jpeg() -> None:
    values = np.stack([picture(most=255), 255 - picture(most=255), picture(most=200)], axis=2)
    frame = imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, outcolorspace="rgb")
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    found = read_dicom(written(values, JPEGLosslessSV1, bytes(frame), **tags))
    assert np.array_equal(found, values)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("syntax", "photometric", "says"),
    [
        (JPEG2000, "YBR_FULL", "colour JPEG, but its transfer syntax is JPEG 2000"),
        (JPEGLSLossless, "RGB", "colour JPEG, but its transfer syntax is JPEG-LS"),
        (JPEGLosslessSV1, "YBR_RCT", "which only JPEG 2000 has"),
    ],
)
def test_colours_of_another_kind_of_frame_are_refused_not_turned(
    syntax: str, photometric: str, says: str
) -> None:
    """Row 53: a decoder would go by the transfer syntax, and show red as blue."""
    values = coloured()
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric}
    data = written(values, syntax, as_jpeg(values), **tags, PlanarConfiguration=0)
    with pytest.raises(ImageError, match=says):
        read_dicom(data)


def as_jpeg(values: np.ndarray, **options: Any) -> bytes:
    """With the JFIF header that pillow writes, 18 bytes from the third on."""
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def coloured() -> np.ndarray:
    down, right = np.mgrid[:96, :80]
    return np.stack([right * 3, down * 2, 250 - 2 * right], axis=2).astype(np.uint8)


@pytest.mark.fault
@pytest.mark.parametrize("said", ["RGB", "YBR_FULL_422", "YBR_FULL"])
def test_colours_are_turned_once_by_what_the_frame_says_of_them(said: str) -> None:
    """Row 53: a marker, the names of its components or their sampling, before the header."""
    values = coloured()
    jfif, adobe = as_jpeg(values, subsampling=0), b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\1"
    told = {"colorspace": "rgb", "outcolorspace": "rgb"}
    named = bytes(imagecodecs.jpeg8_encode(values, level=95, **told))
    frames = {
        "JFIF": (JPEGBaseline8Bit, jfif),
        "Adobe": (JPEGBaseline8Bit, jfif[:2] + adobe + jfif[20:]),
        "both": (JPEGBaseline8Bit, jfif[:20] + adobe + jfif[20:]),
        "halves": (JPEGExtended12Bit, b"\xff\xd8" + as_jpeg(values, subsampling=2)[20:]),
        "R, G, B": (JPEGBaseline8Bit, named[:2] + named[18:]),
        "transform": (JPEG2000Lossless, j2k(values, bitspersample=8, mct=True)),
    }
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": said, "PlanarConfiguration": 0}
    for name, (syntax, frame) in frames.items():
        found = read_dicom(written(values, syntax, frame, **tags))
        assert np.abs(found.astype(int) - values).mean() < 3, name


@pytest.mark.fault
@pytest.mark.parametrize(("said", "jfif"), [("RGB", False), ("YBR_FULL", False), ("RGB", True)])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1])
@pytest.mark.filterwarnings("ignore:The \\(0028,0004\\)")
def test_where_the_frame_says_nothing_of_its_colours_the_header_does(
    said: str, jfif: bool, syntax: str
) -> None:
    """Row 53; a JFIF marker says YCbCr, also of a lossless frame."""
    values = coloured()
    plain = said == "RGB" and not jfif
    stored = values if plain else np.array(Image.fromarray(values).convert("YCbCr"))
    told = {"colorspace": "rgb", "outcolorspace": "rgb"}
    how = {"level": 95} if syntax == JPEGBaseline8Bit else {"lossless": True, "predictor": 1}
    frame = bytearray(imagecodecs.jpeg8_encode(stored, **how, **told))
    frame[2:18] = as_jpeg(values)[2:20] if jfif else b""  # instead of the Adobe marker
    # R, G, B become 1, 2, 3 in the headers of the frame and of its scan
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xc3", 10, 3), (b"\xff\xda", 5, 2)):
        if (at := frame.find(marker)) >= 0:
            frame[at + first : at + first + 3 * step : step] = b"\1\2\3"
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": said, "PlanarConfiguration": 0}
    found = read_dicom(written(values, syntax, bytes(frame), **tags))
    assert np.abs(found.astype(int) - values).mean() < 2


def test_a_photograph_in_a_dicom_is_decoded_small_like_any_other() -> None:
    values = np.asarray(Image.fromarray(coloured()).resize((640, 480)))
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}
    data = written(values, JPEGBaseline8Bit, as_jpeg(values), PlanarConfiguration=0, **tags)
    how = Preprocessing(size_px=64)
    small = read_dicom(data, at_least_px=how.needs_px)
    assert small.shape == (120, 160, 3)
    assert np.abs(how.apply(small).astype(int) - how.apply(read_dicom(data))).mean() < 1


@pytest.mark.fault
@pytest.mark.parametrize("name", ENCODERS)
def test_a_frame_of_another_size_than_its_header_reaches_no_decoder(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 63."""
    syntax, encoded, _ = ENCODERS[name]
    monkeypatch.setattr(pydicom.pixels.decoders.base.Decoder, "as_array", None)
    frame = encoded(picture(90, 71))
    with pytest.raises(
        ImageError, match="the compressed frame has 71 x 90 pixels, but the header says 70"
    ):
        read_dicom(written(picture(90, 70), syntax, frame))


@pytest.mark.fault
def test_a_frame_cut_into_countless_tiles_is_refused() -> None:
    """Row 63; a decoder keeps kilobytes a tile."""
    frame = bytearray(j2k(picture()))
    frame[24:32] = struct.pack(">II", 1, 1)
    assert codestream_of(bytes(frame)).tiles == 90 * 70
    with pytest.raises(ImageError, match="6300 tiles"):
        read_dicom(written(picture(), JPEG2000Lossless, bytes(frame)))


@pytest.mark.parametrize("encoded", [lossless(picture(), 1), j2k(picture())])
def test_a_frame_that_ends_in_its_header_is_refused(encoded: bytes) -> None:
    # up to the number of samples of a JPEG, and into the segment after SIZ of a JPEG 2000
    for end in range(encoded.find(b"\xff\xc3") + 9 if encoded[1] == 0xD8 else 60):
        with pytest.raises(ImageError, match=r"truncated|not JPEG"):
            codestream_of(encoded[:end])


@pytest.mark.fault
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("keep", [0.3, 0.95, 0.995])
@pytest.mark.parametrize("at_least_px", [None, 20])
def test_a_frame_that_breaks_off_is_refused(
    tmp_path: Path, name: str, keep: float, at_least_px: int | None
) -> None:
    """Row 34; libjpeg alone goes on with grey."""
    syntax, encoded, _ = ENCODERS[name]
    frame = encoded(picture(96, 80))
    cut = frame[: int(len(frame) * keep) // 2 * 2]
    (tmp_path / "x.dcm").write_bytes(written(picture(96, 80), syntax, cut))
    with pytest.raises(ImageError):
        read_pixels(tmp_path, "x.dcm", at_least_px=at_least_px)


@pytest.mark.fault
@pytest.mark.parametrize("pad", [b"", b"\0", b"\x80"])
def test_rle_is_the_same_with_and_without_the_fast_decoder(
    pad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 57; a segment may end with a padding byte (PS3.5 G.3.1)."""
    packed = bytes([0x02, 7, 8, 9, 0xFE, 5, 0x00, 1]) + pad
    assert bytes(decoders._segment(packed, 7)[:7]) == bytes([7, 8, 9, 5, 5, 5, 1])
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert bytes(decoders._segment(packed, 7)[:7]) == bytes([7, 8, 9, 5, 5, 5, 1])


@pytest.mark.fault
def test_a_damaged_rle_frame_is_refused() -> None:
    """Row 64."""
    frame = get_frame(
        pydicom.dcmread(BytesIO(written(picture(), RLELossless))).PixelData, 0, number_of_frames=1
    )
    for cut, said in [
        (frame[:50], "ends inside its header"),
        (struct.pack("<I", 3) + frame[4:], "has 3 segments, but needs 2"),
        (frame[:8] + struct.pack("<I", 1 << 30) + frame[12:], "beyond its end"),
        (frame[:2000], "truncated|beyond its end"),
    ]:
        with pytest.raises(ImageError, match=said):
            read_dicom(written(picture(), RLELossless, cut))


@pytest.mark.fault
def test_a_decoder_that_panics_costs_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 32; a panic in Rust comes as a BaseException that is no Exception."""

    class PanicException(BaseException):
        pass

    def panic(*_: Any) -> None:
        raise PanicException("index out of bounds: the len is 3")

    monkeypatch.setattr(decoders, "unpacked", panic)
    (tmp_path / "x.dcm").write_bytes(written(picture(), RLELossless))
    with pytest.raises(ImageError, match="index out of bounds"):
        read_pixels(tmp_path, "x.dcm")


@pytest.mark.fault
@pytest.mark.parametrize("without", [(), ("imagecodecs",)])
def test_an_rle_bomb_is_refused_in_little_memory(tmp_path: Path, without: tuple[str, ...]) -> None:
    """Row 64; 25 MB of runs would be 1.6 GB."""
    runs = b"\x81\0" * (25_000_000 // 4)
    frame = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + runs + runs
    (tmp_path / "x.dcm").write_bytes(written(picture(), RLELossless, frame))
    said, mib = read_apart(tmp_path / "x.dcm", *without)
    assert "has more than the 6300 bytes" in said
    assert mib < 300


@pytest.mark.fault
def test_a_deflate_bomb_is_refused_in_little_memory(tmp_path: Path) -> None:
    """Row 64; 1 MB that would be 1 GB."""
    plain = written(picture())
    start = plain.index(b"\x08\0\x16\0UI")
    packer = zlib.compressobj(9, wbits=-15)
    zeros = (packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)) * 64
    head = plain[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    # the length of the UID is two more
    at = head.index(b"\x02\0\x10\0UI")
    head = head[: at + 6] + b"\x16\0" + head[at + 8 :]
    (tmp_path / "x.dcm").write_bytes(head + zeros)
    said, mib = read_apart(tmp_path / "x.dcm")
    assert f"larger than the limit of {MAX_INFLATED_BYTES >> 20} MiB" in said
    assert mib < 300


@pytest.mark.fault
def test_a_blank_frame_of_few_bytes_is_refused_in_little_memory(tmp_path: Path) -> None:
    """Row 63; both headers agree, on 20 megapixels in 1 kB."""
    values = np.full((5000, 4000), 7, np.uint16)
    frame = j2k(values)
    tags = {"Rows": 5000, "Columns": 4000}
    (tmp_path / "x.dcm").write_bytes(written(picture(), JPEG2000Lossless, frame, **tags))
    said, mib = read_apart(tmp_path / "x.dcm")
    assert "no photograph or radiograph compresses so well" in said
    assert mib < 100


@pytest.mark.fault
def test_a_bomb_in_a_header_is_refused_in_little_memory(tmp_path: Path) -> None:
    """Row 63."""
    frame = bytearray(j2k(picture()))
    frame[8:16] = struct.pack(">II", 65535, 65535)
    frame[24:32] = struct.pack(">II", 65535, 65535)
    tags = {"Rows": 65535, "Columns": 65535}
    for name, file in {
        "both": written(picture(), JPEG2000Lossless, bytes(frame), **tags),
        "frame": written(picture(), JPEG2000Lossless, bytes(frame)),
    }.items():
        (tmp_path / name).write_bytes(file)
        said, mib = read_apart(tmp_path / name)
        assert "65535 x 65535" in said
        assert mib < 200


@pytest.mark.parametrize("options", [{}, {"reversible": False, "level": 60}])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
def test_a_lower_level_of_jpeg_2000_shows_what_full_decoding_shows(
    options: dict[str, Any], syntax: str
) -> None:
    """Within 1/255 on average at the size that a model sees, edges included."""
    values = picture(512, 576, period_px=220)
    values[:, 190:194] = 4095
    values[170:, :190] //= 2
    ht = syntax == HTJ2KLossless
    frame = bytes(imagecodecs.htj2k_encode(values)) if ht else j2k(values, **options)
    full = read_dicom(written(values, syntax, frame))
    fewer = read_dicom(written(values, syntax, frame), at_least_px=128)
    assert fewer.shape == (128, 144, 1)
    small = Preprocessing(size_px=64, channels=1, bits=16)
    difference = small.apply(full).astype(float) - small.apply(fewer)
    assert np.abs(difference).mean() / 65535 < 1 / 255
    assert abs(difference.mean()) / 65535 < 0.1 / 255


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_a_lower_level_has_every_part_in_its_place(halvings: int) -> None:
    values, n = picture(512, 600, period_px=220), 2**halvings
    frame = j2k(values)
    level = decoders.level_of(frame, codestream_of(frame), halvings)
    found = decoders.centred(level, halvings)
    means = values.reshape(512 // n, n, 600 // n, n).mean(axis=(1, 3))
    difference = found - means
    assert np.abs(difference).mean() < 4095 / 255
    # a shift by half a pixel would stand here, times the slope
    slope = np.gradient(means, axis=1)
    assert abs((difference * slope).sum() / (slope**2).sum()) < 0.05


def sharp(height: int, width: int) -> np.ndarray:
    values = picture(height, width, period_px=250)
    values[:, width // 3 : width // 3 + 5] = 4095
    values[height // 2 :] //= 2
    return values


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize(
    ("height", "width"), [(512, 512), (512, 264), (264, 512), (500, 600), (471, 513)]
)
def test_less_than_full_size_shows_the_same_in_every_fit(height: int, width: int, fit: Fit) -> None:
    """Within 0.0015 of full scale by means over squares (0.0005 of real radiographs at 256 px), and
    1/255 by a lower level."""
    values = sharp(height, width)
    for data, most in [
        (written(values), 0.0015),
        (written(values, JPEG2000Lossless, j2k(values)), 1 / 255),
    ]:
        for size_px in (20, 32, 60):
            how = Preprocessing(size_px=size_px, channels=1, bits=16, fit=fit)
            fewer = how.apply(read_dicom(data, at_least_px=how.needs_px))
            difference = np.abs(how.apply(read_dicom(data)).astype(float) - fewer)
            assert difference.mean() / 65535 < most


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelPaddingValue": 0},
        {"WindowWidth": None},
        {"WindowCenter": None},
        {"WindowWidth": 0.5, "VOILUTFunction": "LINEAR"},
    ],
)
def test_levels_are_left_alone_where_they_would_show_another_picture(tags: dict[str, Any]) -> None:
    """Padding would mix with pixels, and percentiles depend on the noise."""
    values = picture(256, 256)
    data = written(values, JPEG2000Lossless, j2k(values), **tags)
    assert np.array_equal(read_dicom(data, at_least_px=64), reduced(read_dicom(data), 64))


def test_a_smaller_image_is_the_mean_over_squares() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (64, 48, 1)).astype(np.uint16)
    for at_least, n in [(None, 1), (25, 1), (24, 2), (13, 2), (12, 4), (6, 8), (1, 8)]:
        found = reduced(values, at_least)
        means = values.reshape(64 // n, n, 48 // n, n).mean(axis=(1, 3))
        assert np.abs(found[:, :, 0] - means).max() <= 0.5
    # a cut square at the edge would move the rest, and half a square beside a centred crop it
    assert reduced(values[:, :40], 1).shape == (16, 10, 1)
    assert reduced(values[:61], 1).shape == (61, 48, 1)


@pytest.mark.fault
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_of_several_frames_the_policy_chooses(syntax: str) -> None:
    """Row 56."""
    values = np.stack([picture() // n for n in (1, 2, 3, 4)])
    if syntax == RLELossless:
        whole = (pydicom.dcmread(BytesIO(written(v, RLELossless))) for v in values)
        frames = [get_frame(d.PixelData, 0, number_of_frames=1) for d in whole]
        data = written(values[0], syntax, *frames, NumberOfFrames=4)
    else:
        data = written(values[0], PixelData=values.tobytes(), NumberOfFrames=4)
    with pytest.raises(ImageError, match=r"4 frames in one file.*data\.frames to first or middle"):
        read_dicom(data)
    for policy, index in [(Frames.FIRST, 0), (Frames.MIDDLE, 2)]:
        found = read_dicom(data, frames=policy)
        assert np.array_equal(found, read_dicom(written(values[index])))


@pytest.mark.fault
def test_extra_bytes_are_refused_unless_a_frame_was_chosen() -> None:
    """Row 56."""
    twice = written(picture(), PixelData=picture().tobytes() * 2)
    with pytest.raises(ImageError, match="there are more frames"):
        read_dicom(twice)
    assert np.array_equal(read_dicom(twice, frames=Frames.FIRST), read_dicom(written(picture())))
    for syntax, encoded in ((JPEGLSLossless, imagecodecs.jpegls_encode), (JPEG2000Lossless, j2k)):
        frames = [bytes(encoded(picture() // n)) for n in (1, 2)]
        for has_offsets in (True, False):
            tags = {"PixelData": encapsulate(frames, has_bot=has_offsets)}
            data = written(picture(), syntax, *frames, **tags)
            with pytest.raises(ImageError, match="2 compressed frames, but the header says one"):
                read_dicom(data)
            one = read_dicom(written(picture()))
            assert np.array_equal(read_dicom(data, frames=Frames.FIRST), one)
            tags["PixelData"] = encapsulate(frames[:1], fragments_per_frame=4, has_bot=has_offsets)
            assert np.array_equal(read_dicom(written(picture(), syntax, *frames, **tags)), one)
    for count in (10**9, -1):
        with pytest.raises(ImageError, match=r"truncated|so there is no image"):
            read_dicom(written(picture(), NumberOfFrames=count), frames=Frames.FIRST)


def test_the_window_of_a_frame_stands_in_its_functional_group() -> None:
    """PS3.3 C.7.6.16.2.9 and C.7.6.16.2.10, as enhanced CT and MR have them."""
    groups = []
    for center in (1000, 3000):
        window, rescale, group = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 500
        window.VOILUTFunction = "LINEAR_EXACT"
        rescale.RescaleSlope, rescale.RescaleIntercept = 2, -100
        group.FrameVOILUTSequence = [window]
        group.PixelValueTransformationSequence = [rescale]
        groups.append(group)
    data = written(
        picture(),
        PixelData=picture().tobytes() * 2,
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=groups,
    )
    for policy, center in [(Frames.FIRST, 1000), (Frames.MIDDLE, 3000)]:
        wanted = ((picture() * 2.0 - 100 - center) / 500 + 0.5).clip(0, 1)
        found = read_dicom(data, frames=policy)[:, :, 0] / 65535
        assert np.abs(found - wanted).max() < 1e-4


def test_threads_read_what_one_reads(tmp_path: Path) -> None:
    for i, (name, (syntax, encoded, _)) in enumerate(ENCODERS.items()):
        assert name
        (tmp_path / f"{i}").write_bytes(written(picture(), syntax, encoded(picture())))
    names = [str(i) for i in range(len(ENCODERS))] * 6
    alone = [read_pixels(tmp_path, n) for n in names]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: read_pixels(tmp_path, n), names))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.fault
def test_files_with_flipped_bytes_are_read_or_refused() -> None:
    """Rows 34, 37 and 65; the first 630 of the cases that `scripts/fuzz_readers.py` makes."""
    done = subprocess.run([sys.executable, str(FUZZ), "630"], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["bad"] == []
    assert done.returncode == 0
    assert len(found["kinds"]) == 21
    assert all(sum(counts.values()) == 30 for counts in found["kinds"].values())
