"""What `predict explain=METHOD` writes beside its table: a picture of each image with its map, and
`maps.csv`. Files are named after lines of the table, since names of images may name patients."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medcnn.clinic.answers import HeatMap
from medcnn.config import Choice
from medcnn.models.deployed import Model
from medcnn.models.explained import explain_image
from medcnn.models.explaining import METHODS, Logit
from medcnn.models.inputs import Images
from medcnn.pages.overlay import highest, with_scale
from medcnn.places import maps_of
from medcnn.statistics.predictions import Predictions
from medcnn.system.files import private_to, quoted, table
from medcnn.system.progress import log, track

COLUMNS = ("line", "picture", "method", "label", "logit", "highest", "x", "y")
Draw = Callable[[Images, Predictions, Sequence[str]], None]


@contextmanager
def maps_beside(
    output: Path,
    model: Model,
    how: Choice | None,
    also: Callable[[str, HeatMap], object] = lambda *_: None,
) -> Iterator[Draw]:
    """A function that draws maps of some images, given their predictions and the ids of all rows
    of the table, in order. What was drawn is removed if the block raises.

    Args:
        output: the table.
        how: a method with its options, and the `label` to explain; None: nothing is drawn.
        also: is given each image's id and map.

    Raises:
        UsageError: the method, an option or the label is unknown.
    """
    if how is None:
        yield lambda *_: None
        return
    options = dict(how.options)
    label = options.pop("label", None)
    METHODS.bind(how.name, options)
    if label is not None:
        label = str(label)  # YAML reads the name of a grade as a number
        Logit.of(model.classifier, model.labels, label)
    rows: list[dict[str, object]] = []
    line = 1  # of the header

    def draw(part: Images, said: Predictions, ids: Sequence[str]) -> None:
        nonlocal line
        row_of = {quoted(r.image_id): i for i, r in enumerate(part.manifest.records)}
        known = {quoted(image_id) for image_id in said.image_ids}
        for image_id in track(ids, len(ids), "maps"):
            line += 1
            if image_id not in known:
                continue
            row = row_of[image_id]
            path = part.manifest.records[row].path
            whole = model.preprocessing.read_whole(part.manifest.root, path)
            seen = part.store.take(np.array([row]))[0]
            found = explain_image(model, seen, whole, Choice(name=how.name, options=options), label)
            top = highest(found.map)
            at = np.unravel_index(np.nanargmax(found.map), found.map.shape) if top else ("", "")
            words = f"{how.name} of {found.label}"
            picture = with_scale(whole, found.map, words, found.unit)
            picture.save(folder / f"{line:06}.png")
            also(
                image_id,
                HeatMap(
                    pixels=whole,
                    values=found.map,
                    label=found.label,
                    method=how.name,
                    unit=found.unit,
                ),
            )
            named = (line, f"{line:06}.png", how.name, quoted(found.label))
            numbers = (f"{found.logit:.6f}", f"{top:.6g}", at[1], at[0])
            rows.append(dict(zip(COLUMNS, (*named, *numbers), strict=True)))

    folder = maps_of(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    try:
        with private_to(folder):
            yield draw
            with table(folder / "maps.csv") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
    except BaseException:
        shutil.rmtree(folder)
        raise
    log.info(f"{len(rows):,} maps by {how.name}: {folder}")
