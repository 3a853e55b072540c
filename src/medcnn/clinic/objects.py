"""From the answer to one image to the DICOM objects that are stored beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom import Dataset

from medcnn.clinic import headers
from medcnn.clinic.answers import Answer, Identity
from medcnn.clinic.outlines import outline
from medcnn.clinic.pictures import picture
from medcnn.clinic.report import report, report_of_study
from medcnn.images.reading import Frames
from medcnn.system.errors import ImageError, MedcnnError


def objects_of(
    source: Dataset,
    answer: Answer,
    model: Identity,
    *,
    window: int = 0,
    frames: Frames = Frames.ERROR,
    reported: bool = True,
) -> list[Dataset]:
    """A Structured Report; with a heat map also a Secondary Capture of it and a presentation state
    that outlines its hot spots. All in the study of the source, each kind in a series of its own.

    They hold the name of the patient. The same arguments give the same objects, and `file_of` the
    same bytes: no UID and no date comes from anywhere else.

    Args:
        source: header of the image; its pixels are not needed.
        window, frames: how it was read, as in `Preprocessing`.
        reported: with the Structured Report; False: `study_report` has it.

    Raises:
        ImageError: the source lacks a UID by which a result is filed, or its header cannot be
            read.
        UsageError: highdicom is not installed.
    """
    with _any_header():
        of = headers.asked(source, answer, model, window=window, frames=frames)
        return _objects(of, reported=reported)


def study_report(images: Sequence[headers.Asked]) -> Dataset:
    """One Structured Report of all these images of a study, whatever their order.

    Raises:
        ImageError: they name several patients, or a header cannot be read.
        UsageError: highdicom is not installed.
    """
    with _any_header():
        return report_of_study(images)


def asked(
    source: Dataset, answer: Answer, model: Identity, *, window: int, frames: Frames
) -> headers.Asked:
    """An image for `study_report`; raises ImageError as `objects_of` does."""
    with _any_header():
        source = headers.filed_by(source)
        return headers.asked(source, answer, model, window=window, frames=frames)


@contextmanager
def _any_header() -> Iterator[None]:
    """Of values that break a rule, such as a name without a caret, nothing is said: they are kept
    as they are. Raises ImageError where a header cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except MedcnnError:
            raise
        except Exception as error:  # pydicom converts on access, and a header may hold anything
            # their texts may quote the header, which may name the patient
            why = f"the header cannot be used ({type(error).__name__})"
            raise ImageError(why) from error


def _objects(of: headers.Asked, *, reported: bool) -> list[Dataset]:
    made = [report(of)] if reported else []
    if heat := of.answer.heat:
        made.append(picture(of, heat))
        if (outlined := outline(of, heat)) is not None:
            made.append(outlined)
    return made


file_of = headers.file_of
