"""The Secondary Capture of a heat map: a picture for any viewer (PS3.3 A.8.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from medcnn.clinic.answers import Answer, HeatMap
from medcnn.clinic.headers import NOT_FOR_DIAGNOSIS, Asked, Kind, headed, reference
from medcnn.images.resizing import contained
from medcnn.pages.overlay import with_scale
from medcnn.statistics.strangeness import USUAL

KIND = Kind(name="heat map", sop_class=SecondaryCaptureImageStorage, modality="OT", number=9002)
# The map has far fewer positions, and the words below it must stay legible.
LONGEST_PX = 1024
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def picture(of: Asked, heat: HeatMap) -> Dataset:
    """Raises ImageError as `headers.headed` does."""
    made = headed(of, KIND)
    pixels = drawn(heat, warning_of(of.answer))
    # PS3.3 C.8.6.1, SC Equipment; C.7.6.1, General Image; C.7.6.3, Image Pixel
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "YES"
    made.DerivationDescription = (
        f"{heat.method} of a neural network as a heat map over the image; {NOT_FOR_DIAGNOSIS}"
    )
    made.PatientOrientation = of.source.get("PatientOrientation") or None
    made.Laterality = of.source.get("Laterality") or None
    made.SourceImageSequence = [reference(of)]
    if of.source.get("LossyImageCompression") == "01":
        for name in LOSSY:
            if name in of.source:
                made[name] = of.source[name]
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "RGB"
    made.PlanarConfiguration, made.PixelRepresentation = 0, 0
    made.Rows, made.Columns = pixels.shape[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    return made


def warning_of(answer: Answer) -> str:
    """What is written into the picture: a map persuades even where the answer means nothing."""
    looks = answer.looks if answer.looks not in (None, USUAL) else None
    return NOT_FOR_DIAGNOSIS.upper() + (f"   image: {looks}" if looks else "")


def drawn(heat: HeatMap, warning: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[H, W, 3]: the map over the image, its scale, and a warning in words."""
    pixels, values = heat.pixels, heat.values
    if max(pixels.shape[:2]) > LONGEST_PX:
        pixels = contained(pixels, LONGEST_PX)
        height, width = pixels.shape[:2]
        small = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(small)
    over = with_scale(pixels, values, f"{heat.method} of {heat.label}", heat.unit)
    letters_px = max(13, over.width // 30)
    whole = Image.new("RGB", (over.width, over.height + letters_px * 3 // 2))
    whole.paste(over, (0, whole.height - over.height))
    pen = ImageDraw.Draw(whole)
    pen.text((2, 2), warning, fill="yellow", font_size=letters_px)
    return np.asarray(whole)
