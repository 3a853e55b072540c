"""Limits that no genuine image exceeds, checked in the header before decoding."""

from __future__ import annotations

from medcnn.system.errors import ImageError

# The largest radiographs have about 30 megapixels. Above 89 megapixels, pillow warns.
MAX_PIXELS = 80_000_000
MAX_FILE_BYTES = 1 << 30
# 48 megapixels of 16 bits; inflating briefly takes twice this.
MAX_INFLATED_BYTES = 96 << 20
# (decoded bytes, ratio): a file that decodes to more than this, by more than this ratio, is a bomb.
# A JPEG taken with the lens cap on is compressed 192 to 1 (two bits per DC, two to four per EOB:
# ITU-T T.81 annex K.3); photographs and radiographs reach 50 to 1 at most. PNG and deflate reach
# 1000, JPEG 2000 a million. 96 MiB are more than a radiograph or a 32-megapixel camera produces.
MAX_RATIOS = ((32 << 20, 200), (96 << 20, 100))


def refuse_oversize(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"the header says {width} x {height} pixels, so there is no image")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the header says {width} x {height} pixels, more than the limit of "
            f"{MAX_PIXELS // 10**6} megapixels; the file is damaged, or made to exhaust memory"
        )


def refuse_bomb(decoded_bytes: int, packed_bytes: int) -> None:
    """Raises ImageError for a small file that would become large (`MAX_RATIOS`).

    Reading a file that passes takes about three times its decoded size: under 300 MB if compressed
    more than any real picture, otherwise no more than a real image of that size.
    """
    for above, ratio in MAX_RATIOS:
        if decoded_bytes > above and decoded_bytes > ratio * packed_bytes:
            raise ImageError(
                f"{max(packed_bytes >> 10, 1)} KiB would become {decoded_bytes >> 20} MiB, more "
                f"than {ratio} to 1: no photograph or radiograph compresses so well; the file is "
                "blank, damaged, or made to exhaust memory"
            )
