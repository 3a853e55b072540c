"""What can go wrong, as a user sees it.

    MedcnnError            exit code 1   the command failed
    ├── UsageError         exit code 2   a key, value, name or path in the command is wrong
    ├── CheckpointError    exit code 1   a checkpoint is damaged, foreign or does not fit
    ├── PluginError        exit code 1   an installed plug-in does not work, or has a taken name
    ├── DivergedError      exit code 3   the loss left the numbers
    ├── DataError          exit code 4   the data are refused
    │   ├── LeakError                    a patient stands in more than one split
    │   └── ImageError                   one image cannot be read as it is
    └── StoppedError       exit code 75  a signal came; a checkpoint is saved, run again to go on

Every message says what, where, what was found and what to do. The command line prints it as one
paragraph; a traceback appears only with `--debug`.
"""

from __future__ import annotations


class MedcnnError(Exception):
    exit_code = 1


class UsageError(MedcnnError, ValueError):
    exit_code = 2


class CheckpointError(MedcnnError, ValueError):
    pass


class PluginError(MedcnnError):
    pass


class DivergedError(MedcnnError):
    exit_code = 3


class DataError(MedcnnError, ValueError):
    exit_code = 4


class LeakError(DataError):
    pass


class ImageError(DataError):
    """`str(error)` is the reason alone; the caller knows which file it was reading."""


class StoppedError(MedcnnError):
    exit_code = 75


def pip_install(extra: str) -> str:
    """The line that installs an extra, as the README has it."""
    return f".venv/bin/pip install -c constraints.txt '.[{extra}]' in the checkout"


def private(name: str) -> str:
    """`‹name›`: the name of a file or a patient within a message. A terminal shows it, whatever is
    written shows its pseudonym (`privacy.pseudonymised`)."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    return f"‹{text.replace('‹', '<').replace('›', '>')}›"


def listed(items: list[str], limit: int = 5) -> str:
    """`a, b, c and 14 more`: enough to recognise a fault, short enough to read."""
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"
