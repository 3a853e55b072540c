"""Reads tensors from the files of other programs.

No code in such a file is run. Torch's own reader accepts tensors and plain containers; an object of
any other class becomes a `Placeholder`, which has its name and whatever it held.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from medcnn.system.errors import UsageError, listed

# Objects of these have no place in a file of weights, not even as a name.
_REFUSED_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "shutil", "importlib", "runpy", "ctypes"),
    *("socket", "pty", "builtins", "code", "webbrowser", "commands"),
}
# Functions that rebuild plain numbers, dates and objects; their arguments are kept.
_REBUILDING = {"numpy", "_codecs", "datetime", "copyreg", "collections"}
# What rebuilds an array of numbers, under the names that versions of numpy and pickle write.
_ARRAYS: list[tuple[Any, str]] = [
    (np.ndarray([]).__reduce__()[0], "numpy.core.multiarray._reconstruct"),
    (np.ndarray([]).__reduce__()[0], "numpy._core.multiarray._reconstruct"),
    (codecs.encode, "_codecs.encode"),
    (np.ndarray, "numpy.ndarray"),
    (np.dtype, "numpy.dtype"),
    *((type(np.dtype(k)), f"numpy.dtypes.{type(np.dtype(k)).__name__}") for k in "efdbBhilq"),
]
_MOST_CLASSES = 50
_MOST_TENSORS = 200_000


class Placeholder(dict[Any, Any]):
    """Stands for an object whose class is not imported: a mapping of what it held."""

    def __new__(cls, *_arguments: Any, **_more: Any) -> Placeholder:
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_more: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Mapping):
                self.update(part)

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def tensors_in(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """All tensors of a file by their dotted names, and the classes of everything else in it.

    Raises:
        UsageError: it cannot be read without running code in it, or holds no tensor.
    """
    classes: list[str] = []
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path)), classes
        stored = _unpickled(path, classes)
    except Exception as error:  # torch and safetensors raise a dozen types for a damaged file
        if "TorchScript" in str(error):
            raise UsageError(
                f"model.weights={path} is a TorchScript archive, which contains code. Save its "
                "tensors: torch.save(torch.jit.load(file).state_dict(), 'weights.pth')."
            ) from error
        raise UsageError(
            f"model.weights={path} cannot be read as weights: {first_line(error)}. Only tensors "
            "are loaded, never code; save the state_dict alone: "
            "torch.save(model.state_dict(), 'weights.pth')."
        ) from error
    found = dict(flat(stored))
    if not found:
        what = f"a {type(stored).__name__}"
        if isinstance(stored, Placeholder | list | tuple) or classes:
            what = f"objects of {listed(classes, 3)}" if classes else what
        raise UsageError(
            f"model.weights={path} holds no tensors, only {what}. Only tensors are loaded, never "
            "code; save the state_dict alone: torch.save(model.state_dict(), 'weights.pth')."
        )
    return found, classes


def _unpickled(path: Path, classes: list[str]) -> Any:
    """What the file holds, with a `Placeholder` for each object of another class.

    Raises:
        ValueError: it holds an object that only running code could make.
    """
    while True:
        known = [(_placeholder_of(name), name) for name in classes]
        try:
            # the names come from the file, the classes from here: nothing of it is imported
            with torch.serialization.safe_globals([*_ARRAYS, *known]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            named = re.search(r"GLOBAL ([\w.]+) (was not an allowed|whose module)", str(error))
            if not named or len(classes) == _MOST_CLASSES:
                # without torch's advice to read the file with weights_only=False
                raise ValueError(str(error).rpartition("WeightsUnpickler error: ")[2]) from error
            name = named[1]
            # torch leaves `builtins.` out of its message
            root, last = name.partition(".")[0], name.rpartition(".")[2]
            harmless = last.lstrip("_")[:1].isupper() or root in _REBUILDING
            if "." not in name or root in _REFUSED_MODULES or not harmless or name in classes:
                raise ValueError(f"it holds {name}, which is not a tensor") from error
            classes.append(name)


def _placeholder_of(name: str) -> type[Placeholder]:
    return type(name.rpartition(".")[2], (Placeholder,), {})


def flat(stored: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors of nested containers by dotted name; each container once, as it may contain itself.

    Arrays count as tensors, and an item in a list is named by its number.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", stored)]
    count = 0
    while waiting and count < _MOST_TENSORS:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            count += 1
            yield name, value
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fi":
            waiting.append((name, torch.from_numpy(value)))
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            within = [(f"{name}.{key}" if name else str(key), v) for key, v in items]
            waiting += reversed(within)


def first_line(error: object) -> str:
    """The first line of its message, or its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
