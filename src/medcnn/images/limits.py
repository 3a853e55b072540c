"""What no honest image exceeds: checked on the header, before anything is decoded."""

from __future__ import annotations

from medcnn.system.errors import ImageError

# The largest radiographs have about 30 megapixels. Above 89 megapixels pillow warns by itself.
MAX_PIXELS = 80_000_000
MAX_FILE_BYTES = 1 << 30
# 48 megapixels of 16 bits; inflating takes twice this for a moment.
MAX_INFLATED_BYTES = 96 << 20
# Above so many decoded bytes a file that is smaller by more than this factor is a bomb. The
# JPEG of a camera with its lens cap on is packed 192 to 1 (two bits a DC, two to four an EOB:
# ITU-T T.81 annex K.3); photographs and radiographs come to 50 to 1 at most. PNG and deflate
# reach 1000, JPEG 2000 a million. 96 MiB are more than a radiograph or a camera of 32
# megapixels has: who packs that much so tightly packed nothing.
MAX_RATIOS = ((32 << 20, 200), (96 << 20, 100))


def refuse_oversize(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"the header says {width} x {height} pixels, that is no image")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the header says {width} x {height} pixels, more than the {MAX_PIXELS // 10**6} "
            "megapixels that are decoded; a file like this is damaged or made to exhaust memory"
        )


def refuse_bomb(decoded_bytes: int, packed_bytes: int) -> None:
    """Raises ImageError for a small file that would become large (`MAX_RATIOS`).

    What passes needs some three times its decoded size while it is read: under 300 MB where it is
    packed as tightly as no picture is, else as much as real images of that size need.
    """
    for above, ratio in MAX_RATIOS:
        if decoded_bytes > above and decoded_bytes > ratio * packed_bytes:
            raise ImageError(
                f"{max(packed_bytes >> 10, 1)} KiB that would become {decoded_bytes >> 20} MiB, "
                f"more than {ratio} to 1: no photograph or radiograph is packed so tightly; the "
                "file is blank, damaged or made to exhaust memory"
            )
