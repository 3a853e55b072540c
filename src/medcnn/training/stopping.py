"""SIGTERM, SIGUSR1 (sent by clusters before time is up) and Ctrl-C end a run cleanly."""

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
    """A signal came while nothing had to be finished. No `except Exception` catches it."""


class Stop:
    """Receives the signals.

    Attributes:
        asked: name of the first signal that came, or "".
        patient: whether a signal waits until `asked` is read; else it raises.
    """

    def __init__(self, *, patient: bool) -> None:
        self.asked = ""
        self.patient = patient

    def __call__(self) -> str:
        return self.asked

    def hear(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            if number == signal.SIGINT:
                raise KeyboardInterrupt  # the user does not want to wait
            return
        self.asked = signal.Signals(number).name
        if not self.patient:
            raise Interrupted(self.asked)

    @contextmanager
    def turned(self, *, patient: bool) -> Iterator[None]:
        """Inside, a signal waits, or raises Interrupted at once; so does an earlier one."""
        before, self.patient = self.patient, patient
        try:
            if self.asked:
                raise Interrupted(self.asked)
            yield
        finally:
            self.patient = before


@contextmanager
def signals(*, patient: bool) -> Iterator[Stop]:
    """Nested calls share one Stop: a second signal must not disturb what the first one began to
    end, and a signal that an `except` of some library swallowed is not lost."""
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
        raise Interrupted(stop.asked)  # it came after the last look


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raises StoppedError if a signal comes, since nothing has to be finished first."""
    try:
        with signals(patient=False):
            yield
    except Interrupted as asked:
        raise StoppedError(
            f"stopped by {asked} while not training; run the same command again to continue."
        ) from None


def end_with_torchrun() -> None:
    """If torchrun started this process and dies, the process gets SIGTERM. Otherwise it would train
    on unseen and hold the lock of the run. Only Linux can do this."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
