"""Files with readers: their points (YAML, or a table with one row per reader), or what they called
each image (a table with one row per reading)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml

from medcnn.data.own.sheets import TABLE_SUFFIXES, Sheet, read_sheet, refuse_rows
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.reader_calls import HEAD, Calls, point, study_rows
from medcnn.statistics.reader_points import ReaderPoint, points_of
from medcnn.system.errors import UsageError, at_once, listed, private
from medcnn.system.files import plain, table
from medcnn.system.progress import log
from medcnn.system.registry import nearest

NEEDED, MAY_LACK = ("image_id", "reader", "call"), "label"
READINGS = "readings.csv"


def read_readers(path: Path) -> list[ReaderPoint] | list[Calls]:
    """Raises UsageError or DataError if there is no such file, or something else in it."""
    if not path.is_file():
        raise UsageError(f"readers={path}: no such file.")
    if path.suffix.lower() in TABLE_SUFFIXES:
        sheet = read_sheet(path)
        if NEEDED[0] in sheet.columns:
            return _calls(sheet)
        return points_of(sheet.rows, f"readers={path}")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"readers={path} cannot be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        endings = ", ".join(TABLE_SUFFIXES)
        raise UsageError(
            f"readers={path} is neither YAML nor has a table's extension ({endings})."
        ) from None
    return points_of(found if isinstance(found, list) else [found], f"readers={path}")


def _calls(sheet: Sheet) -> list[Calls]:
    """Readers by number, in order of appearance; their names are dropped."""
    sheet.require(NEEDED, ", ".join((*NEEDED, MAY_LACK)))
    has_label = MAY_LACK in sheet.columns
    faults: list[str] = []
    numbers: dict[str, int] = {}
    found: dict[tuple[int, str], dict[str, bool]] = {}
    for at, row in enumerate(sheet.rows):
        faults += [f"{sheet.line(at)}: {name} is empty" for name in NEEDED if not row[name]]
        if row["call"] not in ("0", "1", ""):
            faults.append(f"{sheet.line(at)}: call should be 0 or 1")
        label = plain(row[MAY_LACK]) if has_label else ""
        number = numbers.setdefault(row["reader"], len(numbers) + 1)
        calls = found.setdefault((number, label), {})
        if plain(row["image_id"]) in calls:
            faults.append(f"{sheet.line(at)}: this reader has already called this image")
        calls[plain(row["image_id"])] = row["call"] == "1"
    refuse_rows(faults)
    return [
        Calls(reader=f"reader {number}", label=label, calls=calls)
        for (number, label), calls in found.items()
    ]


def points_on(
    given: Sequence[ReaderPoint] | Sequence[Calls], predictions: Predictions, folder: Path
) -> list[ReaderPoint]:
    """Points for the ROC curves of these predictions. For calls, `folder` gets the tables that
    `medcnn readers` reads, one per class.

    Raises:
        UsageError: calls about other images or classes, or of one kind of image only.
    """
    calls = [_named(one, predictions) for one in given if isinstance(one, Calls)]
    if not calls:
        return [one for one in given if isinstance(one, ReaderPoint)]
    points: list[ReaderPoint] = []

    def add(one: Calls) -> None:
        points.append(point(one, predictions))

    at_once(*(partial(add, one) for one in calls))
    labels = list(dict.fromkeys(one.label for one in calls))
    for label in labels:
        number = f"-{predictions.labels.outputs.index(label) + 1}" if len(labels) > 1 else ""
        path = folder / READINGS.replace(".", f"{number}.")
        rows = list(study_rows([one for one in calls if one.label == label], predictions))
        if not rows:
            log.info(f"No image was read by every reader for '{label}', so there is no {path.name}")
            continue
        refuse_foreign(path)
        with table(path) as file:
            csv.writer(file).writerows([HEAD, *rows])
        cases = len({row[0] for row in rows})
        log.info(f"{path}: {cases:,} images that every reader read for '{label}', for readers")
    return points


def refuse_foreign(path: Path) -> None:
    """Raises UsageError for a table that somebody else wrote, such as that of the calls itself."""
    if not path.exists():
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline().strip()
    if head != ",".join(HEAD):
        raise UsageError(f"{path} is not a table of medcnn report, so it is not replaced: move it.")


def _named(given: Calls, predictions: Predictions) -> Calls:
    """With the model's only class if the table names none. Raises UsageError."""
    outputs = predictions.labels.outputs
    label = given.label or (outputs[0] if len(outputs) == 1 else "")
    if not label:
        raise UsageError(
            f"readers: the table has no column 'label', and the model has {len(outputs)} classes: "
            f"{', '.join(outputs)}."
        )
    if label not in outputs:
        raise UsageError(f"readers: the model has no class '{label}'{nearest(label, outputs)}")
    if unknown := sorted(given.calls.keys() - set(predictions.image_ids)):
        raise UsageError(
            f"readers: {len(unknown):,} of the images that {given.reader} called are not among the "
            f"{len(predictions.image_ids):,} of {predictions.split}: "
            f"{listed([private(image) for image in unknown])}. Take image_id from "
            f"predictions_{predictions.split}.csv."
        )
    return Calls(reader=given.reader, label=label, calls=given.calls)
