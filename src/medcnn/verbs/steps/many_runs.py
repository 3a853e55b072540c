"""The folder of a command that makes many runs: locked, private, and known by its settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from medcnn.config import DataConfig, settings_digest, short_hash
from medcnn.data.manifest import Manifest
from medcnn.system.errors import DataError, UsageError
from medcnn.system.files import locked, private_to, write_json, write_text
from medcnn.system.paths import without_ways
from medcnn.system.privacy import pseudonymised
from medcnn.system.progress import log
from medcnn.verbs.train import TrainConfig


class Notes:
    """Collects what the user must be told and the page must say."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, text: str) -> None:
        self.said.append(pseudonymised(text))
        log.warning(text)

    def of_all(self, runs: Iterable[Path], but: Sequence[str] = ()) -> None:
        """What each of these runs notes, such as a licence, holds for them together.

        Args:
            but: parts of notes that hold for each run alone.
        """
        facts = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in runs]
        for text in facts[0]["notes"]:
            common = all(text in other["notes"] for other in facts[1:])
            if common and text not in self.said and not any(part in text for part in but):
                self(text)


def folder_of(train: TrainConfig, data: DataConfig, what: str, settings: Mapping[str, Any]) -> Path:
    """`run_dir`, or a folder below `runs` that is named by what is trained and how."""
    if train.run_dir:
        return Path(train.run_dir)
    backbone = train.model.backbone if train.model else "model"
    return Path("runs") / f"{data.called()}-{backbone}-{what}-{settings_digest(settings)}"


@contextmanager
def opened(
    folder: Path, name: str, what: str, settings: Mapping[str, Any], begun: Mapping[str, Any]
) -> Iterator[Notes]:
    """The folder, locked, with the settings that it belongs to.

    Args:
        name: of the file by which the folder is known.
        what: what it holds, for messages.
        settings: those that define it.
        begun: the first content of that file, besides a digest of the settings.

    Raises:
        UsageError: it holds something else, cannot be written, or is in use.
    """
    file = folder / name
    if folder.exists() and any(folder.iterdir()) and not file.exists():
        raise UsageError(f"run_dir={folder} holds other files but no {what}; set another run_dir.")
    mine = digest(settings)
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(folder / ".lock"))
        except BlockingIOError:
            raise UsageError(
                f"run_dir={folder} is in use by another medcnn process; wait for it or choose "
                "another run_dir."
            ) from None
        except OSError as error:
            raise UsageError(f"run_dir={folder} cannot be written: {error.strerror}.") from error
        stack.enter_context(private_to(folder))
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if before.get("settings", mine) != mine:
            raise UsageError(
                f"run_dir={folder} holds a {what} with other settings; choose another "
                "run_dir, or use the old settings to continue there."
            )
        if not before:
            write_text(file, json.dumps({**begun, "settings": mine}, indent=2) + "\n")
        yield Notes()


def digest(settings: Mapping[str, Any]) -> str:
    return short_hash(without_ways(settings))


def refuse_other_images(file: Path, done: str, whole: Manifest) -> None:
    """Keep in `file` what the images are. Raises DataError if models of other images, labels or
    splits lie beside it, since one result would be drawn from both.

    Args:
        done: pattern of the files that a finished model leaves.
    """
    now = whole.fingerprint()
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.get("manifest", now) != now and any(file.parent.glob(done)):
        raise DataError(other_images(file.parent))
    write_json(file, {**content, "manifest": now})


def other_images(folder: Path) -> str:
    return (
        f"{folder} began with other images, labels or splits, so it cannot continue. Restore "
        "them, or set another run_dir to start again."
    )
