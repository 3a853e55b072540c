"""PNG where pillow loses depth, transparency or the whole file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from medcnn.images import read_pixels
from medcnn.images.png import SIGNATURE
from medcnn.system.errors import ImageError

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 65536, (6, 8), dtype=np.uint16)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: list[bytes], depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", 8, 6, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    between = b"".join(chunk(kind, content) for kind, content in chunks)
    return SIGNATURE + chunk(b"IHDR", header) + between + body + chunk(b"IEND", b"")


def seen(folder: Path, data: bytes) -> np.ndarray:
    (folder / "x.png").write_bytes(data)
    return read_pixels(folder, "x.png")


def test_grey_of_16_bits_with_alpha_keeps_16_bits_and_lies_over_black(tmp_path: Path) -> None:
    alpha = LEVELS[::-1]
    both = np.stack([LEVELS, alpha], axis=2).astype(">u2")
    pixels = seen(tmp_path, png([row.tobytes() for row in both], 16, 4))
    assert pixels.dtype == np.uint16
    wanted = np.rint(LEVELS.astype(float) * alpha / 65535)
    assert np.abs(pixels[:, :, 0] - wanted).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_grey_level_that_is_transparent_becomes_black_at_any_depth(
    tmp_path: Path, depth: int
) -> None:
    levels = LEVELS >> (16 - depth)
    clear = int(levels.max())
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in levels]
    else:
        bits = [[int(b) for v in row for b in f"{v:0{depth}b}"] for row in levels]
        rows = [np.packbits(row).tobytes() for row in bits]
    pixels = seen(tmp_path, png(rows, depth, 0, (b"tRNS", struct.pack(">H", clear))))[:, :, 0]
    full = 65535 if depth == 16 else 255
    wanted = levels * (full // (2**depth - 1))
    assert np.array_equal(pixels, np.where(levels == clear, 0, wanted))


def test_a_clear_colour_becomes_black_and_one_of_16_bits_is_refused(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    clear = struct.pack(">3H", *colours[2, 3])
    pixels = seen(tmp_path, png([row.tobytes() for row in colours], 8, 2, (b"tRNS", clear)))
    wanted = colours.copy()
    wanted[2, 3] = 0
    assert np.array_equal(pixels, wanted)
    deep = [row.astype(">u2").tobytes() for row in colours]
    with pytest.raises(ImageError, match="a transparent colour and 16 bits"):
        seen(tmp_path, png(deep, 16, 2, (b"tRNS", clear)))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_large_profile_or_text_is_no_damage(tmp_path: Path, kind: bytes) -> None:
    packed = zlib.compress(bytes(3_000_000))
    body = b"name\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + packed
    grey = (LEVELS >> 8).astype(np.uint8)
    pixels = seen(tmp_path, png([row.tobytes() for row in grey], 8, 0, (kind, body)))
    assert np.array_equal(pixels[:, :, 0], grey)


def test_profiles_and_gamma_change_no_pixel(tmp_path: Path) -> None:
    grey = (LEVELS >> 8).astype(np.uint8)
    rows = [row.tobytes() for row in grey]
    gamma = (b"gAMA", struct.pack(">I", 100_000))
    assert np.array_equal(seen(tmp_path, png(rows, 8, 0, gamma)), seen(tmp_path, png(rows, 8, 0)))


def test_a_png_without_its_end_is_truncated(tmp_path: Path) -> None:
    whole = png([(row >> 8).astype(np.uint8).tobytes() for row in LEVELS], 8, 0)
    for length in (12, 40, len(whole) - 12, len(whole) - 1):
        with pytest.raises(ImageError, match="truncated"):
            seen(tmp_path, whole[:length])
