"""JPEG, PNG, TIFF, BMP, WebP, AVIF and JPEG 2000, through pillow.

Each kind of pixel becomes:

    1-bit, grey 8 bit             uint8, 1 channel
    grey 12 or 16 bit             uint16, 1 channel, full range kept; white-is-zero is inverted
    float TIFF in 0..1            uint16, 1 channel; any other range is refused, since its full
                                  scale is not known
    palette, CMYK, YCbCr, RGB     uint8, 3 channels (16-bit RGB keeps the upper 8 of the used bits)
    with alpha or a clear colour  laid over black, the colour of areas without light

Colour profiles (ICC) and the gamma of a PNG are ignored: a network that learns from stored
values must be given stored values.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from medcnn.images import codecs, png, tiff
from medcnn.images.codestreams import refuse_scans
from medcnn.images.limits import refuse_bomb, refuse_oversize
from medcnn.images.samples import Deep, Pixels, from_floats, full_range, grey_or_rgb, without_alpha
from medcnn.images.shrinking import divisor
from medcnn.system.errors import ImageError

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION = 258, 262, 274
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
# Rows are copied from pillow in bands of this many pixels, to avoid a copy of the whole image.
BAND_PIXELS = 1 << 20


def read_raster(data: bytes, kind: str, spread: Deep, *, at_least_px: int | None = None) -> Pixels:
    """[H, W, C] of an image that pillow reads, upright.

    Args:
        data: the file.
        kind: pillow's name of the format.
        spread: scales 16-bit samples.
        at_least_px: a JPEG may be reduced to a half or a quarter, both sides at least this.

    Raises:
        ImageError, and whatever else pillow raises for damaged files.
    """
    with _opened(data, kind) as image:
        _refuse_size(image, data)
        if getattr(image, "n_frames", 1) > 1 and kind not in ("BMP", "JPEG"):
            raise ImageError(f"an animation of {image.n_frames} pictures; save the one to use")  # type: ignore[attr-defined]
        if kind == "JPEG":
            refuse_scans(data)
            _draft(image, image.mode, at_least_px)
        return _loaded(image, spread)


def read_png(data: bytes, spread: Deep) -> Pixels:
    """[H, W, C] of a PNG, upright, 16 bits by `spread`. Raises as `read_raster` does."""
    known = png.checked(data)
    deep_colour = known.depth == 16 and known.colour in (png.RGB, png.RGBA)
    with _opened(known.data, "PNG") as image:
        _refuse_size(image, data)
        if deep_colour and spread.bits < 16:
            values = codecs.read_deep_png(known.data)
            pixels = png.cleared(grey_or_rgb(spread.colours(values)), known)
        elif known.paired:
            pixels = _in_bands(image, lambda band: _paired(np.array(band), spread))
        else:
            # stored values, since the transparent level is a stored value
            pixels = png.cleared(_values(image, Deep()), known)
            if pixels.dtype == np.uint16:
                pixels = spread(pixels)
            elif deep_colour:
                spread.note(_top_of_upper(pixels))
        return _upright(pixels, image.getexif().get(ORIENTATION))


def read_tiff(data: bytes, spread: Deep) -> Pixels:
    """[H, W, C] of a TIFF of one page, upright, 16 bits by `spread`.

    Raises as `read_raster` does.
    """
    page = tiff.page_of(data)
    deep_colour = page.bits[0] == 16 and page.photometric == tiff.IS_RGB
    if tiff.pillow_reads(page) and not (deep_colour and spread.bits < 16):
        try:
            image = _opened(data, "TIFF")
        except ImageError:
            image = None  # a combination that pillow does not support
        if image is not None:
            with image:
                image.seek(page.number)
                _refuse_size(image, data)
                pixels = _loaded(image, spread)
            if deep_colour:
                spread.note(_top_of_upper(pixels))
            return pixels
    return _upright(tiff.read_with_tifffile(data, page, spread), page.orientation)


def _top_of_upper(pixels: Pixels) -> int:
    """The highest 16-bit value with these upper 8 bits."""
    return int(pixels.max()) << 8 | 255


def _opened(data: bytes, kind: str) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"larger than the limit for images: {error}") from error
    except UnidentifiedImageError:
        raise ImageError(f"it begins like a {kind}, but the rest is not one") from None


def _refuse_size(image: Image.Image, data: bytes) -> None:
    refuse_oversize(*image.size)
    refuse_bomb(_decoded_bytes(image), len(data))


def _loaded(image: Image.Image, spread: Deep) -> Pixels:
    image.load()
    pixels = _values(image, spread)
    # read after loading, when pillow has rotated a TIFF itself and removed the tag
    return _upright(pixels, image.getexif().get(ORIENTATION))


def _paired(values: NDArray[np.uint8], spread: Deep) -> Pixels:
    """16-bit grey from four bytes per pixel, laid over black by its alpha."""
    pairs = np.ascontiguousarray(values).view(">u2").astype(np.uint16)
    return without_alpha(np.concatenate([spread(pairs[:, :, :1]), pairs[:, :, 1:]], axis=2))


def read_colour_jpeg(frame: bytes, *, rgb: bool, at_least_px: int | None) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of an 8-bit JPEG in a DICOM.

    What the JPEG says about its colours counts: JFIF is YCbCr, an Adobe marker names them, and
    components may be named R, G and B. The DICOM decides only if the JPEG does not.

    Args:
        frame: a JPEG of three components.
        rgb: whether the DICOM says RGB (PS3.3 C.7.6.3.1.2).
        at_least_px: as in `read_raster`.
    """
    with Image.open(BytesIO(frame), formats=["JPEG"]) as image:
        names, *sampling = zip(*(layer[:3] for layer in image.layer), strict=True)  # type: ignore[attr-defined]
        silent = not {"jfif", "adobe_transform"} & image.info.keys() and bytes(names) != b"RGB"
        # RGB is never subsampled; asked for YCbCr, pillow returns stored values
        raw = rgb and silent and all(len(set(way)) == 1 for way in sampling)
        _draft(image, "YCbCr" if raw else "RGB", at_least_px)
        return np.asarray(_in_bands(image, np.array))


def _decoded_bytes(image: Image.Image) -> int:
    """Size after decoding; 1-bit pixels count as bits, since a blank scanned page is genuine."""
    pixels = image.width * image.height
    if image.mode == "1":
        return pixels // 8
    if image.mode == "L" or image.mode.startswith("I;16"):
        return pixels * (1 if image.mode == "L" else 2)
    return pixels * max(3, len(image.getbands()))


def _draft(image: Image.Image, mode: str, at_least_px: int | None) -> None:
    """Let the decoder compute a half or a quarter of each side, from the low frequencies of each
    8 x 8 block (libjpeg-turbo, "scaling factor").

    An eighth, the mean of each block, is hardly faster than a quarter, with twice the error.
    """
    width, height = image.size
    n = divisor(height, width, at_least_px, (4, 2))
    image.draft(mode, (width // n, height // n))


def _values(image: Image.Image, spread: Deep) -> Pixels:
    if image.mode.startswith("I;16"):
        tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        return _in_bands(image, lambda band: _sixteen_bit(band, tags, spread))
    if image.mode == "F":
        return from_floats(np.array(image)[:, :, None])
    if image.mode == "I":
        raise ImageError(
            "the full scale of 32-bit or signed integers is not known; save it as 16 bit"
        )
    if image.mode in ALPHA or ("transparency" in image.info and image.mode != "1"):
        return _in_bands(image, _over_black)
    if image.mode in ("1", "L"):
        return _in_bands(image, lambda band: np.array(band.convert("L"))[:, :, None])
    return _in_bands(image, lambda band: np.array(band.convert("RGB")))


def _in_bands(image: Image.Image, values_of: Callable[[Image.Image], Pixels]) -> Pixels:
    """Apply `values_of` to the image, band by band."""
    width, height = image.size
    rows = max(1, BAND_PIXELS // width)
    bands = (
        values_of(image.crop((0, top, width, min(top + rows, height))))
        for top in range(0, height, rows)
    )
    band = next(bands)
    if len(band) == height:
        return band
    pixels = np.empty((height, *band.shape[1:]), band.dtype)
    pixels[:rows] = band
    for number, band in enumerate(bands, 1):
        pixels[number * rows : (number + 1) * rows] = band
    return pixels


def _sixteen_bit(image: Image.Image, tags: Any, spread: Deep) -> NDArray[np.uint16]:
    stored = np.array(image).astype(np.uint16)[:, :, None]
    (bits,) = tags.get(BITS_PER_SAMPLE, (16,))
    values = spread(stored) if bits == 16 else full_range(stored, bits).astype(np.uint16)
    # 0 is WhiteIsZero (TIFF 6.0, section 4), which pillow inverts only for 8 bits
    return 65535 - values if tags.get(PHOTOMETRIC) == 0 else values


def _over_black(image: Image.Image) -> Pixels:
    grey = image.mode in ("L", "LA", "La")
    return without_alpha(np.array(image.convert("LA" if grey else "RGBA")))


def _upright(pixels: Pixels, orientation: object) -> Pixels:
    """Undo the EXIF orientation 1..8 (Exif 2.3, 4.6.4): where row 0 and column 0 are seen.

    Other values, as in a damaged tag, are ignored.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return cast(Pixels, np.ascontiguousarray(pixels))
