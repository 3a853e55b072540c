"""One image on its way to the network, as pictures of a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from medcnn.images.preprocessing import Preprocessing
from medcnn.images.reading import Pixels, is_dicom, read_file
from medcnn.images.resizing import contained, narrowed
from medcnn.pages.pictures import address, encoded

THUMBNAIL_PX = 192
# Below this a JPEG shows its blocks, and a PNG is as small.
PLAIN_PX = 64
# Of one picture: a page of forty images with nine pictures each stays below 5 MB. Photographs stay
# at the best of the qualities.
MOST_BYTES = 9_000
QUALITIES = (80, 60, 40, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    name: str
    uri: str
    width: int
    height: int
    detail: str = ""
    shrunk: bool = False


def way(
    root: Path, path: str, preprocessing: Preprocessing
) -> tuple[dict[str, str], list[Picture], Pixels]:
    """What in the header of a DICOM decided, a picture of each step, and the image [H, W, C] as the
    network gets it. Raises ImageError."""
    facts, steps = _read(root, path, preprocessing)
    # as training reads it, which may be a reduced image
    pixels = preprocessing.read_whole(root, path, at_least_px=preprocessing.needs_px)
    stages = list(preprocessing.stages(pixels))
    for (name, done), (following, _) in zip(stages, [*stages[1:], ("", None)], strict=True):
        # if nothing comes between, the final image shows the same
        if (name, following) != ("resized", "final"):
            steps.append(picture(name, done, _size(done)))
    return facts, steps, stages[-1][1]


def _read(
    root: Path, path: str, preprocessing: Preprocessing
) -> tuple[dict[str, str], list[Picture]]:
    """The image as its file holds it, at full size; a DICOM with all that its header asks for."""
    # first, since it has a reason for every kind of damage
    pixels = preprocessing.read_whole(root, path)
    if ".npz#" not in path and is_dicom(data := read_file(root / path)):
        from medcnn.images.dicom_chain import explained

        facts, stages = explained(data, window=preprocessing.window, frames=preprocessing.frames)
        facts["size"] = _size(pixels)
        return facts, [picture(s.name, s.pixels, f"{s.low:.5g} to {s.high:.5g}") for s in stages]
    return {}, [picture("as read", pixels, _size(pixels))]


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} × {pixels.shape[0]} px"


def picture(name: str, pixels: Pixels, detail: str = "") -> Picture:
    """A small copy of pixels [H, W, C] within the page."""
    shrunk = max(pixels.shape[:2]) > THUMBNAIL_PX
    if shrunk:
        pixels = contained(pixels, THUMBNAIL_PX)
    values = narrowed(pixels)
    if (values == values[:, :, :1]).all():
        values = values[:, :, :1]
    height, width, channels = values.shape
    image = Image.fromarray(values if channels == 3 else values[:, :, 0])
    kind = "png" if max(height, width) <= PLAIN_PX else "jpeg"
    for quality in QUALITIES if kind == "jpeg" else (None,):
        content = encoded(image, kind, **({"quality": quality} if quality else {}))
        if len(content) * 3 // 4 <= MOST_BYTES:
            break
    uri = address(kind, content)
    return Picture(name=name, uri=uri, width=width, height=height, detail=detail, shrunk=shrunk)
