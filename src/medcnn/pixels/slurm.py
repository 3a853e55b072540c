"""Slurm jobs, sent by submitit and watched here: submitit itself asks `sacct` about them, which
many clusters do not have, and without it waits for ever for a job that was killed."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from medcnn.system.errors import MedcnnError, UsageError, private
from medcnn.system.progress import log

# Slurm ends a job that takes longer; SBATCH_TIMELIMIT overrides this.
JOB_MINUTES, JOB_CORES = 720, 8
# How often a job is sent, how often Slurm is asked, and how late a network drive may show a file.
TRIES, ASK_EVERY_S, LATE_S = 3, 10.0, 15.0
# Usual reasons for which a job waits; any other is reported.
USUAL = {"None", "Resources", "Priority", "BeginTime", "Dependency"}


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """A call that some job makes, and the job that has it now."""

    jobs: Jobs
    work: tuple[Any, ...]
    job: Any = field(repr=False)  # whose own repr asks sacct
    sent: int = 1
    gone: float | None = None

    def result(self) -> Any:
        """What the call returned.

        Raises:
            MedcnnError: every job that may be sent ended without a result.
        """
        while self in self.jobs.left:
            self.jobs.look()
            time.sleep(0.2)
        return self.job.result()


class Jobs:
    """What submitit's `executor` has sent to Slurm."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.left: list[Task] = []
        self.asked = 0.0
        self.told: set[str] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Task:
        task = Task(jobs=self, work=(fn, *args), job=self._send(fn, *args))
        self.left.append(task)
        return task

    def _send(self, *work: Any) -> Any:
        try:
            return self.executor.submit(*work)
        except Exception as error:
            if not isinstance(error.__cause__, subprocess.CalledProcessError):
                raise
            said = str(error).strip().splitlines()[-1:]
            raise UsageError(
                f"data.executor=submitit: Slurm accepts no job: {' '.join(said)}. Set "
                "SBATCH_PARTITION, SBATCH_ACCOUNT or SBATCH_TIMELIMIT, or use data.executor=here."
            ) from error

    def look(self) -> None:
        """See which calls are done, and resend those whose job ended without a result."""
        ended = [t for t in self.left if t.job.paths.result_pickle.exists()]
        for task in ended:
            if task.job.exception() is None:
                self.left.remove(task)
            else:
                self._again(task)
        now = time.monotonic()
        if now - self.asked < ASK_EVERY_S or not self.left:
            return
        self.asked = now
        with suppress(OSError):
            os.utime(self.executor.folder)  # a folder in use is never an old one
        waiting = queue()
        if waiting is None:  # Slurm's controller may be away for a while
            self._warn("", "squeue does not answer: jobs that end without a result go unnoticed")
            return
        for task in list(self.left):
            if task.job.job_id in waiting:
                task.gone = None
                self._tell(task.job.job_id, waiting[task.job.job_id])
            elif task.gone is None:
                task.gone = now
            elif now - task.gone > LATE_S and not task.job.paths.result_pickle.exists():
                self._again(task)

    def _tell(self, number: str, reason: str) -> None:
        if reason not in USUAL:
            self._warn(
                reason,
                f"Slurm job {number} waits ({reason}); `scontrol show job {number}` shows what it "
                "asks for, which SBATCH_PARTITION and SBATCH_TIMELIMIT change",
            )

    def _warn(self, about: str, text: str) -> None:
        """Once about the same."""
        if about not in self.told:
            self.told.add(about)
            log.warning(text)

    def _again(self, task: Task) -> None:
        number, why = task.job.job_id, _last_words(task.job)
        if task.sent == TRIES:
            raise MedcnnError(
                f"Slurm job {number} ended without a result, like {TRIES - 1} before it: {why}. "
                "What was decoded is kept. Run the same command again to continue, with a larger "
                "SBATCH_TIMELIMIT or SBATCH_MEM_PER_NODE if needed, or with data.executor=here."
            )
        log.warning(f"Slurm job {number} ended without a result ({why}); sending it again")
        task.job, task.sent, task.gone = self._send(*task.work), task.sent + 1, None

    @contextmanager
    def cancelled_at_the_end(self) -> Iterator[Jobs]:
        """No job outlives the run that asked for it."""
        try:
            yield self
        finally:
            if self.left:
                _said_by("scancel", "--quiet", *(task.job.job_id for task in self.left))


def queue() -> dict[str, str] | None:
    """Each unfinished job of this user -> why it waits; None if Slurm does not say."""
    said = _said_by("squeue", "--noheader", f"--user={os.getuid()}", "--format=%i|%T|%r")
    if said is None:
        return None
    fields = (line.strip().split("|") for line in said.splitlines() if line.count("|") == 2)
    return {number: reason if state == "PENDING" else "None" for number, state, reason in fields}


@cache
def job_cores() -> int:
    """The cores that a job would like, but no more than the largest machine of the partition that
    it goes to has: without SBATCH_PARTITION the default one, which `sinfo` marks with a star."""
    partition = os.environ.get("SBATCH_PARTITION")
    only = [f"--partition={partition}"] if partition else []
    said = _said_by("sinfo", "--noheader", "--format=%P|%c", *only) or ""
    rows = [line.rpartition("|")[::2] for line in said.splitlines()]
    mine = [row for row in rows if partition or row[0].endswith("*")] or rows
    numbers = [int(count.strip("+ ")) for _, count in mine if count.strip("+ ").isdecimal()]
    return min(JOB_CORES, max(numbers, default=JOB_CORES))


def _last_words(job: Any) -> str:
    """Slurm's reason if it gives one, without the name of the machine, or the last line of a
    traceback, which may contain a path."""
    lines = [line.strip() for line in (job.stderr() or "").splitlines() if line.strip()]
    if of_slurm := [line for line in lines if line.startswith("slurmstepd")]:
        return re.sub(r" ON \S+", "", of_slurm[-1])
    own = [line for line in lines if not line.startswith(("srun:", "submitit"))] or lines
    return private(own[-1]) if own else "it left no message"


def _said_by(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
