"""The presentation state that outlines the hot spots of a heat map on the image itself.

Softcopy presentation state, grey (PS3.3 A.33.1) or colour (A.33.2). It holds no pixels: a viewer
shows the image through it, with the window that the model saw it with.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
)
from pydicom.valuerep import DSfloat

from medcnn.clinic.answers import HeatMap
from medcnn.clinic.headers import NOT_FOR_DIAGNOSIS, Asked, Kind, headed, reference
from medcnn.images import grayscale
from medcnn.images.dicom import MONOCHROME, of_frame
from medcnn.images.luts import modality_luts, presentation_luts, voi_luts

GREY, COLOUR = (
    Kind(name="outline", sop_class=sop_class, modality="PR", number=9003)
    for sop_class in (
        GrayscaleSoftcopyPresentationStateStorage,
        ColorSoftcopyPresentationStateStorage,
    )
)
LAYER = "HOTSPOTS"
# A hot spot is where the map has at least half of its highest value. The most of them, those with
# the most evidence first, and the most positions of an outline.
HALF, MOST_SPOTS, MOST_POINTS = 0.5, 5, 200
# Per side of the map that is outlined: finer maps are averaged, or each pixel would be a spot.
CELLS = 128
# Yellow as CIELab (PS3.3 C.10.7.1.1), and white.
YELLOW, WHITE = [63634, 27345, 57182], 65535

Points = NDArray[np.float64]


def outline(of: Asked, heat: HeatMap) -> Dataset | None:
    """None if no position speaks for the label, so that there is nothing to outline.

    Raises:
        ImageError: as `headers.headed` does.
    """
    spots = hot_spots(heat.values)
    if not spots:
        return None
    # what of a frame stands in its functional groups is lifted to the top of the copy
    source = of_frame(copy(of.source), (of.frame or 1) - 1)
    grey = source.PhotometricInterpretation in MONOCHROME
    made = headed(of, GREY if grey else COLOUR)
    # PS3.3 C.11.10, Presentation State Identification; these have no content date
    made.PresentationCreationDate, made.PresentationCreationTime = (
        made.ContentDate,
        made.ContentTime,
    )
    del made.ContentDate, made.ContentTime
    made.ContentLabel, made.ContentCreatorName = LAYER, None
    made.Laterality = of.source.get("Laterality") or None
    made.ContentDescription = f"hot spots of {heat.method}, {NOT_FOR_DIAGNOSIS}"
    # PS3.3 C.11.11, Presentation State Relationship
    series = Dataset()
    series.SeriesInstanceUID = of.source.SeriesInstanceUID
    series.ReferencedImageSequence = [reference(of)]
    made.ReferencedSeriesSequence = [series]
    made.DisplayedAreaSelectionSequence = [_whole(source)]
    made.GraphicAnnotationSequence = [_annotation(heat, spots)]
    made.GraphicLayerSequence = [_layer()]
    if grey:
        _add_grey_steps(made, source, of.window)
    else:
        made.ICCProfile = source.get("ICCProfile") or srgb()
    return made


def hot_spots(values: NDArray[np.float32]) -> list[Points]:
    """Closed lines [N, 2] of columns and rows around the hot spots, in pixels of the image: 0 is
    the outer edge of the first pixel (PS3.3 C.10.5, PIXEL)."""
    from contourpy import contour_generator
    from scipy import ndimage

    height, width = values.shape
    cells = np.nan_to_num(np.asarray(values, np.float32), nan=0.0).clip(0)
    size = tuple(min(side, CELLS) for side in (width, height))
    if size != (width, height):
        cells = np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BOX))
    bound = HALF * float(cells.max())
    if not bound > 0:
        return []
    spots, count = ndimage.label(cells >= bound)
    weights = ndimage.sum(cells, spots, range(1, count + 1))
    scale = np.array([width / size[0], height / size[1]])
    lines = []
    for number in 1 + np.argsort(-weights, kind="stable")[:MOST_SPOTS]:
        # the others fall just below the bound, and a border of zeros closes every line
        alone = np.where(spots == number, cells, np.minimum(cells, np.nextafter(bound, 0)))
        found = [np.asarray(f) for f in contour_generator(z=np.pad(alone, 1)).lines(bound)]
        at = (max(found, key=len) - 1 + 0.5) * scale
        lines.append(_thinned(at.clip(0, [width, height])))
    return lines


def _thinned(line: Points) -> Points:
    """Fewer positions, the last one still equal to the first."""
    step = -(-(len(line) - 1) // MOST_POINTS)
    return np.concatenate([line[:-1:step], line[:1]])


def _whole(source: Dataset) -> Dataset:
    """PS3.3 C.10.4, Displayed Area: all of it, with the first pixel at 1, and pixels in the shape
    that the image says they have."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [source.Columns, source.Rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    spacing = source.get("PixelSpacing") or source.get("ImagerPixelSpacing") or []
    if len(spacing) == 2 and min(spacing) > 0:
        area.PresentationPixelSpacing = list(spacing)
    else:
        area.PresentationPixelAspectRatio = list(source.get("PixelAspectRatio") or [1, 1])
    return area


def _annotation(heat: HeatMap, spots: list[Points]) -> Dataset:
    """PS3.3 C.10.5, Graphic Annotation: outlines, and what they are in words at the top."""
    words, annotation = Dataset(), Dataset()
    words.BoundingBoxAnnotationUnits = "DISPLAY"
    words.BoundingBoxTopLeftHandCorner, words.BoundingBoxBottomRightHandCorner = [0, 0], [1, 0.05]
    words.BoundingBoxTextHorizontalJustification = "LEFT"
    words.UnformattedTextValue = f"{heat.method} of {heat.label}, {NOT_FOR_DIAGNOSIS}"
    annotation.GraphicLayer = LAYER
    annotation.TextObjectSequence = [words]
    annotation.GraphicObjectSequence = []
    for spot in spots:
        line = Dataset()
        line.GraphicAnnotationUnits, line.GraphicDimensions = "PIXEL", 2
        line.NumberOfGraphicPoints = len(spot)
        line.GraphicData = spot.astype(np.float32).ravel().tolist()
        line.GraphicType, line.GraphicFilled = "POLYLINE", "N"
        annotation.GraphicObjectSequence.append(line)
    return annotation


def _layer() -> Dataset:
    """PS3.3 C.10.7, Graphic Layer."""
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = LAYER, 1
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = WHITE
    layer.GraphicLayerRecommendedDisplayCIELabValue = YELLOW
    return layer


def _add_grey_steps(made: Dataset, source: Dataset, window: int) -> None:
    """The steps of PS3.4 N.2 that the image was read with: modality (PS3.3 C.11.1), VOI (C.11.8)
    and presentation (C.11.6). A viewer then ignores those of the image, its polarity included."""
    if luts := modality_luts(source):
        made.ModalityLUTSequence = luts[:1]
    elif (steps := grayscale.rescale(source)) != (1.0, 0.0):
        made.RescaleSlope, made.RescaleIntercept = map(_decimal, steps)
        made.RescaleType = source.get("RescaleType") or "US"
    voi = Dataset()
    centers, widths, function = grayscale.windows(source)
    if luts := voi_luts(source):
        voi.VOILUTSequence = luts[window : window + 1]
    for pair in () if luts else list(zip(centers, widths, strict=False))[window : window + 1]:
        if grayscale.usable(*pair, function):
            voi.WindowCenter, voi.WindowWidth = map(_decimal, pair)
            voi.VOILUTFunction = function
    if voi:
        made.SoftcopyVOILUTSequence = [voi]
    if luts := presentation_luts(source):
        made.PresentationLUTSequence = luts[:1]
    else:
        made.PresentationLUTShape = "INVERSE" if grayscale.turned(source) else "IDENTITY"


def _decimal(value: float) -> DSfloat:
    """In at most 16 characters (PS3.5 6.2, DS)."""
    return DSfloat(value, auto_format=True)


def srgb() -> bytes:
    """An ICC profile as PS3.3 C.11.15 wants it: of an input device, without the date of today."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # ICC.1:2022 7.2: the class is at 12, the date at 24
    date = np.array([2000, 1, 1, 0, 0, 0], ">u2").tobytes()
    return profile[:12] + b"scnr" + profile[16:24] + date + profile[36:]
