"""Data sets by name. Each has a file that turns a folder into a Manifest, and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.data.manifest import Manifest
from medcnn.data.own import table
from medcnn.data.own.sheets import refuse_rows
from medcnn.data.phantoms import adapter as phantom
from medcnn.data.public import (
    aptos2019,
    chestxray14,
    chexpert,
    covid_chestxray,
    ddr,
    eyepacs,
    ham10000,
    idrid,
    isic2018,
    isic2019,
    isic2020,
    kermany,
    medmnist,
    messidor2,
    mimic_cxr_jpg,
    pad_ufes_20,
    padchest,
    ph2,
    rsna_pneumonia,
    vindr_cxr,
)
from medcnn.data.public.layouts import PublicSet
from medcnn.images import file_part
from medcnn.system.errors import DataError, listed, private
from medcnn.system.paths import MISSING, faults_on_disk
from medcnn.system.registry import Table

__all__ = ["DATASETS", "Dataset", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A layout that can be read.

    Attributes:
        read: `read(root, *, options...)`; options are bound from YAML by name.
        about: one line.
        url: where to get it.
        private: ids and file names may name patients, so they become pseudonyms; public sets keep
            their authors' ids.
        public: the public set with this layout, if there is one.
        wants: what the user must give: `data.root=FOLDER`, `data.path=FILE`, or nothing.
    """

    read: Callable[..., Manifest]
    about: str
    licence: str
    url: str
    wants: str = "data.root=FOLDER"
    private: bool = False
    public: PublicSet | None = None


def _of(adapter: Any) -> Dataset:
    """The row for a module with `SET` and `read`."""
    public: PublicSet = adapter.SET
    return Dataset(
        read=adapter.read,
        about=f"{public.about}; {public.labels}",
        licence=public.licence,
        url=public.url,
        public=public,
    )


_PUBLIC = (
    *(aptos2019, chestxray14, chexpert, covid_chestxray, ddr, eyepacs, ham10000, idrid, isic2018),
    *(isic2019, isic2020, kermany, messidor2, mimic_cxr_jpg, pad_ufes_20, padchest, ph2),
    *(rsna_pneumonia, vindr_cxr),
)
_OWN = {module.__name__.rpartition(".")[2]: _of(module) for module in _PUBLIC} | {
    "medmnist": Dataset(
        read=medmnist.read,
        about="12 small sets of many modalities (2-D), 28 to 224 px, one npz each",
        licence="CC BY 4.0, dermamnist CC BY-NC 4.0",
        url="https://medmnist.com",
        wants="data.path=FILE",
    ),
    "phantom": Dataset(
        read=phantom.read,
        about="drawn fundus, dermoscopy or chest images; needs no download",
        licence="Apache-2.0",
        url="medcnn draws them",
        wants="",
    ),
    "table": Dataset(
        read=table.read,
        about="your own: a table (CSV, Excel, Parquet), or one folder per class; see `medcnn init`",
        licence="yours",
        url="your hospital; see docs/your-data.md",
        private=True,
    ),
}

DATASETS = Table("data set", _OWN, group="datasets", kind=Dataset, function=lambda row: row.read)


def read(
    name: str, root: Path | None, options: Mapping[str, Any], *, faulty: bool = False
) -> Manifest:
    """The manifest of the data set `name`, with splits only if its author made them.

    Args:
        faulty: accept faulty rows, and list their faults in the manifest.

    Raises:
        DataError: rows have faults, or a file is a link out of the root, a pipe or a device; all
            are reported at once.
    """
    manifest: Manifest = DATASETS.bind(name, options)(root)
    if not faulty:
        refuse_rows(manifest.faults, "; medcnn audit lists them")
    faults = faults_on_disk(
        manifest.root,
        {file_part(r.path) for r in manifest.records},
        follow_links=options.get("follow_links") is True,
    )
    if unsafe := [
        f"{private(path)} is {why}" for path, why in sorted(faults.items()) if why != MISSING
    ]:
        raise DataError(
            f"{manifest.source} under {manifest.root}: {len(unsafe)} images are not opened: "
            f"{listed(unsafe)}."
        )
    return manifest
