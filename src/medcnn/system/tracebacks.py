"""Tracebacks, warnings and log lines of libraries, without any names in them.

What a library says about a file may repeat anything: its name, a cell of a table, a tag. A
traceback is meant to be sent to someone, so it shows the lines of code and a pseudonym for each
message. Only lines of installed code are shown, since those contain no values, and their files are
named by package, since the path to it may name a person.
"""

from __future__ import annotations

import linecache
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import TextIO

from medcnn.system.errors import MedcnnError, UsageError, private
from medcnn.system.paths import without_folders
from medcnn.system.privacy import for_terminal, pseudonymised

CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"
DEEPEST = 30
"""How many chained and grouped exceptions are shown."""


def traceback_of(error: BaseException, places: Iterable[str] = ()) -> str:
    """What Python would show of an exception and its causes, for anyone to read.

    Args:
        places: paths in the command; they may contain a name and become pseudonyms.
    """
    return "\n".join(_lines(error, set(), tuple(places)))


def shareable(text: str, places: Iterable[str] = ()) -> str:
    """A message of ours for anyone to read: without names, typed `places` and paths to folders."""
    forms = {f for p in places for f in (p, p.rstrip("/"), str(Path(p)), os.path.abspath(p))}
    for form in sorted(forms - {"", ".", "..", "/"}, key=len, reverse=True):
        whole = rf"(?<![\w.‹-]){re.escape(form)}(?![\w›-]|\.\w)"
        text = re.sub(whole, lambda found: private(found[0]), text)
    return without_folders(hidden(text))


def _lines(error: BaseException, seen: set[int], places: Sequence[str]) -> Iterator[str]:
    if id(error) in seen or len(seen) >= DEEPEST:
        yield "... (exceptions shown above, or too many)"
        return
    seen.add(id(error))
    if error.__cause__ is not None:
        yield from _lines(error.__cause__, seen, places)
        yield CAUSE
    elif error.__context__ is not None and not error.__suppress_context__:
        yield from _lines(error.__context__, seen, places)
        yield CONTEXT
    yield "Traceback (most recent call last):"
    yield from _frames(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}: {_said(error, places)}"
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, start=1):
            yield f"  --- exception {number} of {len(error.exceptions)} in the group ---"
            yield from (f"  {line}" for line in _lines(inner, seen, places))


def _frames(trace: TracebackType | None) -> Iterator[str]:
    for frame in traceback.extract_tb(trace):
        place, installed = _place(frame.filename)
        yield f'  File "{place}", line {frame.lineno}, in {frame.name}'
        if installed and frame.lineno and (line := linecache.getline(frame.filename, frame.lineno)):
            yield f"    {line.strip()}"


def _place(file: str) -> tuple[str, bool]:
    """A file of code, relative to the import path, and whether it is part of a package."""
    for folder in sorted((p for p in sys.path if p), key=len, reverse=True):
        place = Path(file)
        # the import path includes the folder of a script, which may be anyone's
        installed = place.is_relative_to(folder) and (
            Path(folder).name in ("site-packages", "dist-packages")
            or Path(folder) == _OURS
            or Path(folder) == Path(traceback.__file__).parent
        )
        if installed:
            return place.relative_to(folder).as_posix(), True
    return "a file outside any package", False


_OURS = Path(__file__).parents[2]


def _said(error: BaseException, places: Sequence[str]) -> str:
    """The message: ours with pseudonyms for names; that of a library as one pseudonym."""
    if isinstance(error, MedcnnError):
        return shareable(str(error), places)
    return hidden(private(" ".join(str(error).split())))


def hidden(text: str) -> str:
    """A message with a pseudonym for every name, or with names removed if there is no key."""
    try:
        return pseudonymised(text)
    except UsageError:
        return for_terminal(text, StringIO())  # not a terminal


def guard() -> None:
    """From here on, nothing that Python or a library prints contains a name: uncaught exceptions in
    any thread, unraisable ones, warnings, and what libraries log."""
    sys.excepthook = lambda kind, error, trace: _say(traceback_of(error))
    threading.excepthook = lambda args: _say(
        traceback_of(args.exc_value) if args.exc_value else "a thread ended"
    )
    sys.unraisablehook = lambda args: _say(
        traceback_of(args.exc_value) if args.exc_value else "an error was ignored"
    )
    warnings.showwarning = _show_warning
    logging.raiseExceptions = False  # it would print the arguments of a message that fails
    logging.lastResort = _Hidden(logging.WARNING)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    stream = file or sys.stderr
    text = private(" ".join(str(message).split()))
    shown = for_terminal(text, stream) if stream.isatty() else hidden(text)
    print(f"{_place(filename)[0]}:{lineno}: {category.__name__}: {shown}", file=stream)


class _Hidden(logging.Handler):
    """What libraries log, to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the message does not fit its arguments
            message = str(record.msg)
        text = private(" ".join(message.split()))
        shown = for_terminal(text) if sys.stderr.isatty() else hidden(text)
        _say(f"{record.levelname.lower()}: {record.name}: {shown}")
