"""HEIC, as phones save their photographs, through pi-heif: libheif without an encoder, so that no
GPL comes with it. The extra `heif` brings it."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from medcnn.images.containers import refuse_large_heif
from medcnn.images.samples import Pixels, grey_or_rgb
from medcnn.system.errors import ImageError, pip_install


def read_heif(data: bytes) -> Pixels:
    """[H, W, 1 or 3] uint8, turned as the file says.

    Raises:
        ImageError: pi-heif is not installed, or the file holds several pictures; and whatever
            libheif raises on damage.
    """
    refuse_large_heif(data)
    try:
        import pi_heif
    except ImportError:
        raise ImageError(
            "a HEIC, for which no decoder is installed: install the extra medcnn[heif]: "
            f"{pip_install('heif')}"
        ) from None
    file = pi_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=True)
    if len(file) > 1:
        raise ImageError(f"a HEIC of {len(file)} pictures; save the one that counts")
    image = file[0]
    values = np.array(image)
    values = values[:, :, None] if values.ndim == 2 else values
    mode = str(image.mode)
    if values.dtype != np.uint8 or mode.split(";")[0] not in (
        "L",
        "LA",
        "La",
        "RGB",
        "RGBA",
        "RGBa",
    ):
        raise ImageError(f"a HEIC whose pixels are {mode} is not read; save it as JPEG or PNG")
    return grey_or_rgb(values, premultiplied=mode.endswith("a"))
