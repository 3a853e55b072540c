"""HEIC, the format of phone photographs, through pi-heif: libheif without an encoder, hence without
GPL. It is part of the extra `heif`."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from medcnn.images.containers import refuse_large_heif
from medcnn.images.samples import Pixels, grey_or_rgb
from medcnn.system.errors import ImageError, pip_install


def read_heif(data: bytes) -> Pixels:
    """[H, W, 1 or 3] uint8, oriented as the file says.

    Raises:
        ImageError: pi-heif is not installed, or the file contains several pictures; and whatever
            libheif raises for damaged files.
    """
    file = _opened(data)
    if len(file) > 1:
        raise ImageError(f"a HEIC with {len(file)} pictures; save the one to use")
    image = file[0]
    values = np.array(image)
    values = values[:, :, None] if values.ndim == 2 else values
    mode = str(image.mode)
    known = ("L", "LA", "La", "RGB", "RGBA", "RGBa")
    if values.dtype != np.uint8 or mode.split(";")[0] not in known:
        raise ImageError(f"medcnn does not read a HEIC of kind {mode}; save it as JPEG or PNG")
    return grey_or_rgb(values, premultiplied=mode.endswith("a"))


def exif_of(data: bytes) -> bytes:
    """The EXIF of its picture, or nothing; raises as `read_heif` does."""
    return bytes(_opened(data).info.get("exif") or b"")


def _opened(data: bytes) -> Any:
    refuse_large_heif(data)
    try:
        import pi_heif
    except ImportError:
        raise ImageError(
            "no decoder is installed for HEIC: install the extra medcnn[heif]: "
            f"{pip_install('heif')}"
        ) from None
    return pi_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=True)
