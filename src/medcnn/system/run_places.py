"""Where the data and weights of a run are: known only on this machine, written nowhere else."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.system.errors import UsageError
from medcnn.system.files import cache_folder, cache_place, read_own, write_text
from medcnn.system.paths import (
    ELSEWHERE,
    PATHS,
    last_parts,
    name_of_place,
    places_in,
    without_folders,
    without_ways,
)
from medcnn.system.privacy import pseudonymised
from medcnn.system.progress import log
from medcnn.system.run_facts import FREE_SETTINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths that a run was given.

    Attributes:
        of_settings: dotted setting -> path.
        known: all paths that may occur in a sentence about this run.
    """

    of_settings: Mapping[str, str]
    known: tuple[str | Path, ...]

    def written(self, text: str) -> str:
        """A sentence as it is stored: without names, and without folders of this machine."""
        return pseudonymised(without_folders(text, self.known))

    def word(self, word: str) -> str:
        """A word of a command as it is stored."""
        if re.match(r"\+*data\.exclude\b", word):
            return "data.exclude=..."  # may name patients; config.yaml has their pseudonyms
        if "=" not in word or os.path.exists(word):
            return last_parts(word)
        key, _, value = word.partition("=")
        if key[:2] == "--" or key.lstrip("+") in PATHS or os.path.exists(value.strip("'\"")):
            return f"{key}={last_parts(value)}"
        key, _, value = word.rpartition("=")
        bare = value.strip("'\"")
        if (said := name_of_place(bare)) != bare:
            return f"{key}={said}"
        return without_folders(word, self.known)

    def keep(self, run_id: str, path: Path) -> None:
        """Store them in the cache folder, which stays here when a run folder is passed on."""
        stored = {
            key: [os.path.relpath(p, path), os.path.abspath(p)]
            for key, p in self.of_settings.items()
        }
        try:
            cache_place("places")
            write_text(kept_at(run_id), json.dumps(stored))
        except OSError as error:
            log.warning(
                f"{cache_folder()} cannot be written ({error.strerror}), so `medcnn evaluate` will "
                "not know where the images of this run are, and will ask for data.root."
            )

    def refuse_others(self, path: Path, earlier: Mapping[str, Any]) -> None:
        """Raises UsageError if the run was begun with data at another place."""
        before = _stored_places(earlier) if earlier else {}
        moved = [
            f"{key}: another {name_of_place(place)}"
            for key, place in self.of_settings.items()
            if key in before
            and key not in FREE_SETTINGS
            and os.path.relpath(place, path) != before[key][0]
            and os.path.abspath(place) != before[key][1]
        ]
        if moved:
            raise UsageError(
                f"run_dir={path} contains a run with other settings ({'; '.join(moved)}). Nothing "
                "is overwritten: give another run_dir, or the old settings to resume it."
            )


def places_given(path: Path, config: Mapping[str, Any]) -> Places:
    """The paths in the settings of a run at `path`."""
    typed = places_in(config)
    places = dict(typed)
    if root := typed.get("data.root"):  # a table `../labels.csv` is relative to it
        below = {k: v for k, v in typed.items() if k.startswith("data.options.")}
        places |= {key: os.path.join(root, way) for key, way in below.items()}
    if checkpoint := config.get("checkpoint"):  # identified by its content, wherever it is
        places["checkpoint"] = os.path.abspath(checkpoint)
    known: tuple[str | Path, ...]
    known = (path.absolute(), cache_folder().absolute(), *places.values(), *typed.values())
    return Places(of_settings=places, known=known)


def placeless(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as a run folder stores it: only the last part of every path."""
    config = dict(config)
    if checkpoint := config.get("checkpoint"):
        config["checkpoint"] = f"{ELSEWHERE}/{Path(checkpoint).name}"
    cut: dict[str, Any] = without_ways(config)
    return cut


def places_of(facts: Mapping[str, Any], run: Path) -> dict[str, str]:
    """Dotted setting -> absolute path that the run `run` was given on this machine; empty if not
    known here. A run that was moved together with its data is found too.

    Args:
        facts: its `run.json`.
    """
    if "id" not in facts:  # from an earlier version: relative to the run folder
        data = facts.get("config", {}).get("data") or {}
        return {
            f"data.{k}": str((run / data[k]).resolve()) for k in ("root", "path") if data.get(k)
        }
    stored = _stored_places(facts)
    found = {}
    for key, (relative, absolute) in stored.items():
        near = (run / relative).resolve()
        found[key] = str(near) if near.exists() else absolute
    return found


def kept_at(run_id: object) -> Path:
    """The file with the paths of a run; raises ValueError if that is not an id."""
    return cache_folder() / "places" / f"{uuid.UUID(str(run_id)).hex}.json"


def _stored_places(facts: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    try:
        stored = json.loads(read_own(kept_at(facts.get("id"))))
        return {str(key): (str(near), str(far)) for key, (near, far) in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}
