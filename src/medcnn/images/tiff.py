"""What a TIFF says about its pages, and which library reads which of them.

pillow reads the files of cameras and scanners. From some others it silently makes noise, or numbers
with the wrong sign (16-bit colours in separate planes, signed bytes). Those are read by tifffile,
or refused with the reason.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.images.codestreams import codestream_of
from medcnn.images.limits import refuse_bomb, refuse_oversize
from medcnn.images.samples import Deep, Pixels, from_floats, full_range, grey_or_rgb
from medcnn.system.errors import ImageError, pip_install

# TIFF 6.0, and its supplement 2 for samples other than unsigned 8 bit
SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS = 254, 255, 256, 257, 258
COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANAR = 259, 262, 274, 277, 284
TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT, SUBSAMPLING = 322, 323, 338, 339, 530
DEPTH = 32997
STRIP_BYTES, TILE_BYTES = 279, 325
WANTED = {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION}
WANTED |= {
    STRIP_BYTES,
    TILE_BYTES,
    SAMPLES,
    PLANAR,
    TILE_WIDTH,
    TILE_HEIGHT,
    EXTRA,
    FORMAT,
    SUBSAMPLING,
    DEPTH,
}
TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q"}
# More values of a tag than an image has strips, or more pages than a stack has slices: damage.
MAX_VALUES, MAX_PAGES = 1 << 17, 4096

UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
FORMATS = {
    UNSIGNED: "unsigned",
    SIGNED: "signed",
    FLOAT: "float",
    UNDEFINED: "undefined",
    5: "complex integer",
    6: "complex",
}
WHITE_IS_ZERO, BLACK_IS_ZERO, IS_RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, IS_RGB: 3, CMYK: 4}
PHOTOMETRICS = {
    4: "a transparency mask",
    8: "CIE L*a*b* colours",
    9: "ICC L*a*b* colours",
    10: "ITU L*a*b* colours",
    32803: "a camera's raw mosaic",
    32844: "logarithmic luminance (LogL)",
    32845: "logarithmic luminance (LogLuv)",
    34892: "a camera's raw linear colours",
}
RAW, JPEG, JPEG2000 = 1, 7, 34712
PILLOW = {RAW, 2, 3, 4, 5, 6, JPEG, 8, 32773, 32946, 34925, 50000}
TIFFFILE = {RAW, 5, JPEG, 8, 32773, 32946, JPEG2000, 33005, 34925, 50000}
COMPRESSIONS = {
    33003: "Aperio's JPEG 2000 in YCbCr",
    33005: "Aperio's JPEG 2000",
    34712: "JPEG 2000",
    34892: "DNG's lossy JPEG",
    34927: "Leica's JPEG 2000",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
    22610: "JPEG XR",
    34934: "JPEG XR",
    34933: "PNG",
    34887: "LERC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a TIFF says about one of its images.

    Attributes:
        number: in the file, counted from 0.
        bits, formats: of each sample.
        reduced: a small copy of another page (NewSubfileType 1, SubfileType 2).
        extra: meaning of the samples after the colours: 1 and 2 are alpha.
        tile: width and height of a tile, if there are any.
        stored_bytes: of all strips or tiles; 0 if not stated.
    """

    number: int
    width: int
    height: int
    samples: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    compression: int
    photometric: int
    planes: bool
    extra: tuple[int, ...]
    reduced: bool
    orientation: int
    subsampled: bool
    tile: tuple[int, int] | None
    layers: int
    stored_bytes: int

    @property
    def said(self) -> str:
        bits = "/".join(str(b) for b in dict.fromkeys(self.bits))
        names = dict.fromkeys(FORMATS.get(f, f"of unknown kind {f}") for f in self.formats)
        how = COMPRESSIONS.get(self.compression, "")
        return (
            f"a TIFF of {self.samples} x {bits} bits, {'/'.join(names)}"
            + (", in separate planes" if self.planes else "")
            + (f", compressed as {how}" if how else "")
        )


def page_of(data: bytes) -> Page:
    """The one image in a TIFF; small copies of it do not count.

    Raises:
        ImageError: it contains several or none, or one that neither reader supports.
    """
    pages = _pages(data)
    whole = [page for page in pages if not page.reduced]
    if len(whole) > 1:
        raise ImageError(
            f"the TIFF contains {len(whole)} pages; save the one to use as a separate file"
        )
    if not whole:
        raise ImageError(
            "the TIFF contains only a reduced copy of its image, like the raw files of cameras; "
            "save the full image as TIFF or PNG"
        )
    (page,) = whole
    refuse_oversize(page.width, page.height)
    _refuse_kind(page)
    wanted_bits = page.width * page.height * page.samples * min(page.bits)
    raw = page.compression == RAW and not page.subsampled
    if raw and 0 < page.stored_bytes * 8 < wanted_bits:
        raise ImageError("truncated: the TIFF has fewer bytes than pixels")
    return page


def _refuse_kind(page: Page) -> None:
    """Raises ImageError if the full scale is not known, or this is not a picture."""
    if SIGNED in page.formats:
        raise ImageError(
            f"{page.said}: zero and full scale of signed integers are not known; save it as "
            "unsigned 8 or 16 bit"
        )
    if set(page.formats) - {UNSIGNED, FLOAT, UNDEFINED}:
        raise ImageError(f"{page.said}: cannot be read; save it as unsigned 8 or 16 bit")
    if len(set(page.bits)) > 1 or len({f == FLOAT for f in page.formats}) > 1:
        raise ImageError(f"{page.said}: samples of different kinds; save it as RGB")
    if page.bits[0] > 16 and FLOAT not in page.formats:
        raise ImageError(
            f"{page.said}: the full scale of 32-bit integers is not known; save it as 16 bit"
        )
    if page.photometric in PHOTOMETRICS:
        kind = PHOTOMETRICS[page.photometric]
        raise ImageError(f"{page.said}: medcnn does not read {kind}; save it as grey or RGB")
    if page.layers > 1:
        raise ImageError(f"{page.said}: a volume of {page.layers} layers; save the one to use")


def pillow_reads(page: Page) -> bool:
    """Kinds that pillow was seen to read correctly, in every byte order, predictor and tiling."""
    (bits,) = set(page.bits)
    if page.compression not in PILLOW or (page.subsampled and page.compression == RAW):
        return False
    if FLOAT in page.formats:
        # pillow does not invert floats if white is zero
        return bits == 32 and page.samples == 1 and page.photometric != WHITE_IS_ZERO
    if page.samples == 1:
        return bits in (1, 2, 4, 8, 12, 16)
    if page.samples == 2:
        return bits == 8 and not page.planes and page.extra != (1,)
    if page.planes:
        # 16-bit raw planes become noise, and premultiplied ones are multiplied again
        usual = page.samples <= 4 and 1 not in page.extra
        return usual and (bits == 8 or (bits == 16 and page.compression != RAW))
    return bits in (8, 16)


def read_with_tifffile(data: bytes, page: Page, spread: Deep) -> Pixels:
    """[H, W, 1 or 3] of a page, in its stored orientation.

    Raises:
        ImageError: tifffile is not installed, or does not read such a page either.
    """
    if page.compression not in TIFFFILE or page.photometric not in COLOURS:
        raise ImageError(f"{page.said}: cannot be read; save it uncompressed, as grey or RGB")
    try:
        import imagecodecs  # noqa: F401
        import tifffile  # half a second, for few files
    except ImportError:
        raise ImageError(
            f"{page.said}: no decoder for it is installed: install the extra medcnn[dicom]: "
            f"{pip_install('dicom')}"
        ) from None
    (bits,) = set(page.bits)
    if page.compression in (JPEG2000, 33005) and bits > 8 and data.startswith(b"MM"):
        raise ImageError(f"{page.said}, big-endian: readers disagree on it; save it as PNG")
    refuse_bomb(page.width * page.height * page.samples * max(1, bits // 8), len(data))
    with tifffile.TiffFile(BytesIO(data)) as file:
        found: Any = file.pages[page.number]
        _refuse_segments(data, page, found.dataoffsets, found.databytecounts)
        values = np.asarray(found.asarray(maxworkers=1))
    planes = page.planes and page.samples > 1
    shape = (page.height, page.width, page.samples)
    stored = (page.samples, page.height, page.width) if planes else shape
    values = values.reshape(stored)
    return _shown(values.transpose(1, 2, 0) if planes else values, page, bits, spread)


def _shown(values: NDArray[Any], page: Page, bits: int, spread: Deep) -> Pixels:
    """Grey or RGB of samples [H, W, S]: inverts white, mixes CMYK, lays alpha over black."""
    count = COLOURS[page.photometric]
    pixels: Pixels
    if FLOAT in page.formats:
        pixels = from_floats(values)
    elif bits == 16 and page.photometric != CMYK:
        # alpha has a known full scale
        pixels = np.concatenate([spread(values[:, :, :count]), values[:, :, count:]], axis=2)
    else:
        pixels = full_range(values, bits)
    full = int(np.iinfo(pixels.dtype).max)
    if page.samples < count:
        raise ImageError(f"{page.said}: it has fewer samples than its kind of colour needs")
    colours: NDArray[Any] = pixels[:, :, :count]
    alpha = page.extra[:1]
    if page.photometric == WHITE_IS_ZERO:
        colours = (full - colours).astype(pixels.dtype)
    elif page.photometric == CMYK:
        ink = colours.astype(np.uint32)
        paper = ((full - ink[:, :, :3]) * (full - ink[:, :, 3:]) + full // 2) // full
        colours = paper.astype(pixels.dtype)
    if alpha and alpha[0] in (1, 2) and page.samples > count:
        colours = np.concatenate([colours, pixels[:, :, count : count + 1]], axis=2)
    return grey_or_rgb(cast(Pixels, np.ascontiguousarray(colours)), premultiplied=alpha == (1,))


def _refuse_segments(
    data: bytes, page: Page, offsets: Sequence[int], counts: Sequence[int]
) -> None:
    """Raises ImageError if a strip or tile is missing or not of the size in the header: a missing
    one would become zeros, and a decoder allocates memory by what the segment says."""
    if not offsets or len(offsets) != len(counts):
        raise ImageError("damaged: the TIFF does not say where its pixels are")
    for start, count in zip(offsets, counts, strict=True):
        if count < 1 or start < 1 or start + count > len(data):
            raise ImageError("truncated: pixels of the TIFF are missing, or beyond its end")
    if page.compression not in (JPEG, JPEG2000, 33005):
        return
    width, height = page.tile or (page.width, page.height)
    for start, count in zip(offsets, counts, strict=True):
        found = codestream_of(data[start : start + count])
        samples = 1 if page.planes else page.samples
        if found.columns > width or found.rows > height or found.samples != samples:
            raise ImageError(
                f"a part of the TIFF has {found.columns} x {found.rows} pixels of "
                f"{found.samples} samples, but its header allows {width} x {height} of {samples}"
            )


def _pages(data: bytes) -> list[Page]:
    order = "<" if data[:2] == b"II" else ">"
    try:
        return _walked(data, order)
    except struct.error:
        raise ImageError("truncated: the TIFF ends inside its header") from None


def _walked(data: bytes, order: str) -> list[Page]:
    """Every page of the chain: TIFF 6.0 section 2, and BigTIFF with eight bytes an offset."""
    unpack: Callable[..., tuple[int, ...]] = lambda form, at: struct.unpack_from(  # noqa: E731
        order + form, data, at
    )
    big = unpack("H", 2)[0] == 43
    word, count_form, size, entry = ("Q", "Q", 8, 20) if big else ("I", "H", 4, 12)
    (at,) = unpack(word, 8 if big else 4)
    pages: list[Page] = []
    seen = set()
    while at and at not in seen:
        seen.add(at)
        (entries,) = unpack(count_form, at)
        at += struct.calcsize(order + count_form)
        unpack("B", at + entries * entry - 1)  # raises if one is missing
        tags: dict[int, tuple[int, ...]] = {}
        for place in range(at, at + entries * entry, entry):
            tag, kind = unpack("HH", place)
            (count,) = unpack(word, place + 4)
            if tag in WANTED and kind in TYPES and count <= MAX_VALUES:
                form = f"{count}{TYPES[kind]}"
                inside = place + 4 + size
                there = struct.calcsize(order + form) <= size
                tags[tag] = unpack(form, inside if there else unpack(word, inside)[0])
        pages.append(_page(len(pages), {tag: values for tag, values in tags.items() if values}))
        if len(pages) > MAX_PAGES:
            raise ImageError(f"the TIFF contains more than {MAX_PAGES} pages")
        (at,) = unpack(word, at + entries * entry)
    return pages


def _page(number: int, tags: dict[int, tuple[int, ...]]) -> Page:
    def one(tag: int, default: int) -> int:
        return tags.get(tag, (default,))[0]

    samples = one(SAMPLES, 1)
    if not 1 <= samples <= 16:
        raise ImageError(f"the TIFF has {samples} samples per pixel; 1 to 4 can be read")
    tile = (one(TILE_WIDTH, 0), one(TILE_HEIGHT, 0))
    subsampled = one(PHOTOMETRIC, 1) == YCBCR and tags.get(SUBSAMPLING, (2, 2)) != (1, 1)
    return Page(
        number=number,
        width=one(WIDTH, 0),
        height=one(HEIGHT, 0),
        samples=samples,
        bits=tags.get(BITS, (1,)),
        formats=tags.get(FORMAT, (UNSIGNED,)),
        compression=one(COMPRESSION, RAW),
        photometric=one(PHOTOMETRIC, BLACK_IS_ZERO),
        planes=one(PLANAR, 1) == 2 and samples > 1,
        extra=tags.get(EXTRA, ()),
        reduced=bool(one(SUBFILE, 0) & 1) or one(OLD_SUBFILE, 1) == 2,
        orientation=one(ORIENTATION, 1),
        subsampled=subsampled,
        tile=tile if all(tile) else None,
        layers=one(DEPTH, 1),
        stored_bytes=sum(tags.get(STRIP_BYTES) or tags.get(TILE_BYTES, ())),
    )
