"""Clusters that are begun, and what they leave behind."""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from medcnn.pixels import slurm
from medcnn.pixels.executors import CLUSTERS, Where
from medcnn.system.files import cache_place


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Commands of Slurm, where submitit finds one that takes every job."""
    submitit = pytest.importorskip("submitit")

    class Executor:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def update_parameters(self, **_: Any) -> None:
            pass

        def submit(self, *_: Any) -> Any:
            return SimpleNamespace(job_id="7")

    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    monkeypatch.setattr(slurm, "_said_by", lambda *words: said.append(words))
    return said


def test_a_sigterm_leaves_no_job_and_no_list_of_files(cancelled: list[tuple[str, ...]]) -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def killed() -> None:
        with CLUSTERS[Where.SUBMITIT]() as jobs:
            jobs.submit(print, "Meier.png")
            assert list(cache_place("jobs").iterdir())
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(SystemExit) as ended:
        killed()
    assert ended.value.code == 143
    assert cancelled[-1] == ("scancel", "--quiet", "7")
    assert not list(cache_place("jobs").iterdir())
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_a_killed_process_left_for_its_jobs_is_removed_after_three_days(
    cancelled: list[tuple[str, ...]],
) -> None:
    for name, days in (("old", 4), ("new", 2)):
        folder = cache_place("jobs") / name
        folder.mkdir()
        (folder / "7_submitted.pkl").write_text("Meier.png")
        os.utime(folder, (0, time.time() - days * 24 * 3600))
    with CLUSTERS[Where.SUBMITIT]():
        left = {p.name for p in cache_place("jobs").iterdir()}
    assert "new" in left
    assert "old" not in left
    (cache_place("jobs") / "new" / "7_submitted.pkl").unlink()
    (cache_place("jobs") / "new").rmdir()


def test_processes_of_dask_on_this_machine_have_no_dashboard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    asked: list[dict[str, Any]] = []

    def client(**given: Any) -> Any:
        asked.append(given)
        return nullcontext(SimpleNamespace(get_executor=lambda pure: nullcontext(pure)))

    monkeypatch.setattr(distributed, "Client", client)
    with dask.config.set({"scheduler-address": None}), CLUSTERS[Where.DASK]():
        pass
    with dask.config.set({"scheduler-address": "tcp://10.0.0.1:8786"}), CLUSTERS[Where.DASK]():
        pass
    assert asked == [{"dashboard_address": None}, {}]
