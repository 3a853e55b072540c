"""SIGTERM, SIGUSR1 (a cluster's, before the time is up) and Ctrl-C end a run in good order."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from medcnn.system.errors import StoppedError

# Windows has no SIGUSR1.
HEARD = [getattr(signal, s) for s in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, s)]
# prctl(2): the signal that a process gets when its parent dies
PR_SET_PDEATHSIG = 1


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
    def turned(self, *, patient: bool) -> Iterator[None]:
        """Within, a signal waits or raises Interrupted where it comes; so does one that came
        before."""
        before, self.patient = self.patient, patient
        try:
            if self.asked:
                raise Interrupted(self.asked)
            yield
        finally:
            self.patient = before


@contextmanager
def signals(*, patient: bool) -> Iterator[Stop]:
    """Within another one the same Stop is turned: a second signal must not disturb what the first
    one made end, and one that an `except` of some library swallowed is not lost."""
    stop = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(stop, Stop):
        with stop.turned(patient=patient):
            yield stop
    else:
        stop = Stop(patient=patient)
        before = {number: signal.signal(number, stop.hear) for number in HEARD}
        try:
            yield stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if stop.asked:
        raise Interrupted(stop.asked)  # it came when nobody looked any more


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raises StoppedError where a signal comes: nothing has to be finished first."""
    try:
        with signals(patient=False):
            yield
    except Interrupted as asked:
        raise StoppedError(
            f"stopped by {asked} while nothing was trained; run the same command again to go on."
        ) from None


def end_with_torchrun() -> None:
    """This process, if torchrun started it, gets SIGTERM where torchrun dies: otherwise it would
    train on, seen by nobody and with the lock of the run. Linux alone can do so."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
