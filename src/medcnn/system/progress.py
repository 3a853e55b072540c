"""What a run says while it works: lines of a log, and in a terminal a bar with an ETA."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Rewrite = Callable[[str], str]

log = logging.getLogger("medcnn")
log.setLevel(logging.INFO)


def follows() -> bool:
    """Whether another process of the same training does the talking (torchrun sets RANK)."""
    return os.environ.get("RANK", "0") != "0"


FIRST_LINE_AFTER_S, PLAIN_LINE_EVERY_S = 8.0, 30.0
WIDTH = 100


def wrapped(text: str) -> str:
    """Each line of `text` wrapped at WIDTH; continuation lines are indented by two."""
    lines = (
        textwrap.fill(
            line,
            WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,  # a pseudonym or a path must stay in one piece
        )
        if len(line) > WIDTH
        else line
        for line in text.splitlines()
    )
    return "\n".join(lines)


class _ToStderr(logging.Handler):
    """Resolves sys.stderr at each line, so that redirections and progress bars are respected."""

    def __init__(self, rewrite: Rewrite) -> None:
        super().__init__()
        self.rewrite = rewrite

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        text = self.rewrite(f"{prefix}{record.getMessage()}")
        print(wrapped(text), file=sys.stderr, flush=True)


def show_log(rewrite: Rewrite, level: int | None = None) -> None:
    """Show messages in the terminal; called by the command line.

    Args:
        rewrite: applied to each message, to hide names of patients.
        level: lowest level shown from here on; None: unchanged, at first INFO. Above INFO, no
            progress is shown either.
    """
    log.propagate = False
    if follows():
        log.setLevel(logging.CRITICAL)
    if not _terminal():
        log.addHandler(_ToStderr(rewrite))
    for handler in _terminal():
        handler.setLevel(handler.level if level is None else level)


@contextmanager
def hushed(level: int) -> Iterator[None]:
    """In the block, the terminal shows messages of `level` and above, and no progress."""
    before = {handler: handler.level for handler in _terminal()}
    try:
        for handler in before:
            handler.setLevel(level)
        yield
    finally:
        for handler, old in before.items():
            handler.setLevel(old)


def _terminal() -> list[logging.Handler]:
    return [h for h in log.handlers if isinstance(h, _ToStderr)]


def keep_log(path: Path, rewrite: Rewrite) -> Callable[[], None]:
    """Also write messages, with the time, to `path`; returns a function that stops this."""

    class Rewritten(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return rewrite(super().format(record))

    handler = logging.FileHandler(path, encoding="utf-8")
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # the disk may be full
    handler.setFormatter(Rewritten("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)

    def stop() -> None:
        log.removeHandler(handler)
        with suppress(OSError):  # must not hide which file did not fit on a full disk
            handler.close()

    return stop


def track(
    items: Iterable[T], total: int, title: str, detail: Callable[[], str] = lambda: ""
) -> Iterator[T]:
    """Yield `items` while showing progress and remaining time.

    Args:
        detail: what else to show at the end of the line (loss, images per second).
    """
    if not total or follows() or any(h.level > logging.INFO for h in _terminal()):
        yield from items
        return
    if sys.stderr.isatty():
        yield from _bar(items, total, title, detail)
        return
    start = time.monotonic()
    due = start + FIRST_LINE_AFTER_S
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now > due and done < total:
            due = now + PLAIN_LINE_EVERY_S
            left = lasting((now - start) / done * (total - done))
            parts = [f"{done:,} of {total:,}", f"{left} left", detail()]
            log.info(f"  {title}: {', '.join(filter(None, parts))}")


@contextmanager
def working(title: str) -> Iterator[None]:
    """Report now and then that work of unknown length goes on."""
    over = threading.Event()

    def say() -> None:
        start, wait_s = time.monotonic(), FIRST_LINE_AFTER_S
        while not over.wait(wait_s):
            log.info(f"  {title}: {lasting(time.monotonic() - start)} so far")
            wait_s = PLAIN_LINE_EVERY_S

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


def _bar(items: Iterable[T], total: int, title: str, detail: Callable[[], str]) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        Remaining(compact=True),
        TextColumn("{task.fields[detail]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total, detail="")
        for item in items:
            yield item
            bar.update(task, advance=1, detail=detail())


def lasting(seconds: float) -> str:
    """`80 s`, `25 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
