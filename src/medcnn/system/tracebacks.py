"""Tracebacks, warnings and complaints of libraries, without a name in them.

What a library says of a file may repeat anything: the name of the file, a cell of a table, a tag. A
traceback is made to be sent to somebody, so it shows which lines of code were gone through, and of
every message a pseudonym. Lines of code are shown only of what is installed, where no value stands,
and their files by the name of the package, since the way to it may name a person.
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
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from medcnn.system.errors import MedcnnError, UsageError, private
from medcnn.system.paths import without_folders
from medcnn.system.privacy import for_terminal, pseudonymised

CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"
DEEPEST = 30
"""Exceptions that lead to one another, and that stand in groups."""


def traceback_of(error: BaseException, places: Iterable[str] = ()) -> str:
    """What Python would show of an exception and of those that led to it, for anybody to read.

    Args:
        places: paths that the command named, which may hold a name and become pseudonyms.
    """
    return "\n".join(_told(error, set(), tuple(places)))


def shareable(text: str, places: Iterable[str] = ()) -> str:
    """A message of ours for anybody to read: without names, typed `places` and ways to a folder."""
    forms = {f for p in places for f in (p, p.rstrip("/"), str(Path(p)), os.path.abspath(p))}
    for form in sorted(forms - {"", ".", "..", "/"}, key=len, reverse=True):
        whole = rf"(?<![\w.‹-]){re.escape(form)}(?![\w›-]|\.\w)"
        text = re.sub(whole, lambda found: private(found[0]), text)
    return without_folders(hidden(text))


def _told(error: BaseException, seen: set[int], places: Sequence[str]) -> Iterator[str]:
    if id(error) in seen or len(seen) >= DEEPEST:
        yield "... (exceptions that stand above already)"
        return
    seen.add(id(error))
    if error.__cause__ is not None:
        yield from _told(error.__cause__, seen, places)
        yield CAUSE
    elif error.__context__ is not None and not error.__suppress_context__:
        yield from _told(error.__context__, seen, places)
        yield CONTEXT
    yield "Traceback (most recent call last):"
    yield from _frames(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}: {_said(error, places)}"
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, start=1):
            yield f"  --- exception {number} of {len(error.exceptions)} in the group ---"
            yield from (f"  {line}" for line in _told(inner, seen, places))


def _frames(trace: TracebackType | None) -> Iterator[str]:
    for frame in traceback.extract_tb(trace):
        place, installed = _place(frame.filename)
        yield f'  File "{place}", line {frame.lineno}, in {frame.name}'
        if installed and frame.lineno and (line := linecache.getline(frame.filename, frame.lineno)):
            yield f"    {line.strip()}"


def _place(file: str) -> tuple[str, bool]:
    """A file of code below where packages are looked for, and whether it is one; else its name."""
    for folder in sorted((p for p in sys.path if p), key=len, reverse=True):
        place = Path(file)
        # the folder of a script is looked in too, and a script may be anybody's
        installed = place.is_relative_to(folder) and (
            Path(folder).name in ("site-packages", "dist-packages")
            or Path(folder) == _OURS
            or Path(folder) == Path(traceback.__file__).parent
        )
        if installed:
            return place.relative_to(folder).as_posix(), True
    return "a file that is no part of a package", False


_OURS = Path(__file__).parents[2]


def _said(error: BaseException, places: Sequence[str]) -> str:
    """The message: ours with its names under pseudonyms, of others nothing but a pseudonym."""
    if isinstance(error, MedcnnError):
        return shareable(str(error), places)
    return hidden(private(" ".join(str(error).split())))


def hidden(text: str) -> str:
    """A message with a pseudonym for every name, or without any where there is no key for them."""
    try:
        return pseudonymised(text)
    except UsageError:
        return for_terminal(text, _NOWHERE)


class _Nowhere:
    """A stream that is no terminal."""

    def isatty(self) -> bool:
        return False


_NOWHERE: Any = _Nowhere()


def guard() -> None:
    """From here on nothing that this process says by itself holds a name: exceptions that nobody
    caught, in whatever thread; what is raised where nothing can be raised; warnings; and what
    libraries log."""
    sys.excepthook = lambda kind, error, trace: _say(traceback_of(error))
    threading.excepthook = lambda args: _say(
        traceback_of(args.exc_value) if args.exc_value else "a thread ended"
    )
    sys.unraisablehook = lambda args: _say(
        traceback_of(args.exc_value) if args.exc_value else "an error was passed over"
    )
    warnings.showwarning = _show_warning
    logging.raiseExceptions = False  # which prints the arguments of a message that fails
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
        except (TypeError, ValueError):  # a message and values that do not fit
            message = str(record.msg)
        text = private(" ".join(message.split()))
        shown = for_terminal(text) if sys.stderr.isatty() else hidden(text)
        _say(f"{record.levelname.lower()}: {record.name}: {shown}")
