"""Codestreams whose samples are wider, narrower or of another sign than their header says."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import openjpeg.utils
import pydicom
import pytest
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medcnn.images import decoders
from medcnn.images.dicom import read_dicom
from medcnn.images.said import say_once
from tests.images.test_decoders import written

RNG = np.random.default_rng(0)


def stripes(low: int, high: int, kind: str = "u2") -> np.ndarray:
    """[64, 96]: both ends of the range side by side, and noise between, where coding overshoots."""
    values = RNG.integers(low, high + 1, (64, 96))
    values[:, ::8], values[:, 4::8] = low, high
    values[:, 1::8], values[:, 5::8] = low, high
    return values.astype(kind)


def encoded_j2k(values: np.ndarray, bits: int, **options: Any) -> bytes:
    told = {"bits_stored": bits, "photometric_interpretation": 2, **options}
    return bytes(openjpeg.utils.encode_array(values, **told))


def lossy_j2k(values: np.ndarray, bits: int, signed: bool | None = None) -> bytes:
    signed = values.dtype.kind == "i" if signed is None else signed
    given = values.view(f"{'i' if signed else 'u'}{values.itemsize}")
    return encoded_j2k(given, bits, signal_noise_ratios=[56 if bits > 13 else 40])


def shown(values: np.ndarray, syntax: str, frame: bytes, bits: int) -> np.ndarray:
    """[H, W] stored values that were shown; the window shows all of BitsStored."""
    signed = values.dtype.kind == "i"
    low = -(2 ** (bits - 1)) if signed else 0
    tags = {
        "BitsAllocated": 8 * values.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        "WindowCenter": low + (2**bits - 1) / 2,
        "WindowWidth": 2**bits - 1,
    }
    pixels = read_dicom(written(values, syntax, frame, **tags))[:, :, 0]
    return np.rint(pixels / 65535 * (2**bits - 1)).astype(int) + low


WIDER: dict[str, tuple[str, int, str, Callable[[np.ndarray], bytes]]] = {
    "JPEG 2000": (JPEG2000, 12, "u2", lambda v: lossy_j2k(v, 16)),
    "JPEG 2000, signed": (JPEG2000, 12, "i2", lambda v: lossy_j2k(v, 16)),
    "JPEG 2000, signed samples of an unsigned header": (
        JPEG2000,
        12,
        "u2",
        lambda v: lossy_j2k(v, 16, signed=True),
    ),
    "JPEG 2000 of 13 bits": (JPEG2000, 12, "u2", lambda v: lossy_j2k(v, 13)),
    "JPEG 2000 of 8 bits": (JPEG2000, 7, "u1", lambda v: lossy_j2k(v, 8)),
    "HTJ2K": (HTJ2K, 12, "u2", lambda v: lossy_htj2k(v)),
    "JPEG-LS": (JPEGLSNearLossless, 12, "u2", lambda v: bytes(imagecodecs.jpegls_encode(v, 9))),
    "JPEG-LS, signed": (
        JPEGLSNearLossless,
        12,
        "i2",
        lambda v: bytes(imagecodecs.jpegls_encode(v.view("u2"), 9)),
    ),
    "JPEG extended": (
        JPEGExtended12Bit,
        10,
        "u2",
        lambda v: bytes(imagecodecs.jpeg8_encode(v, level=90, bitspersample=12)),
    ),
    "JPEG baseline": (
        JPEGBaseline8Bit,
        7,
        "u1",
        lambda v: bytes(imagecodecs.jpeg8_encode(v, level=90)),
    ),
}


def lossy_htj2k(values: np.ndarray) -> bytes:
    return bytes(imagecodecs.htj2k_encode(values, level=0.002, reversible=False))


@pytest.mark.fault
@pytest.mark.parametrize("name", WIDER)
def test_white_stays_white_where_lossy_samples_go_beyond_bits_stored(name: str) -> None:
    """Row A9: PS3.5 8.1.1 masks native cells; what a decoder overshoots by is clipped."""
    syntax, bits, kind, encoded = WIDER[name]
    low = -(2 ** (bits - 1)) if kind[0] == "i" else 0
    values = stripes(low, low + 2**bits - 1, kind)
    difference = np.abs(shown(values, syntax, encoded(values), bits) - values.astype(int))
    assert difference.max() < 0.25 * 2**bits
    assert difference.mean() < 0.04 * 2**bits
    if name != "JPEG 2000 of 8 bits":
        assert difference.max() > 0  # it was lossy


ALIKE = {
    JPEG2000: (JPEG2000Lossless, JPEG2000),
    HTJ2K: (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
    JPEGLSNearLossless: (JPEGLSLossless, JPEGLSNearLossless),
    JPEGExtended12Bit: (JPEGLossless, JPEGLosslessSV1, JPEGExtended12Bit),
}
NARROW: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "JPEG 2000": (JPEG2000, lambda v: lossy_j2k(v, 16)),
    "JPEG 2000 of 13 bits": (JPEG2000, lambda v: lossy_j2k(v, 13)),
    "HTJ2K": (HTJ2K, lambda v: lossy_htj2k(v)),
    "JPEG-LS": (JPEGLSNearLossless, lambda v: bytes(imagecodecs.jpegls_encode(v, 9))),
    "JPEG extended": (
        JPEGExtended12Bit,
        lambda v: bytes(imagecodecs.jpeg8_encode(v, level=95, bitspersample=12)),
    ),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("signed", [False, True])
def test_a_lossy_codestream_is_lossy_whatever_syntax_it_is_given(name: str, signed: bool) -> None:
    """Row A9: the codestream says so, and values above the highest are clipped, not negative."""
    of, encoded = NARROW[name]
    stored = 10 if name == "JPEG extended" else 12
    values = stripes(0, 2 ** (stored - 1) - 1, "i2")  # the upper half of signed values
    values[1::2] = values[::2]
    kind = "i2" if signed else "u2"
    bits = stored if signed else stored - 1
    for syntax in ALIKE[of]:
        found = shown(values.astype(kind), syntax, encoded(values.view("u2")), bits)
        difference = np.abs(found - values)
        assert difference.max() < 0.125 * 2**stored, syntax
        assert difference.max() > 0, "or it was not lossy"


@pytest.mark.fault
@pytest.mark.parametrize("name", [n for n in WIDER if n.startswith("JPEG 2000")])
def test_white_stays_white_without_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row A9: pillow lifts signed samples above 0."""
    monkeypatch.setattr(decoders, "ALLOWED", ("pillow",))
    test_white_stays_white_where_lossy_samples_go_beyond_bits_stored(name)


LOSSLESS: dict[str, tuple[str, Callable[[np.ndarray, int], bytes]]] = {
    "JPEG 2000": (JPEG2000Lossless, encoded_j2k),
    "HTJ2K": (HTJ2KLossless, lambda v, bits: bytes(imagecodecs.htj2k_encode(v))),
    "JPEG-LS": (JPEGLSLossless, lambda v, bits: bytes(imagecodecs.jpegls_encode(v.view("u2")))),
    "JPEG lossless": (
        JPEGLossless,
        lambda v, bits: bytes(
            imagecodecs.jpeg8_encode(v.view("u2"), lossless=True, predictor=1, bitspersample=bits)
        ),
    ),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("kind", ["u2", "i2"])
@pytest.mark.parametrize("coded", [12, 16])
def test_lossless_samples_are_what_went_in(name: str, kind: str, coded: int) -> None:
    """Row A9: with as many bits as are stored, or more; signed as the header says."""
    syntax, encoded = LOSSLESS[name]
    if coded == 12 and name in ("HTJ2K", "JPEG-LS"):
        coded = 16  # their encoder takes whole bytes
    low = -2048 if kind == "i2" else 0
    values = stripes(low, low + 4095, kind)
    given = values
    if coded == 12 and kind == "i2" and name == "JPEG lossless":
        given = (values.view("u2") & 0xFFF).view("i2")
    assert np.array_equal(shown(values, syntax, encoded(given, coded), 12), values)


@pytest.mark.fault
@pytest.mark.parametrize("name", LOSSLESS)
def test_twelve_bits_of_a_sign_are_understood_in_sixteen(name: str) -> None:
    """Row A9: two's complement in the stored bits alone, the other ones 0 (PS3.5 8.1.1)."""
    syntax, encoded = LOSSLESS[name]
    values = stripes(-2048, 2047, "i2")
    patterns = values.view("u2") & np.uint16(0xFFF)
    assert np.array_equal(shown(values, syntax, encoded(patterns, 16), 12), values)


@pytest.mark.fault
def test_lossless_values_beyond_bits_stored_are_white_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row A9."""
    say_once.cache_clear()
    values = stripes(0, 4095)
    values[0, :4] = 4096, 5000, 40000, 65535
    found = shown(values, JPEG2000Lossless, encoded_j2k(values, 16), 12)
    assert found[0, :4].tolist() == [4095] * 4
    assert np.array_equal(found[1:], values[1:])
    assert caplog.text.count("exceed its BitsStored") == 1


@pytest.mark.fault
def test_an_overlay_that_the_header_names_is_not_part_of_a_compressed_pixel() -> None:
    """Row A9; PS3.5 8.1.2, retired: an overlay in a bit above those stored."""
    values = stripes(0, 4095)
    drawn = values | (RNG.random(values.shape) < 0.2).astype("u2") << np.uint16(12)
    frame = encoded_j2k(drawn, 16)
    plain = read_dicom(written(values))
    dataset = pydicom.dcmread(BytesIO(written(values, JPEG2000Lossless, frame)))
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    buffer = BytesIO()
    dataset.save_as(buffer)
    assert np.array_equal(read_dicom(buffer.getvalue()), plain)


@pytest.mark.fault
def test_native_cells_and_run_lengths_are_masked_as_before() -> None:
    """Row A9; PS3.5 8.1.1."""
    values = stripes(0, 4095)
    junk = values | np.uint16(0xA000)
    plain = read_dicom(written(values))
    assert np.array_equal(read_dicom(written(junk)), plain)
    assert np.array_equal(read_dicom(written(junk, RLELossless)), plain)


@pytest.mark.fault
@pytest.mark.parametrize(("coded", "stored"), [(8, 16), (12, 16), (16, 12), (8, 7)])
def test_colours_fill_their_range_whatever_the_codestream_says(coded: int, stored: int) -> None:
    """Row A9: white is white, and what goes beyond BitsStored does not wrap to black."""
    most = 2 ** min(coded, stored) - 1
    levels = np.linspace(0, 1, 96)[None, :, None] * np.ones((64, 1, 3))
    values = np.rint(levels * most).astype("u1" if coded == 8 else "u2")
    frame = bytes(
        openjpeg.utils.encode_array(values, bits_stored=coded, photometric_interpretation=1)
    )
    data = written(
        values,
        JPEG2000Lossless,
        frame,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsAllocated=8 if stored <= 8 else 16,
        BitsStored=stored,
        HighBit=stored - 1,
    )
    assert np.abs(read_dicom(data) - levels * 255).max() <= 1.5
