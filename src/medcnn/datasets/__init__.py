"""Data sets by name: each is one file that turns a folder into a Manifest, and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.choices import bind, choose
from medcnn.datasets import chestxray14, ham10000, medmnist, phantom, table
from medcnn.datasets.class_folders import IMAGE_SUFFIXES
from medcnn.manifest import Manifest

__all__ = ["DATASETS", "IMAGE_SUFFIXES", "Dataset", "check_options", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A layout that can be read.

    Attributes:
        read: `read(root, *, options...)`; options are bound from YAML by name.
        about: one line.
        url: the page to get it from.
        private: ids and file names may name patients, so they become pseudonyms; those of public
            sets were given by their authors and stay.
        wants: what the user must name: `data.root=FOLDER`, `data.path=FILE`, or nothing.
    """

    read: Callable[..., Manifest]
    about: str
    licence: str
    url: str
    wants: str = "data.root=FOLDER"
    private: bool = False


DATASETS = {
    "chestxray14": Dataset(
        read=chestxray14.read,
        about="112,120 chest radiographs, 14 findings",
        licence="free with attribution",
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    ),
    "ham10000": Dataset(
        read=ham10000.read,
        about="10,015 dermoscopic images, 7 diagnoses",
        licence="CC BY-NC 4.0",
        url="https://doi.org/10.7910/DVN/DBW86T",
    ),
    "medmnist": Dataset(
        read=medmnist.read,
        about="12 small sets of many modalities (2-D), one npz each",
        licence="CC BY 4.0 (dermamnist CC BY-NC 4.0)",
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
        about="your own: a CSV whose columns are named in YAML, or a folder per class",
        licence="yours",
        url="your hospital; see docs/your-data.md",
        private=True,
    ),
}


def read(name: str, root: Path | None, options: Mapping[str, Any]) -> Manifest:
    """The manifest of the data set `name`; splits stand in it only where its author made them."""
    return _bound(name, options)(root)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises UsageError for options that the adapter `name` does not take."""
    _bound(name, options)


def _bound(name: str, options: Mapping[str, Any]) -> Callable[..., Manifest]:
    return bind(choose(DATASETS, name, "data").read, options, f"data={name}")
