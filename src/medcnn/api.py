"""The Python interface: the functions of the commands, for notebooks and scripts.

`import medcnn` offers every name below, and imports torch only when one is used. `Model.predict`
and `medcnn predict` give the same result, bit for bit.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medcnn.cli.compose import read_command
from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.classifier import unit_range
from medcnn.models.deployed import Model
from medcnn.models.deployed import load_model as load
from medcnn.pixels.opening import open_store
from medcnn.pixels.pixel_store import PixelStore
from medcnn.places import require_predictions
from medcnn.statistics import comparing
from medcnn.statistics.differences import Pairing, adjusted
from medcnn.statistics.evaluation import Evaluation, read_metrics
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.system.errors import UsageError
from medcnn.system.progress import log
from medcnn.verbs import execute
from medcnn.verbs.audit import AuditConfig
from medcnn.verbs.steps.datasets import manifest_of
from medcnn.verbs.steps.sitting import run_folder_of
from medcnn.verbs.train import TrainConfig

__all__ = [
    "Evaluation",
    "Manifest",
    "Model",
    "Pairing",
    "Predictions",
    "Run",
    "compare",
    "evaluate",
    "load",
    "read_manifest",
    "torch_dataset",
    "train",
]


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of a finished run, and what is in it."""

    folder: Path

    @property
    def report(self) -> Path:
        """The report page."""
        return self.folder / "report.html"

    @property
    def checkpoint(self) -> Path:
        """The weights of the epoch chosen on validation, with their description."""
        return self.folder / "checkpoints" / "best.safetensors"

    @property
    def scores(self) -> dict[str, Evaluation]:
        """Split -> its scores with intervals, from `metrics.json`."""
        return read_metrics(self.folder / "metrics.json")

    def predictions(self, split: str = "test") -> Predictions:
        """The predictions of the model for a split."""
        return Predictions.read(self.folder / f"predictions_{split}.csv")


def train(settings: Sequence[str] = (), *, config_dir: Path | str | None = None) -> Run:
    """Train like `medcnn train`; a stopped run is resumed.

    Args:
        settings: as on the command line: `["data=my_hospital", "model=resnet50"]`.
        config_dir: folder with your own YAML files.

    Raises:
        UsageError: settings are wrong; the message lists all faults.
        DataError: the data are refused.
        DivergedError: the loss became infinite or nan.
    """
    command = read_command("train", [*settings, *_own(config_dir)])
    assert isinstance(command.config, TrainConfig)
    execute(command)
    return Run(run_folder_of(command.config))


def read_manifest(data: Path | str, *, settings: Sequence[str] = ()) -> Manifest:
    """The images of a data YAML with their labels, patients and splits; nothing is decoded.

    Args:
        data: a YAML file, such as `medcnn init` writes, or the name of a public data set.
        settings: more settings, as on the command line: `["data.root=/data/fundus"]`.

    Raises:
        UsageError: a setting is wrong, or the root does not exist.
        DataError: the data are refused.
    """
    file = Path(data)
    if file.suffix not in (".yaml", ".yml"):
        return _manifest([f"data={data}", *settings])
    if not file.is_file():
        raise UsageError(f"{file}: no such file.")
    near = file.absolute().parent
    if near.name == "data" and file.suffix == ".yaml":
        return _manifest([f"data={file.stem}", *settings, *_own(near.parent)])
    with tempfile.TemporaryDirectory() as folder:  # Hydra reads .yaml from a folder of that name
        copies = Path(folder) / "data"
        copies.mkdir()
        for yaml in (*near.glob("*.yaml"), file):  # also those that it may build on; its own last
            shutil.copyfile(yaml, copies / f"{yaml.stem}.yaml")
        try:
            return _manifest([f"data={file.stem}", *settings, *_own(folder)])
        except UsageError as error:
            raise UsageError(str(error).replace(str(copies), str(near))) from error


def _own(config_dir: Path | str | None) -> list[str]:
    return [f"--config-dir={config_dir}"] if config_dir else []


def _manifest(words: list[str]) -> Manifest:
    config = read_command("audit", words).config
    assert isinstance(config, AuditConfig)
    return manifest_of(config.data, config.seed, log.info)


def torch_dataset(
    manifest: Manifest, split: str, preprocessing: Preprocessing, *, cache: str = "auto"
) -> PixelDataset:
    """The images of a split for a training loop of your own.

    Args:
        manifest: the images, from `read_manifest`.
        split: train, validation, test or all.
        preprocessing: that of a model (`model.preprocessing`), or your own.
        cache: where to keep decoded pixels: auto, off, or a folder.

    Returns:
        Item i is an image [C, size_px, size_px], float32 in 0..1, and its target [K], float32,
        nan if a label was not assessed. Unreadable images are left out; `unreadable` says why.

    Raises:
        UsageError: no split has that name.
    """
    rows = manifest.rows(split)
    return PixelDataset(manifest, open_store(manifest, preprocessing, cache=cache), rows)


class PixelDataset(Dataset[tuple[Tensor, Tensor]]):
    """Preprocessed pixels and targets, decoded once.

    Attributes:
        image_ids: id of each item's image.
        groups: patient of each item.
        unreadable: image id -> why it was left out.
    """

    def __init__(self, manifest: Manifest, store: PixelStore, rows: NDArray[np.int64]) -> None:
        self._store, self._rows = store, store.readable(rows)
        self._targets = torch.from_numpy(manifest.targets()[self._rows])
        records = [manifest.records[row] for row in self._rows]
        self.image_ids = tuple(r.image_id for r in records)
        self.groups = tuple(r.group for r in records)
        self.unreadable = {
            manifest.records[row].image_id: store.unreadable[row]
            for row in rows.tolist()
            if row in store.unreadable
        }

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        # an index out of bounds must raise IndexError, which ends a `for` loop
        row = self._rows[item]
        image = torch.from_numpy(self._store.take(np.array([row]))[0])
        return unit_range(image), self._targets[item]


def compare(
    reference: Predictions | Run | Path | str,
    other: Predictions | Run | Path | str,
    *,
    split: str = "test",
    common: bool = False,
    margin: float | None = None,
) -> Pairing:
    """How much two models differ on the same images, tested by patient.

    Args:
        reference: predictions, a run, or its folder.
        other: the same.
        split: which predictions of a run to compare.
        common: leave out images that one of them lacks, instead of refusing.
        margin: how much worse `other` may be in the first score and still count as not inferior.

    Raises:
        DataError: classes, images, labels or patients differ.
    """
    taken = {"reference": _said(reference, split), "other": _said(other, split)}
    pair = comparing.aligned(taken, common=common)
    found = comparing.compare(pair["reference"], pair["other"])
    return adjusted({"other": found}, margin)["other"]


def _said(given: Any, split: str) -> Predictions:
    if isinstance(given, Predictions):
        return given
    folder = given.folder if isinstance(given, Run) else Path(given)
    require_predictions(folder)
    return Predictions.read(folder / f"predictions_{split}.csv")
