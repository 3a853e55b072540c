"""What no honest image exceeds: checked on the header, before anything is decoded."""

from __future__ import annotations

from medcnn.errors import ImageError

# The largest radiographs have about 30 megapixels. Above 89 megapixels pillow warns by itself.
MAX_PIXELS = 80_000_000
MAX_FILE_BYTES = 1 << 30
# 48 megapixels of 16 bits; inflating takes twice this for a moment.
MAX_INFLATED_BYTES = 96 << 20


def refuse_oversize(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"the header says {width} x {height} pixels, that is no image")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the header says {width} x {height} pixels, more than the {MAX_PIXELS // 10**6} "
            "megapixels that are decoded; a file like this is damaged or made to exhaust memory"
        )
