from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from medcnn.system import progress
from medcnn.system.progress import keep_log, lasting, log, track, working, wrapped


def test_nothing_is_lost_on_the_way_and_a_short_task_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert list(track(range(5), 5, "counting")) == [0, 1, 2, 3, 4]
    assert caplog.text == ""


def test_without_a_terminal_a_long_task_says_how_far_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_AFTER_S", -1.0)
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level(logging.INFO):
        list(track(range(1200), 1200, "decoding images", lambda: "7 images/s"))
        assert set(caplog.messages) == {"  decoding images: 1 of 1,200, 0 s left, 7 images/s"}
        monkeypatch.setattr(progress, "PLAIN_LINE_EVERY_S", -1.0)
        list(track(range(1200), 1200, "epoch 1/3"))
    assert "  epoch 1/3: 1,199 of 1,200, 0 s left" in caplog.messages
    assert "1,200 of 1,200" not in caplog.text


def test_work_without_an_end_in_sight_says_that_it_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_AFTER_S", 0.01)
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level(logging.INFO), working("reading tables"):
        until = time.monotonic() + 20
        while not caplog.messages and time.monotonic() < until:
            time.sleep(0.01)
    assert set(caplog.messages) == {"  reading tables: 0 s so far"}


def test_nothing_to_do_draws_no_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track([], 0, "reading DICOM headers")) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "said"), [(80, "80 s"), (1500, "25 min"), (12600, "3.5 h")])
def test_a_time_is_said_in_the_unit_of_its_size(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_with_a_terminal_a_bar_is_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track(range(4), 4, "epoch 1/3", lambda: "loss 0.5")) == [0, 1, 2, 3]


def test_a_log_is_kept_with_times_until_it_is_ended(tmp_path: Path) -> None:
    stop = keep_log(tmp_path / "log.txt", str.upper)
    log.info("first")
    stop()
    log.info("second")
    text = (tmp_path / "log.txt").read_text()
    assert "INFO FIRST" in text  # rewritten on its way
    assert "second" not in text


def test_long_lines_are_folded_and_short_ones_left_alone() -> None:
    text = "a table   of numbers\n" + "word " * 40
    lines = wrapped(text).splitlines()
    assert lines[0] == "a table   of numbers"
    assert max(map(len, lines)) <= progress.WIDTH
    assert lines[2].startswith("  word")
