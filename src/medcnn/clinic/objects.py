"""From the answer to one image to the DICOM objects that are stored beside it."""

from __future__ import annotations

from pydicom import Dataset

from medcnn.clinic import headers
from medcnn.clinic.answers import Answer, Identity
from medcnn.clinic.report import report
from medcnn.images.reading import Frames


def objects_of(
    source: Dataset,
    answer: Answer,
    model: Identity,
    *,
    window: int = 0,
    frames: Frames = Frames.ERROR,
) -> list[Dataset]:
    """A Structured Report; with a heat map also a Secondary Capture of it and a presentation state
    that outlines its hot spots. All in the study of the source, each kind in a series of its own.

    They hold the name of the patient. The same arguments give the same objects, and `file_of` the
    same bytes: no UID and no date comes from anywhere else.

    Args:
        source: header of the image; its pixels are not needed.
        window, frames: how it was read, as in `Preprocessing`.

    Raises:
        ImageError: the source lacks a UID by which a result is filed, or its text cannot be
            decoded.
        UsageError: highdicom is not installed.
    """
    of = headers.asked(source, answer, model, window=window, frames=frames)
    return [report(of)]


file_of = headers.file_of
