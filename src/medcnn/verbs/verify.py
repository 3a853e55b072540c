"""`verify`: whether a log of predictions is unchanged since it was written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medcnn.system.errors import MedcnnError, UsageError
from medcnn.verbs import Command, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    log: str
    hash: str | None

    def contradictions(self) -> list[str]:
        if self.hash is None or re.fullmatch(r"[0-9a-f]{64}", self.hash):
            return []
        return [f"hash={self.hash} should be the 64 hex digits that predict wrote for a line."]


def check(config: VerifyConfig) -> None:
    if not Path(config.log).is_file():
        what = "a folder, not a file" if Path(config.log).is_dir() else "no such file"
        raise UsageError(f"log={config.log}: {what}.")


def run(config: VerifyConfig, _: Command) -> None:
    """Say that the log is intact, and where it ends.

    Raises:
        MedcnnError: lines were changed, removed, added or moved; lists them.
    """
    from medcnn.system.chained_log import MOST_FAULTS, End, faults_in
    from medcnn.system.progress import log

    faults, end, known = [], End(), config.hash is None
    for fault, end in faults_in(Path(config.log)):
        known = known or end.head == config.hash
        if fault:
            faults.append(fault)
    if not end.line:
        faults.append("it has no lines")
    elif not known:
        faults.append(
            f"no line has the hash {config.hash}: lines at the end are missing, or everything from "
            "some line on was rewritten"
        )
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise MedcnnError(
            f"log={config.log} is not as it was written: {'; '.join(faults[:MOST_FAULTS])}{more}."
        )
    log.info(f"{config.log}: {end.line:,} lines, all unchanged and none missing in between")
    if config.hash is None:
        log.info(
            "only a hash kept elsewhere shows whether lines are missing at the end: give hash=..., "
            "the log_hash in the .json beside a table of predictions"
        )
    print(end.head)


VERB = Verb(
    name="verify",
    lines=("verify predictions.log: was a line of the log of predict changed or removed?",),
    usage="LOG [hash=HASH]",
    examples=("verify predictions.log", "verify predictions.log hash=HASH"),
    places=("log",),
    config=VerifyConfig,
    check=check,
    run=run,
)
