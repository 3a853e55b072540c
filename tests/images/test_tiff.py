"""TIFF in the forms that pillow misreads, does not read, or reads rightly."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.images import read_pixels
from medcnn.system.errors import ImageError
from tests.images.apart import read_apart

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 8, 16
GREY = RNG.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
COLOUR = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
FORMS = {1: "B", 3: "H", 4: "I"}


def tiff(*strips: bytes, order: str = "<", thumb: bytes = b"", **tags: int | list[int]) -> bytes:
    """A TIFF 6.0 of one page, and of a reduced one behind it, with tags such as t258=[8, 8, 8]."""
    body, pages = bytearray(b"\0" * 8), [(strips, {})]
    if thumb:
        pages.append(((thumb,), {"t254": 1, "t256": 2, "t257": 2}))
    link = 4
    for parts, own in pages:
        offsets = []
        for part in parts:
            offsets.append(len(body))
            body += part + b"\0" * (len(part) % 2)
        given = {"t256": WIDTH, "t257": HEIGHT, "t258": 8, "t259": 1, "t262": 1, "t277": 1}
        given |= {"t278": HEIGHT, **tags, **own}
        given |= {"t273": offsets, "t279": [len(part) for part in parts]}
        at, entries, far = len(body), bytearray(), bytearray()
        end = at + 2 + 12 * len(given) + 4
        for name in sorted(given, key=lambda n: int(n[1:])):
            found = given[name]
            values = found if isinstance(found, list) else [found]
            kind = 4 if int(name[1:]) in (256, 257, 273, 278, 279) else 3
            raw = struct.pack(f"{order}{len(values)}{FORMS[kind]}", *values)
            if len(raw) > 4:
                far, raw = far + raw, struct.pack(f"{order}I", end + len(far))
            entries += struct.pack(f"{order}HHI", int(name[1:]), kind, len(values))
            entries += raw.ljust(4, b"\0")
        body[link : link + 4] = struct.pack(f"{order}I", at)
        body += struct.pack(f"{order}H", len(given)) + entries + b"\0" * 4 + far
        link = end - 4
        body += b"\0" * (len(body) % 2)
    body[:4] = b"II*\0" if order == "<" else b"MM\0*"
    return bytes(body)


def seen(folder: Path, data: bytes) -> Any:
    (folder / "x.tif").write_bytes(data)
    return read_pixels(folder, "x.tif")


@pytest.mark.fault
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("planes", [False, True])
def test_sixteen_bit_colours_are_read_alike_however_they_lie(
    tmp_path: Path, order: str, packed: bool, planes: bool
) -> None:
    """Row A8: raw planes of 16 bits are what packed ones are, and never noise."""
    stored = COLOUR.astype(f"{order}u2")
    parts = [stored[:, :, c] for c in range(3)] if planes else [stored]
    strips = [zlib.compress(p.tobytes()) if packed else p.tobytes() for p in parts]
    tags = {"t258": [16] * 3, "t262": 2, "t277": 3, "t284": 1 + planes, "t259": 8 if packed else 1}
    assert np.array_equal(seen(tmp_path, tiff(*strips, order=order, **tags)), COLOUR >> 8)


@pytest.mark.fault
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_signed_samples_are_refused_and_named(
    tmp_path: Path, bits: int, samples: int, packed: bool
) -> None:
    """Row A10: -72 is no 184; also where one sample of three alone is signed."""
    raw = RNG.bytes(HEIGHT * WIDTH * samples * bits // 8)
    formats = [1] * (samples - 1) + [2]
    tags = {"t258": [bits] * samples, "t277": samples, "t262": 2 if samples == 3 else 1}
    data = tiff(
        zlib.compress(raw) if packed else raw, t259=8 if packed else 1, t339=formats, **tags
    )
    with pytest.raises(ImageError, match="zero and full scale of signed integers"):
        seen(tmp_path, data)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"t258": [5, 6, 5], "t277": 3, "t262": 2}, "samples of different kinds"),
        ({"t258": [8, 8, 16], "t277": 3, "t262": 2}, "samples of different kinds"),
        ({"t258": 64, "t339": 6}, "complex: cannot be read"),
        ({"t258": 32}, "the full scale of 32-bit integers"),
        ({"t262": 8, "t258": [8] * 3, "t277": 3}, "CIE L"),
        ({"t259": 50001}, "compressed as WebP: cannot be read"),
        ({"t256": 0}, "so there is no image"),
        ({"t277": 900}, "900 samples per pixel"),
    ],
)
def test_what_is_not_read_is_named_for_what_it_is(
    tmp_path: Path, tags: dict[str, Any], said: str
) -> None:
    with pytest.raises(ImageError, match=said):
        seen(tmp_path, tiff(RNG.bytes(2048), **tags))


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_floats_of_any_width_are_read_where_they_lie_in_0_to_1(
    tmp_path: Path, kind: str, order: str, white_is_zero: bool
) -> None:
    unit = (GREY / 65535).astype(f"{order}{kind}")
    tags = {"t258": 8 * unit.itemsize, "t339": 3, "t262": 0 if white_is_zero else 1}
    pixels = seen(tmp_path, tiff(unit.tobytes(), order=order, **tags))[:, :, 0]
    wanted = 65535 - GREY.astype(int) if white_is_zero else GREY.astype(int)
    assert np.abs(pixels - wanted).max() <= (32 if kind == "f2" else 1)
    with pytest.raises(ImageError, match=r"full scale .*is not known"):
        seen(tmp_path, tiff((unit * 3).tobytes(), order=order, **tags))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_of_any_depth_spans_the_full_range(
    tmp_path: Path, bits: int, white_is_zero: bool
) -> None:
    levels = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
    rows = [np.array([int(b) for v in row for b in f"{v:0{bits}b}"]) for row in levels]
    raw = b"".join(np.packbits(row).tobytes() for row in rows)
    pixels = seen(tmp_path, tiff(raw, t258=bits, t262=0 if white_is_zero else 1))[:, :, 0]
    full = 255 if bits <= 8 else 65535
    wanted = np.rint(levels * full / (2**bits - 1))
    assert np.abs(pixels - (full - wanted if white_is_zero else wanted)).max() <= 1


@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planes", [False, True])
def test_grey_with_alpha_keeps_its_depth_and_lies_over_black(
    tmp_path: Path, extra: int, bits: int, planes: bool
) -> None:
    full = 2**bits - 1
    grey, alpha = (v.astype(np.uint32) >> (16 - bits) for v in (GREY, GREY[::-1]))
    over = (grey * alpha + full // 2) // full
    both = [(over if extra == 1 else grey).astype(f"<u{bits // 8}"), alpha.astype(f"<u{bits // 8}")]
    strips = [p.tobytes() for p in both] if planes else [np.stack(both, axis=2).tobytes()]
    tags = {"t258": [bits] * 2, "t277": 2, "t338": extra, "t284": 1 + planes}
    pixels = seen(tmp_path, tiff(*strips, **tags))
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.array_equal(pixels[:, :, 0], over)


def test_a_reduced_copy_of_the_image_is_no_second_page(tmp_path: Path) -> None:
    raw = GREY.astype("<u2").tobytes()
    small = np.zeros(4, np.uint16).tobytes()
    assert np.array_equal(seen(tmp_path, tiff(raw, t258=16, thumb=small))[:, :, 0], GREY)
    both = bytearray(tiff(raw, t258=16, thumb=small))
    at = both.index(struct.pack("<HHI", 254, 3, 1))
    both[at + 8] = 0  # two whole pages
    with pytest.raises(ImageError, match="contains 2 pages"):
        seen(tmp_path, bytes(both))
    with pytest.raises(ImageError, match="only a reduced copy"):
        seen(tmp_path, tiff(raw, t258=16, t254=1))


def test_jpeg_2000_in_a_tiff_is_read_and_held_to_the_size_of_its_page(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    eight = (COLOUR >> 8).astype(np.uint8)
    tags = {"t258": [8] * 3, "t277": 3, "t262": 2, "t259": 34712}
    sound = imagecodecs.jpeg2k_encode(eight, level=0, reversible=True, codecformat="j2k")
    assert np.array_equal(seen(tmp_path, tiff(sound, **tags)), eight)
    large = imagecodecs.jpeg2k_encode(np.zeros((3000, 3000, 3), np.uint8), codecformat="j2k")
    with pytest.raises(ImageError, match="has 3000 x 3000 pixels"):
        seen(tmp_path, tiff(large, **tags))


@pytest.mark.parametrize("order", "<>")
def test_a_strip_that_is_too_short_is_no_image(tmp_path: Path, order: str) -> None:
    raw = GREY.astype(f"{order}u2").tobytes()
    for strip, packed in ((raw[:-2], 1), (zlib.compress(raw)[:-40], 8)):
        with pytest.raises(ImageError):
            seen(tmp_path, tiff(strip, order=order, t258=16, t262=0, t259=packed))
    whole = tiff(raw, order=order, t258=16)
    for length in (5, 9, len(whole) // 2, len(whole) - 30):
        with pytest.raises(ImageError):
            seen(tmp_path, whole[:length])


def test_a_tiff_for_which_nothing_is_installed_names_what_to_install(tmp_path: Path) -> None:
    planes = [COLOUR[:, :, c].tobytes() for c in range(3)]
    (tmp_path / "x.tif").write_bytes(tiff(*planes, t258=[16] * 3, t262=2, t277=3, t284=2))
    said, _ = read_apart(tmp_path / "x.tif", "tifffile")
    assert "a TIFF of 3 x 16 bits, unsigned, in separate planes" in said
    assert "'.[dicom]'" in said
