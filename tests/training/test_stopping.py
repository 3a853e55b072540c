"""Signals within signals: the first one ends the command, whatever else comes or is swallowed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from medcnn.system.errors import StoppedError
from medcnn.training.stopping import ended_by_signals, signals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_a_second_signal_does_not_disturb_what_the_first_one_ends() -> None:
    done = []

    @ended_by_signals()
    def work() -> None:
        try:
            with signals(patient=False):
                send(signal.SIGUSR1)
        finally:
            send(signal.SIGTERM)
            done.append("run.json is written")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="stopped by SIGUSR1 while"):
        work()
    assert done
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_a_library_swallowed_ends_the_command_at_the_next_occasion() -> None:
    @ended_by_signals()
    def work() -> None:
        with suppress(BaseException):
            send(signal.SIGTERM)
        with signals(patient=True):
            pytest.fail("it went on")

    with pytest.raises(StoppedError, match="stopped by SIGTERM"):
        work()


def test_patience_ends_with_its_block() -> None:
    @ended_by_signals()
    def work() -> None:
        with signals(patient=True) as stop:
            assert not stop()
        send(signal.SIGTERM)
        pytest.fail("it went on")

    with pytest.raises(StoppedError, match="stopped by SIGTERM"):
        work()
