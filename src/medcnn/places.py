"""Checks the paths in a command: inputs exist, and outputs overwrite nothing. This happens before
torch is imported, so that mistakes are reported at once."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medcnn.config import DataConfig
from medcnn.data import adapters
from medcnn.data.own.sheets import require_folder
from medcnn.system.errors import UsageError, listed, pip_install
from medcnn.system.files import cache_folder, read_json

WEIGHT_WORDS = ("auto", "pretrained", "none")
# Names of weights in a folder from timm or the Hugging Face hub.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")

# What the folder of a cross-validation says about itself.
CROSSVALIDATION = "crossvalidation.json"
# Files that identify the folder of a run, or of several.
OF_A_RUN = ("run.json", CROSSVALIDATION)


def fold_name(repeat: int, fold: int) -> str:
    """Folder of one training of a cross-validation, both counted from 1."""
    return f"repeat-{repeat}/fold-{fold}"


def checkpoints_at(path: Path) -> list[Path]:
    """The file itself, or the members of the ensemble in a folder: the best checkpoint of each fold
    of a cross-validation, else all checkpoints in it. A run's own folder is not an ensemble.

    Raises:
        UsageError: the cross-validation is not finished.
    """
    if (path / CROSSVALIDATION).is_file():
        try:
            stored = json.loads((path / CROSSVALIDATION).read_text(encoding="utf-8"))
            folds, repeats = int(stored["folds"]), int(stored["repeats"])
        except (ValueError, LookupError, TypeError):
            raise UsageError(f"{path / CROSSVALIDATION} is damaged.") from None
        if not repeats:
            raise UsageError(
                f"checkpoint={path} is an unfinished cross-validation: run its command again first."
            )
        pairs = [(r, f) for r in range(1, repeats + 1) for f in range(1, folds + 1)]
        return [path / fold_name(r, f) / "checkpoints" / "best.safetensors" for r, f in pairs]
    inside = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    of_a_run = {p.name for p in inside} & {"best.safetensors", "last.safetensors"}
    return inside if len(inside) > 1 and not of_a_run else [path]


def dealt_at(path: Path) -> str:
    """Fingerprint of the set that the cross-validation in a folder dealt into folds; "" if there is
    none."""
    return str(read_json(path / CROSSVALIDATION).get("manifest", ""))


def stands_in(data: DataConfig) -> bool:
    """Whether to draw phantoms, since no images were given."""
    return data.root is None and data.path is None and data.stand_in is not None


def root_of(data: DataConfig) -> tuple[Path | None, dict[str, Any]]:
    """The root and the options for the adapter.

    Raises:
        UsageError: the data set needs a path and has none, or has one that it does not use.
    """
    dataset = adapters.DATASETS.choose(data.name)
    options = dict(data.options)
    if data.path is not None:
        if dataset.wants != "data.path=FILE":
            raise UsageError(
                f"data.path has no effect on data={data.name}; it uses {dataset.wants}."
            )
        file = Path(data.path)
        return file.parent, {**options, "file": file.name}
    if dataset.wants and (data.root is None or dataset.wants == "data.path=FILE"):
        raise UsageError(f"data={data.name} needs {dataset.wants}. Get it from {dataset.url}")
    return Path(data.root) if data.root else None, options


def require_data(data: DataConfig) -> None:
    """Raises UsageError or DataError if the root, the table or the file is missing."""
    if stands_in(data):
        return
    root, options = root_of(data)
    if root is None or not adapters.DATASETS[data.name].wants:
        return
    if data.path is None:
        require_folder(root)
    file = options.get("table" if data.path is None else "file")
    if file and not (root / file).is_file() and not options.get("download"):
        adapters.read(data.name, root, options)  # which reports what is there instead


def require_weights(weights: str) -> None:
    """Raises UsageError if `model.weights` is neither one of its words nor a file or folder."""
    path = Path(weights)
    if weights in WEIGHT_WORDS or path.is_file():
        return
    if not path.is_dir():
        raise UsageError(
            f"model.weights={weights}: no such file; give auto, pretrained, none or the path "
            "of a .safetensors or .pth file."
        )
    if not any((path / name).is_file() for name in WEIGHT_FILES):
        raise UsageError(
            f"model.weights={weights} is a folder without {' or '.join(WEIGHT_FILES)}: name a "
            "file in it."
        )


# Suffixes of the files that `medcnn export` writes and `predict` accepts.
EXPORTED = (".onnx", ".pt2")


def require_checkpoint(path: Path, *, exported: bool = False) -> None:
    """Raises UsageError if there is no such file, or one of another kind; damage is found when it
    is read.

    Args:
        exported: whether a file of `medcnn export` is accepted.
    """
    suffixes = (".safetensors", *EXPORTED) if exported else (".safetensors",)
    if path.is_dir():
        inside = _checkpoints_in(path, suffixes)
        named = f"; did you mean {inside[0]}?" if inside else " that contains no checkpoint."
        raise UsageError(f"checkpoint={path} is a folder{named}")
    if not path.is_file():
        nearest = next(p for p in path.absolute().parents if p.is_dir())
        near = Path(os.path.relpath(nearest)) if not path.is_absolute() else nearest
        there = [os.path.relpath(p, near) for p in _checkpoints_in(near, suffixes)]
        found = f"there are {listed(there)}" if there else "no checkpoint was found"
        where = "" if nearest == path.absolute().parent and there else f" in {near}"
        raise UsageError(f"checkpoint={path}: no such file; {found}{where}.")
    if path.suffix in EXPORTED:
        if exported:
            return
        raise UsageError(
            f"checkpoint={path} is an exported file, which only predict, serve and `medcnn.load` "
            "accept. Name the checkpoint it was made from."
        )
    with path.open("rb") as file:
        head = file.read(9)
    # the length of the header, which is JSON; an empty file or one of zeros counts as damaged
    if any(head[:8]) and head[8:] not in (b"", b"{"):
        raise UsageError(
            f"checkpoint={path} is not a medcnn checkpoint, which is a .safetensors file such "
            "as RUN/checkpoints/best.safetensors."
        )


def trust_faults(checkpoint: str, *, trusted: bool) -> list[str]:
    """A torch program that the user has not vouched for, or `trusted` for another file."""
    if checkpoint.endswith(".pt2") and not trusted:
        return [
            f"checkpoint={checkpoint} is a torch program: loading it runs code stored in the "
            "file. If you know who made it, add trusted=true. An .onnx file cannot run code."
        ]
    if trusted and not checkpoint.endswith(".pt2"):
        return [f"trusted=true has no effect on checkpoint={checkpoint}: it is not a .pt2 file."]
    return []


def _checkpoints_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Checkpoints in a folder, a run, or the runs in a folder; best ones before last ones."""
    globs = ("", "checkpoints/", "*/checkpoints/")
    for pattern in globs:
        if found := sorted(p for p in folder.glob(f"{pattern}*") if p.suffix in suffixes):
            return found
    return []


def require_predictions(run: Path) -> list[Path]:
    """The tables of predictions in the folder of a run; at least one."""
    tables = list(run.glob("predictions_*.csv"))
    if not tables:
        there = "contains no predictions_<split>.csv" if run.is_dir() else "no such folder"
        raise UsageError(f"run={run}: {there}; name the folder of a finished run.")
    return tables


def refuse_other_page(path: Path, verb: str, said: Path | None = None) -> None:
    """Refuse to overwrite anything but a page of the same command, which can be made again.

    Args:
        said: its name in the command, if that is not `path`.

    Raises:
        UsageError: something else is there, or it cannot be written.
    """
    if path.exists() and (path.is_dir() or MARK.format(verb) not in _head(path)):
        raise UsageError(stands_there(said or path, verb))
    refuse_unwritable(path)


def refuse_other_pages(output: Path, name: str, verb: str) -> None:
    """Refuse to overwrite anything but `name`.html and .json of the same command in their folder.

    Raises:
        UsageError: something else is there, or it cannot be written.
    """
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.is_dir() and {p.name for p in output.iterdir()} <= {f"{name}.html", f"{name}.json"}:
        refuse_other_page(output / f"{name}.html", verb, said=output)
    elif output.exists():
        raise UsageError(stands_there(output, verb))
    else:
        refuse_unwritable(output)


# In the head of every page by `medcnn VERB`.
MARK = '<meta name="generator" content="medcnn {}">'


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(1000).decode("utf-8", "replace")


def stands_there(path: Path, verb: str) -> str:
    return (
        f"output={path} exists and is not a page of medcnn {verb}. Nothing is overwritten: name "
        "another output=."
    )


def refuse_other_table(path: Path, *, maps: bool = False) -> None:
    """Raises UsageError if a table of `predict` cannot be written, and `maps` beside it."""
    if path.suffix != ".csv":
        raise UsageError(f"output={path}: the table is a .csv file; end the name in .csv.")
    for place in (path, path.with_suffix(".json"), *([maps_of(path)] if maps else [])):
        if place.exists():
            raise UsageError(f"{place} exists. Nothing is overwritten: name another output=.")
    refuse_unwritable(path)


def maps_of(table: Path) -> Path:
    """The folder of maps beside a table of `predict`."""
    return table.with_name(f"{table.stem}-maps")


def refuse_shared(folder: Path, said: str) -> None:
    """Raises UsageError if images or names of patients do not belong there: runs are passed on.

    Args:
        said: the setting and its value.
    """
    whole = folder.absolute().resolve()
    for parent in (whole, *whole.parents):
        of_a_run = any((parent / name).is_file() for name in OF_A_RUN)
        if of_a_run or parent == cache_folder().resolve():
            raise UsageError(
                f"{said} is in {parent}, a run or a cache, where no names of patients belong. Name "
                "a folder elsewhere."
            )


def refuse_objects(folder: Path, images: Path) -> None:
    """Raises UsageError if DICOM objects, which name patients, cannot or must not be written there.

    Args:
        images: where the input is.
    """
    said, whole = f"dicom={folder}", folder.absolute().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{said} exists. Nothing is overwritten: name a new folder.")
    refuse_shared(folder, said)
    if images.resolve() in (whole, *whole.parents):
        raise UsageError(f"{said} is in input={images}, where it would be read as images.")
    if find_spec("highdicom") is None:
        raise UsageError(f"{said} needs highdicom: {pip_install('clinic')}.")
    refuse_unwritable(folder, "dicom")


def refuse_unwritable(path: Path, setting: str = "output") -> None:
    """Raises UsageError if nothing can be created at `path`."""
    nearest = next(p for p in path.absolute().parents if os.path.lexists(p))
    if not nearest.is_dir():
        raise UsageError(f"{setting}={path} cannot be written: {nearest} is not a folder.")
    as_now = os.access in os.supports_effective_ids
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=as_now):
        raise UsageError(
            f"{setting}={path} cannot be written: you may not write in {nearest}; name another "
            f"{setting}=."
        )
