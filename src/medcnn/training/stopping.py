"""SIGTERM, SIGUSR1 (a cluster's, before the time is up) and Ctrl-C end a run in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A signal came where nothing has to be finished first. No `except Exception` catches it."""


class Stop:
    """What was asked for.

    Attributes:
        asked: name of the first signal that came, or nothing.
        patient: whether the signal waits for somebody to look at `asked`.
    """

    def __init__(self, *, patient: bool) -> None:
        self.asked = ""
        self.patient = patient

    def __call__(self) -> str:
        return self.asked

    def hear(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            if number == signal.SIGINT:
                raise KeyboardInterrupt  # somebody sits there and will not wait
            return
        self.asked = signal.Signals(number).name
        if not self.patient:
            raise Interrupted(self.asked)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a signal raises Interrupted where it comes."""
        if self.asked:
            raise Interrupted(self.asked)
        self.patient = False
        try:
            yield
        finally:
            self.patient = True


@contextmanager
def signals(*, patient: bool) -> Iterator[Stop]:
    stop = Stop(patient=patient)
    heard = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.signal(number, stop.hear) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.asked:
        raise Interrupted(stop.asked)  # it came when nobody looked any more
