"""NIfTI with a single slice or radiograph, through nibabel (the extra `nifti`)."""

from __future__ import annotations

import math
import zlib
from io import BytesIO
from typing import Any, cast

import numpy as np

from medcnn.images.limits import refuse_bomb, refuse_oversize
from medcnn.images.samples import Deep, Pixels, from_floats
from medcnn.system.errors import ImageError, pip_install

# nifti1.h and nifti2.h: size of the header, position of its magic, and the magic
HEADERS = ((348, 344, b"n+1\0"), (540, 4, b"n+2\0"))
GZIP = b"\x1f\x8b"


def is_nifti(data: bytes) -> bool:
    """Decided by the header, also within gzip."""
    head = _unpacked(data, 552) if data.startswith(GZIP) else data[:552]
    for size, at, magic in HEADERS:
        length = head[:4]
        if head[at : at + 4] == magic and size in (
            int.from_bytes(length, "little"),
            int.from_bytes(length, "big"),
        ):
            return True
    return False


def read_nifti(data: bytes, spread: Deep) -> Pixels:
    """[H, W, 1 or 3], oriented by its affine: the patient's left is on the right of the image.

    Reads uint8, uint16, 8-bit RGB, floats in 0..1, and int16 without negative values, the usual
    type for radiographs.

    Raises:
        ImageError: nibabel is not installed; a volume; values without a known full scale.
    """
    try:
        import nibabel
    except ImportError:
        raise ImageError(
            "no reader is installed for NIfTI: install the extra medcnn[nifti]: "
            f"{pip_install('nifti')}"
        ) from None
    kind = nibabel.Nifti2Image if b"n+2\0" in _head(data)[:8] else nibabel.Nifti1Image
    header: Any = cast(Any, kind.header_class).from_fileobj(BytesIO(_head(data)), check=False)
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 2 or math.prod(shape[2:]) != 1:
        raise ImageError(
            f"a NIfTI volume of {' x '.join(map(str, shape))}; medcnn reads 2-D images: save the "
            "slice to use as a separate file"
        )
    refuse_oversize(*shape[:2])
    size = shape[0] * shape[1] * header.get_data_dtype().itemsize
    refuse_bomb(size, len(data))
    offset = int(header["vox_offset"])
    if not 0 <= offset <= 1 << 20:
        raise ImageError(f"the NIfTI claims that its pixels begin at byte {offset}")
    whole = _unpacked(data, offset + size) if data.startswith(GZIP) else data
    if len(whole) < offset + size:
        raise ImageError("truncated: the NIfTI ends before its pixels do")
    image: Any = kind.from_bytes(whole)
    return _upright(nibabel, image, _values(image, shape[:2], spread))


def _values(image: Any, shape: tuple[int, ...], spread: Deep) -> Pixels:
    stored = np.asarray(image.dataobj)
    if stored.dtype.names:
        stored = np.stack([stored[name] for name in stored.dtype.names[:3]], axis=-1)
        return np.asarray(stored.reshape(*shape, 3), dtype=np.uint8)
    values = stored.reshape(*shape, 1)
    if values.dtype == np.uint8:
        return np.asarray(values)
    if values.dtype.kind == "f":
        return from_floats(values)
    low, high = int(values.min()), int(values.max())
    if values.dtype.kind not in "ui" or values.dtype.itemsize > 2 or low < 0:
        raise ImageError(
            f"the full scale of a NIfTI of {values.dtype} from {low} to {high} is not known; save "
            "it as uint8 or uint16"
        )
    return spread(values)


def _upright(nibabel: Any, image: Any, pixels: Pixels) -> Pixels:
    """Rows and columns from the axes x and y of an array, by the direction of each."""
    codes = [int(image.header[name]) for name in ("sform_code", "qform_code")]
    if any(codes):
        first, second = nibabel.aff2axcodes(image.affine)[:2]
        # radiological orientation: columns run to the patient's left or back, rows to the back or
        # feet
        if first in ("S", "I") or second in ("L", "R"):
            first, second, pixels = second, first, pixels.transpose(1, 0, 2)
        pixels = pixels[::-1] if first in ("R", "A") else pixels
        pixels = pixels[:, ::-1] if second in ("A", "S") else pixels
    return cast(Pixels, np.ascontiguousarray(pixels.transpose(1, 0, 2)))


def _head(data: bytes) -> bytes:
    return _unpacked(data, 540) if data.startswith(GZIP) else data[:540]


def _unpacked(data: bytes, most: int) -> bytes:
    """The first `most` unpacked bytes of a gzip at most."""
    found, rest = b"", data
    try:
        while rest.startswith(GZIP) and len(found) < most:  # it may have several members
            member = zlib.decompressobj(wbits=31)
            # one more byte, so that the checksum at the end is verified
            found += member.decompress(rest, most - len(found) + 1)
            rest = member.unused_data
    except zlib.error as error:
        raise ImageError(f"damaged: cannot unpack the gzip ({error})") from None
    return found[:most]
