"""`who`: finds the image behind an id on a page, in a table or in a message, given data and key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import UsageError
from medcnn.system.registry import nearest
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.config import DataConfig
    from medcnn.data.manifest import Manifest, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoConfig:
    """`ids` are the words of the command without a key."""

    ids: tuple[str, ...]
    data: DataConfig


def check(config: WhoConfig) -> None:
    from medcnn.places import require_data

    require_data(config.data)


BEGINNING = re.compile(r"[a-z]+-[0-9a-f]{4,11}")


def run(config: WhoConfig, _: Command) -> None:
    """Print the image and patient of each id in clear text: this is its purpose.

    Raises:
        UsageError: no id, or unknown ids, all at once.
    """
    from medcnn.system.files import visible
    from medcnn.system.progress import log
    from medcnn.verbs.steps.datasets import labelled

    if not config.ids:
        raise UsageError("who needs an id: medcnn who IMAGE-ID data=NAME --config-dir FOLDER.")
    manifest = labelled(config.data, log.warning, faulty=True)
    found = {asked: _meant(asked, manifest) for asked in config.ids}
    if unknown := [asked for asked, rows in found.items() if not rows]:
        ids = {r.image_id for r in manifest.records} | {r.group for r in manifest.records}
        faults = "\n".join(f"unknown id '{asked}'{nearest(asked, ids)}" for asked in unknown)
        raise UsageError(
            f"{faults}\nTo find an id, name the data that it came from, and use the same key "
            "(MEDCNN_PSEUDONYM_KEY_FILE; otherwise that of the account and machine)."
        )
    table = config.data.options.get("table")
    lines = (
        line
        for asked, rows in found.items()
        for line in (asked, *(part for row in rows for part in _lines(manifest, row, table)))
    )
    print(visible("\n".join(lines)))


def _meant(asked: str, manifest: Manifest) -> list[int]:
    """Rows of the image, or of all images of the patient; or of what a message calls `id-...`. The
    beginning of a pseudonym, as a table on a terminal shows it, is enough if it is unique."""
    from medcnn.system.privacy import as_names

    names = [{r.image_id, r.group} for r in manifest.records]
    if rows := [i for i, ids in enumerate(names) if asked in ids]:
        return rows
    if BEGINNING.fullmatch(asked):
        begun = {n for ids in names for n in ids if n.startswith(asked)}
        if len(begun) == 1:
            return [i for i, ids in enumerate(names) if begun & ids]
    every = {n for r in manifest.records for n in _names(r)}
    (name,) = as_names([asked], every)
    return [i for i, r in enumerate(manifest.records) if name in _names(r)] if name != asked else []


def _names(record: Record) -> Sequence[str]:
    path = record.path
    return (record.own_id, record.own_group, path, PurePosixPath(path).name)


def _lines(manifest: Manifest, row: int, table: Any) -> list[str]:
    from medcnn.audit.finding import place

    record = manifest.records[row]
    where = f"{table}, {place(manifest, row)}" if table else place(manifest, row)
    lines = [f"  picture  {manifest.root / record.path}", f"  found in {where}"]
    # in a set without a patient column, each image stands for its patient
    of_column = manifest.grouped and record.own_group not in {r.path for r in manifest.records}
    return [*lines, f"  {manifest.group_noun:<8} {record.own_group}"] if of_column else lines


VERB = Verb(
    name="who",
    lines=("who IMAGE-ID data=my_hospital --config-dir my-configs: which image that is",),
    usage="IMAGE-ID ... data=NAME [key=value ...]",
    examples=("who image-8b6b data=my_hospital --config-dir my-configs",),
    rest="ids",
    config=WhoConfig,
    check=check,
    run=run,
)
