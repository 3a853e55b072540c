from __future__ import annotations

import gc
import struct
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.images import Fit, Preprocessing, raster, read_pixels
from medcnn.images.npz import is_deep
from medcnn.system.errors import ImageError
from tests.images.apart import read_apart

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)


def saved(folder: Path, name: str, image: Image.Image, **options: object) -> np.ndarray:
    image.save(folder / name, **options)
    return read_pixels(folder, name)


def test_eight_bit_png_and_tiff_are_read_as_they_are(tmp_path: Path) -> None:
    for ending in ("png", "tif"):
        grey = saved(tmp_path, f"g.{ending}", Image.fromarray(GREY))
        colour = saved(tmp_path, f"c.{ending}", Image.fromarray(COLOUR))
        assert np.array_equal(grey[:, :, 0], GREY)
        assert np.array_equal(colour, COLOUR)


@pytest.mark.fault
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_keep_their_full_range(tmp_path: Path, ending: str) -> None:
    """Row 38."""
    pixels = saved(tmp_path, f"d.{ending}", Image.fromarray(DEEP))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[:, :, 0], DEEP)


@pytest.mark.fault
def test_a_float_tiff_is_scaled_where_its_range_is_known_else_refused(tmp_path: Path) -> None:
    """Row 39."""
    unit = (GREY / 255).astype(np.float32)
    pixels = saved(tmp_path, "f.tif", Image.fromarray(unit))
    assert np.allclose(pixels[:, :, 0] / 65535, unit, atol=1e-5)
    with pytest.raises(ImageError, match=r"full scale .*is not known"):
        saved(tmp_path, "g.tif", Image.fromarray(unit * 300))


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK"])
def test_every_mode_becomes_grey_or_rgb(tmp_path: Path, mode: str) -> None:
    """Row 40."""
    image = Image.fromarray(COLOUR).convert("RGB").convert("P" if mode == "PA" else mode)
    name = "x.tif" if mode in ("CMYK", "PA") else "x.png"
    if mode == "PA":
        image = image.convert("RGBA")
    pixels = saved(tmp_path, name, image)
    assert pixels.shape == (20, 30, 1 if mode in ("1", "L", "LA") else 3)
    assert pixels.dtype == np.uint8


@pytest.mark.fault
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_read_upright(tmp_path: Path, orientation: int) -> None:
    """Row 41."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[274] = orientation
    smooth = Image.linear_gradient("L").resize((48, 32))
    smooth.save(tmp_path / "t.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "t.jpg") as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_pixels(tmp_path, "t.jpg")[:, :, 0], wanted)


def test_a_damaged_orientation_turns_nothing(tmp_path: Path) -> None:
    """Type 7 (UNDEFINED) in place of 3 (SHORT): what it holds is no number."""
    entry = struct.pack(">HHI", 274, 7, 1) + b"\6\0\0\0"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + b"\0\0\0\0"
    assert saved(tmp_path, "t.jpg", Image.fromarray(GREY), exif=exif).shape == (20, 30, 1)


@pytest.mark.fault
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_truncated_file_is_refused_with_its_reason(
    tmp_path: Path, ending: str, keep: float
) -> None:
    """Row 34."""
    big = Image.fromarray(RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8))
    big.save(tmp_path / f"x.{ending}")
    whole = (tmp_path / f"x.{ending}").read_bytes()
    (tmp_path / f"x.{ending}").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ImageError) as raised:
        read_pixels(tmp_path, f"x.{ending}")
    assert "\n" not in str(raised.value)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><title>Login", "that is a web page, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"PK\3\4abcdef", "zip archive"),
        (b"\0" * 500, "begins with zeros"),
        (b"hello, world", "so it is not JPEG, PNG, TIFF, BMP, DICOM"),
    ],
)
def test_what_is_not_an_image_is_named_for_what_it_is(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Row 35."""
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=said):
        read_pixels(tmp_path, "x.jpg")


@pytest.mark.fault
def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Row 42."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(ImageError, match=r"larger than the limit|made to exhaust memory"):
        read_pixels(tmp_path, "bomb.png")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("mode", "ending", "options"),
    [
        ("RGB", "png", {}),
        ("RGBA", "png", {}),
        ("I;16", "png", {}),
        ("RGB", "jpg", {"progressive": True}),
        ("RGB", "tif", {"compression": "tiff_deflate"}),
    ],
)
def test_a_bomb_below_the_limit_of_pixels_is_refused_in_little_memory(
    tmp_path: Path, mode: str, ending: str, options: dict[str, object]
) -> None:
    """Row 42."""
    Image.new(mode, (5000, 4000), 0).save(tmp_path / f"x.{ending}", None, **options)
    said, mib = read_apart(tmp_path / f"x.{ending}")
    assert "no photograph or radiograph compresses so well" in said
    assert mib < 60


def test_blank_images_of_a_usual_size_and_flat_scans_of_one_bit_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 2000)).save(tmp_path / "x.png")
    assert read_pixels(tmp_path, "x.png").shape == (2000, 3000, 3)
    # a camera of 24 megapixels with its lens cap on
    Image.new("RGB", (6000, 4000)).save(tmp_path / "x.jpg")
    assert read_pixels(tmp_path, "x.jpg", at_least_px=64).shape == (1000, 1500, 3)
    Image.new("1", (9000, 6000), 1).save(tmp_path / "x.tif", compression="group4")
    assert read_pixels(tmp_path, "x.tif").min() == 255


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_a_large_image_is_the_same_in_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    image = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
    whole = saved(tmp_path, "x.png", image)
    monkeypatch.setattr(raster, "BAND_PIXELS", 7 * 30)
    assert np.array_equal(read_pixels(tmp_path, "x.png"), whole)


def test_a_large_colour_image_is_read_without_copies_of_the_whole(tmp_path: Path) -> None:
    tile = RNG.integers(0, 256, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(np.tile(tile, (8, 8, 1))).save(tmp_path / "x.jpg")
    said, mib = read_apart(tmp_path / "x.jpg")
    assert said == "(4000, 4000, 3)"
    # 4 bytes a pixel in pillow and 3 in the array are 107; Python and the file 40
    assert mib < 190


def progressive_with(refinements: int) -> bytes:
    """A progressive JPEG whose last scan, a refinement, stands there so many times."""
    buffer = BytesIO()
    Image.fromarray(COLOUR).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * refinements + data[end:]


@pytest.mark.fault
def test_a_jpeg_of_hundreds_of_scans_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Row 42; one of 289 kB took a minute and a half."""
    (tmp_path / "x.jpg").write_bytes(progressive_with(400))
    with pytest.raises(ImageError, match=r"4\d\d scans, more than 100"):
        read_pixels(tmp_path, "x.jpg")
    # what stands behind the image is no scan of it
    (tmp_path / "x.jpg").write_bytes(progressive_with(1) + b"\xff\xda" * 400)
    assert read_pixels(tmp_path, "x.jpg").shape == (20, 30, 3)


@pytest.mark.fault
def test_a_flipped_bit_in_a_png_is_found_by_its_check_sum(tmp_path: Path) -> None:
    """Row 37, where the format has a check sum."""
    Image.fromarray(COLOUR).save(tmp_path / "x.png", compress_level=0)
    data = bytearray((tmp_path / "x.png").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ImageError):
        read_pixels(tmp_path, "x.png")


def test_the_name_of_a_file_does_not_decide_what_it_is(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG")
    (tmp_path / "really.jpg").write_bytes(buffer.getvalue())
    assert np.array_equal(read_pixels(tmp_path, "really.jpg")[:, :, 0], GREY)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the file is missing"):
        read_pixels(tmp_path, "x.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="not a regular file"):
        read_pixels(tmp_path, "folder.png")


@pytest.mark.fault
@pytest.mark.parametrize("name", ["mit Leerzeichen.png", "größe-日本.png", "a" * 250 + ".png"])
def test_unusual_names_work(tmp_path: Path, name: str) -> None:
    """Row 74."""
    assert saved(tmp_path, name, Image.fromarray(GREY)).shape == (20, 30, 1)


def test_a_row_of_an_npz_is_an_image(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", train_images=images, words=np.array(["a"]))
    assert np.array_equal(read_pixels(tmp_path, "set.npz#train_images/2"), images[2])
    for place in ("train_images/3", "train_images/x", "nothing/0", "words/0"):
        with pytest.raises(ImageError):
            read_pixels(tmp_path, f"set.npz#{place}")
    with pytest.raises(ImageError, match="is missing"):
        read_pixels(tmp_path, "other.npz#train_images/0")
    for damage in (b"", b"hello", (tmp_path / "set.npz").read_bytes()[:900]):
        (tmp_path / "other.npz").write_bytes(damage)
        with pytest.raises(ImageError, match="is not an npz, or is truncated"):
            read_pixels(tmp_path, "other.npz#train_images/0")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_an_npz_are_right_in_any_order_and_from_many_threads(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    images = RNG.integers(0, 65536, (30, 150, 170), dtype=np.uint16)
    save(tmp_path / "set.npz", a=images, b=images[::-1])
    wanted = [(name, int(i)) for name in "ab" for i in RNG.permutation(30)]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda at: read_pixels(tmp_path, f"set.npz#{at[0]}/{at[1]}"), wanted)
        for (name, i), row in zip(wanted, found, strict=True):
            assert np.array_equal(row[:, :, 0], images[i if name == "a" else 29 - i])


@pytest.mark.fault
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_with_a_flipped_bit_gives_no_row(tmp_path: Path, save: Callable[..., None]) -> None:
    """Row 37; its check sum is that of the whole array."""
    save(tmp_path / "set.npz", a=RNG.integers(0, 256, (30, 150, 170), dtype=np.uint8))
    data = bytearray((tmp_path / "set.npz").read_bytes())
    data[-4000] ^= 1
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        read_pixels(tmp_path, "set.npz#a/0")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_row_of_an_npz_is_read_without_the_rest_in_memory(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    block = RNG.integers(0, 256, (40, 224, 224, 3), dtype=np.uint8)
    save(tmp_path / "set.npz", images=np.concatenate([block] * 5))
    said, mib = read_apart(tmp_path / "set.npz", row="#images/199")
    assert said == "(224, 224, 3)"
    # Python takes 31 of them; the array has 30
    assert mib < 50


@pytest.mark.fault
def test_an_npz_that_unpacks_to_much_is_refused_in_little_memory(tmp_path: Path) -> None:
    """Row 42; 75 kB that would be 75 MB."""
    header = BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (500, 224, 224, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with (
        zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as array,
    ):
        array.write(header.getvalue())
        for _ in range(5):
            array.write(bytes(100 * 224 * 224 * 3))
    said, mib = read_apart(tmp_path / "set.npz", row="#images/3")
    assert "71 MiB, more than 200 to 1" in said
    assert mib < 60


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3, 4), np.int64), "contains int64"),
        (np.zeros((2, 3, 4, 2), np.uint8), "has the shape"),
        (np.zeros((2, 3, 4), np.uint8, order="F"), "Fortran order"),
        (np.zeros((2, 0, 4), np.uint8), "so there is no image"),
        (np.array([object()]), "contains object"),
    ],
)
def test_an_array_of_an_npz_that_holds_no_images_is_refused_by_its_header(
    tmp_path: Path, array: np.ndarray, said: str
) -> None:
    np.savez(tmp_path / "set.npz", a=array)
    with pytest.raises(ImageError, match=said):
        read_pixels(tmp_path, "set.npz#a/0")


def test_an_npz_whose_header_promises_more_rows_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(5000))
    with pytest.raises(ImageError, match="damaged: 'a' of shape"):
        read_pixels(tmp_path, "set.npz#a/0")


def enlarged(file: Path, width: int, height: int, **options: object) -> bytes:
    """A photograph of this size as JPEG: made of copies of a small one, so that it has detail."""
    with Image.open(file) as image:
        tile = image.convert("RGB")
    large = Image.new("RGB", (width, height))
    for top in range(0, height, tile.height):
        for left in range(0, width, tile.width):
            large.paste(tile, (left, top))
    data = BytesIO()
    large.save(data, "JPEG", **options)
    return data.getvalue()


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize(
    ("width", "height", "options"),
    [
        (1536, 1024, {"quality": 92, "subsampling": 2}),
        (1536, 1024, {"quality": 75, "subsampling": 1}),
        (1056, 1056, {"quality": 95, "subsampling": 0}),
        (1502, 1001, {"quality": 90, "subsampling": 2}),  # divides by nothing
        (1508, 1004, {"quality": 90, "subsampling": 2}),  # an odd number of quarters
    ],
)
def test_a_jpeg_decoded_small_is_within_a_grey_level_of_the_whole(
    tmp_path: Path, shared: Path, fit: Fit, width: int, height: int, options: dict[str, int]
) -> None:
    files = sorted((shared / "ham10000").rglob("*.jpg"))[:2]
    files += sorted((shared / "covid_chestxray" / "images").glob("*.jp*g"))[:2]
    for file in files:
        (tmp_path / "x.jpg").write_bytes(enlarged(file, width, height, **options))
        full = read_pixels(tmp_path, "x.jpg")
        for size_px in (64, 128, 170, 256):
            how = Preprocessing(size_px=size_px, fit=fit)
            difference = how.read(tmp_path, "x.jpg").astype(int) - how.apply(full)
            assert abs(difference).mean() < 1
            assert abs(difference.mean()) < 0.25


def test_a_jpeg_is_decoded_at_the_smallest_size_that_is_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "x.jpg")
    Image.new("L", (642, 480)).save(tmp_path / "even.jpg")
    sizes = [read_pixels(tmp_path, "x.jpg", at_least_px=n).shape for n in (60, 120, 121, 240, 241)]
    assert sizes == [(120, 160, 3)] * 2 + [(240, 320, 3)] * 2 + [(480, 640, 3)]
    assert read_pixels(tmp_path, "x.jpg").shape == (480, 640, 3)
    assert read_pixels(tmp_path, "even.jpg", at_least_px=1).shape == (480, 642, 1)


def test_a_small_jpeg_is_still_upright_and_a_cut_one_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (640, 480)).save(tmp_path / "x.jpg", exif=exif)
    assert read_pixels(tmp_path, "x.jpg", at_least_px=60).shape == (160, 120, 3)
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="truncated"):
        read_pixels(tmp_path, "x.jpg", at_least_px=60)


def test_an_array_that_is_read_no_more_is_closed(tmp_path: Path) -> None:
    """More arrays than are kept open at once, stored as they are: a warning would be an error."""
    for number in range(8):
        np.savez(tmp_path / f"{number}.npz", a=np.full((2, 4, 4), number, np.uint8))
        assert read_pixels(tmp_path, f"{number}.npz#a/1").max() == number
    gc.collect()


def test_the_depth_of_an_array_is_that_of_the_file_that_is_there_now(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        np.savez(tmp_path / "a.npz", a=np.zeros((2, 4, 4), dtype))
        assert is_deep(tmp_path / "a.npz", "a") is (dtype is np.uint16)
