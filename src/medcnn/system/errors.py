"""What can go wrong, as a user sees it.

    MedcnnError            exit code 1   the command failed
    ├── UsageError         exit code 2   a key, value, name or path in the command is wrong
    ├── CheckpointError    exit code 1   a checkpoint is damaged, foreign or does not fit
    ├── PluginError        exit code 1   an installed plug-in does not work, or has a taken name
    ├── DivergedError      exit code 3   the loss became infinite or nan
    ├── DataError          exit code 4   the data are refused
    │   ├── LeakError                    a patient is in more than one split
    │   └── ImageError                   one image cannot be read as it is
    └── StoppedError       exit code 75  a signal came; a checkpoint is saved, run again to resume

Every message says what is wrong, where, what was found and what to do. The command line prints one
paragraph; a traceback appears only with `--debug`.
"""

from __future__ import annotations

from collections.abc import Callable


class MedcnnError(Exception):
    """The command failed; the root of all errors of medcnn."""

    exit_code = 1


class UsageError(MedcnnError, ValueError):
    """A key, value, name or path is wrong."""

    exit_code = 2


class CheckpointError(MedcnnError, ValueError):
    """A checkpoint is damaged, foreign or does not fit."""


class PluginError(MedcnnError):
    """An installed plug-in does not work, or its name is taken."""


class DivergedError(MedcnnError):
    """The loss became infinite or nan."""

    exit_code = 3


class TooLittleMemoryError(MedcnnError):
    """The device has too little memory for a step of training."""


class DataError(MedcnnError, ValueError):
    """The data are refused."""

    exit_code = 4


class LeakError(DataError):
    """A patient is in more than one split."""


# What a PACS exports besides images: DICOMDIR, reports, doses, masks.
NO_IMAGE = "not a classifiable image"


class ImageError(DataError):
    """`str(error)` is the reason alone; the caller knows which file it was reading."""


class StoppedError(MedcnnError):
    """A signal stopped the command; everything is saved."""

    exit_code = 75


def at_once(*checks: Callable[[], object]) -> None:
    """Run every check, whatever the others find.

    Raises:
        UsageError: the faults of all, a line each; a single one as it is.
        DataError: all of them are of the data.
    """
    faults: list[UsageError | DataError] = []
    for check in checks:
        try:
            check()
        except (UsageError, DataError) as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        usage = any(isinstance(fault, UsageError) for fault in faults)
        lines = "\n".join(dict.fromkeys(map(str, faults)))
        raise (UsageError if usage else DataError)(lines)


def pip_install(extra: str) -> str:
    """The command that installs an extra, as in the README."""
    return f".venv/bin/pip install -c constraints.txt '.[{extra}]' in the checkout"


def private(name: str) -> str:
    """`‹name›`: marks the name of a file or patient in a message.

    A terminal shows the name; files show its pseudonym (`privacy.pseudonymised`).
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    return f"‹{text.replace('‹', '<').replace('›', '>')}›"


def listed(items: list[str], limit: int = 5) -> str:
    """`a, b, c and 14 more`: enough to recognise a fault, short enough to read."""
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"
