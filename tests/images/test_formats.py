"""Formats beside JPEG, PNG, TIFF and BMP: those that are read, and those that are named."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.images import read_pixels
from medcnn.system.errors import ImageError
from tests.images.apart import read_apart

y, x = np.mgrid[0:48, 0:64]
GREY = ((np.sin(x / 9) + np.cos(y / 7)) * 63 + 127).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
DEEP = (GREY.astype(np.uint16) << 4) + 7  # 12 bits
BLANK = np.zeros((3000, 3000), np.uint8)


def seen(folder: Path, data: bytes) -> np.ndarray:
    (folder / "x.img").write_bytes(data)
    return read_pixels(folder, "x.img")


def pillow(array: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
    ],
)
def test_webp_avif_and_jpeg_2000_are_read(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    """Row B11."""
    pixels = seen(tmp_path, pillow(COLOUR, kind, **options))
    assert pixels.shape == COLOUR.shape
    assert np.abs(pixels.astype(int) - COLOUR).mean() < 2


@pytest.mark.fault
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_deep_and_lossless_jpeg_jpeg_ls_and_jpeg_2000_keep_their_depth(
    tmp_path: Path, bits: int
) -> None:
    """Row B11: each over the full range of its own depth."""
    codecs = pytest.importorskip("imagecodecs")
    stored = DEEP if bits == 12 else DEEP << 4 if bits == 16 else GREY
    wanted = stored * ((65535 if bits > 8 else 255) / (2**bits - 1))
    files = {
        "lossless": codecs.jpeg8_encode(stored, lossless=True, bitspersample=bits),
        "JPEG-LS": codecs.jpegls_encode(stored),
        "JPEG 2000": codecs.jpeg2k_encode(stored, level=0, bitspersample=bits),
    }
    if bits == 12:
        files["12 bits"] = codecs.jpeg8_encode(stored, level=100, bitspersample=12)
    for name, data in files.items():
        pixels = seen(tmp_path, data)
        assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16), name
        if name == "JPEG-LS" and bits == 12:
            continue  # its encoder says 16 bits of a uint16
        off = np.abs(pixels[:, :, 0] - wanted).max()
        assert off <= (65 if name == "12 bits" else 1), name
    with pytest.raises(ImageError, match="truncated"):
        seen(tmp_path, files["lossless"][:-200])


@pytest.mark.fault
def test_heic_is_read_through_its_extra_or_named(shared: Path, tmp_path: Path) -> None:
    """Row B11."""
    data = (shared.parent / "cases/images/IMG_0001.heic").read_bytes()
    pytest.importorskip("pi_heif")
    assert seen(tmp_path, data).shape == (128, 128, 3)
    said, _ = read_apart(tmp_path / "x.img", "pi_heif")
    assert "'.[heif]'" in said
    # its property `ispe` says 60,000 x 60,000
    at = data.index(b"ispe") + 8
    with pytest.raises(ImageError, match="more than the limit of 80 megapixels"):
        seen(tmp_path, data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :])


def with_size(data: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIC whose property `ispe` says another size."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


@pytest.mark.fault
@pytest.mark.parametrize("channels", [3, 4])
def test_an_avif_is_as_large_as_its_codestream_says(tmp_path: Path, channels: int) -> None:
    """Row 42: memory is taken by that word; and the picture would be scaled without one."""
    picture = np.tile(COLOUR, (3, 3, 2))[:131, :121, :channels]
    data = pillow(picture, "AVIF")
    assert seen(tmp_path, data).shape == (131, 121, 3)
    with pytest.raises(ImageError, match="a picture in it claims 121 x 131 pixels"):
        seen(tmp_path, with_size(data, 32, 32))


@pytest.mark.fault
def test_a_heic_is_as_large_as_its_codestream_says(shared: Path, tmp_path: Path) -> None:
    """Row 42."""
    data = (shared.parent / "cases/images/IMG_0001.heic").read_bytes()
    with pytest.raises(ImageError, match="a picture in it claims 128 x 128 pixels"):
        seen(tmp_path, with_size(data, 32, 32))


@pytest.mark.fault
def test_a_damaged_avif_ends_in_words_and_in_time(tmp_path: Path) -> None:
    """Row 65."""
    data = pillow(COLOUR, "AVIF")
    rng = np.random.default_rng(0)
    for _ in range(300):
        bent = bytearray(data)
        for at in rng.integers(0, 330, 3):
            bent[at] = rng.integers(256)
        with suppress(ImageError):
            seen(tmp_path, bytes(bent))


@pytest.mark.fault
@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
@pytest.mark.parametrize("turn", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_nifti_of_one_slice_is_hung_as_its_affine_says(
    tmp_path: Path, wrap: Callable[[bytes], bytes], turn: tuple[int, int]
) -> None:
    """Row B11: the patient's left is on the right of the image, whichever way the axes go."""
    nibabel = pytest.importorskip("nibabel")
    # x to the left and y to the back is how the image lies
    stored = GREY.T[:: turn[0], :: turn[1], None]
    image = nibabel.Nifti1Image(stored, np.diag([-turn[0], -turn[1], 1, 1]))
    assert np.array_equal(seen(tmp_path, wrap(image.to_bytes()))[:, :, 0], GREY)
    (tmp_path / "y.nii").write_bytes(image.to_bytes())
    said, _ = read_apart(tmp_path / "y.nii", "nibabel")
    assert "'.[nifti]'" in said


@pytest.mark.fault
def test_a_nifti_volume_or_one_of_unknown_scale_is_refused(tmp_path: Path) -> None:
    """Row B11."""
    nibabel = pytest.importorskip("nibabel")
    for array, said in (
        (np.zeros((4, 5, 6), np.uint8), "a NIfTI volume of 4 x 5 x 6"),
        (np.full((4, 5), -9, np.int16), "full scale"),
        (np.full((4, 5), 9, np.float32), "full scale"),
    ):
        with pytest.raises(ImageError, match=said):
            seen(tmp_path, nibabel.Nifti1Image(array, np.eye(4)).to_bytes())
    sound = nibabel.Nifti1Image(DEEP.astype(np.int16), np.eye(4)).to_bytes()
    assert seen(tmp_path, sound).max() == DEEP.max()
    for data in (sound[:200], sound[:400], gzip.compress(sound)[:-30]):
        with pytest.raises(ImageError):
            seen(tmp_path, data)


def webp_of(width: int, height: int) -> bytes:
    canvas = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + canvas + (height - 1).to_bytes(3, "little")
    body += b"\0" * 60
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["webp", "avif", "jp2", "jls", "nii.gz"])
def test_a_bomb_of_a_new_format_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    """Rows 42, B11: before a decoder takes memory for it."""
    if kind == "webp":
        data = webp_of(16_383, 16_383)
    elif kind == "avif":
        data = pillow(GREY, "AVIF")
        at = data.index(b"ispe") + 8
        data = data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :]
    elif kind == "jp2":
        data = bytearray(pillow(GREY, "JPEG2000", no_jp2=True))
        data[8:16] = struct.pack(">II", 60_000, 60_000)
        data[24:32] = struct.pack(">II", 60_000, 60_000)
    elif kind == "jls":
        data = b"\xff\xd8\xff\xf7\0\x0b\x08" + struct.pack(">HH", 60_000, 60_000)
        data += b"\1\1\x11\0\xff\xda" + bytes(40) + b"\xff\xd9"
    else:
        nibabel = pytest.importorskip("nibabel")
        whole = bytearray(nibabel.Nifti1Image(GREY, np.eye(4)).to_bytes())
        whole[42:46] = struct.pack("<hh", 30_000, 30_000)
        data = gzip.compress(bytes(whole) + bytes(1 << 20))
    (tmp_path / "x.img").write_bytes(bytes(data))
    said, mib = read_apart(tmp_path / "x.img")
    assert "more than the limit of 80 megapixels" in said
    assert mib < 120


@pytest.mark.fault
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\x0a\x57\x40", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"ObjectType = Image\nNDims = 3\n", "MetaImage"),
        (b"NRRD0004\n", "NRRD"),
        (b"P5\n8 8\n255\n" + bytes(64), "PGM"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "a video"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (zlib.compress(b"x" * 99), "any other format that medcnn reads"),
        (b"\xff\xd8\xff\xc5\0\x0b\x08\0\x08\0\x08\1\1\x11\0", "hierarchical"),
    ],
)
def test_a_format_that_is_not_read_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """Row B11."""
    with pytest.raises(ImageError, match=said):
        seen(tmp_path, content)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_an_animation_is_refused_and_a_turned_photograph_is_upright(
    tmp_path: Path, kind: str
) -> None:
    frames = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1])]
    buffer = BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="an animation o"):
        seen(tmp_path, buffer.getvalue())
    exif = Image.Exif()
    exif[274] = 6
    assert seen(tmp_path, pillow(COLOUR, kind, exif=exif)).shape == (64, 48, 3)
