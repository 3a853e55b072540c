"""`audit`: what is wrong with a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medcnn.system.errors import DataError
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.config import AuditLimits, DataConfig, Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    seed: Seed
    output: str
    data: DataConfig
    audit: AuditLimits


def check(config: AuditConfig) -> None:
    from medcnn.places import refuse_other_page, require_data

    refuse_other_page(Path(config.output), "audit")
    require_data(config.data)


def run(config: AuditConfig, _: Command) -> Path:
    """Audit a set, show what was found, and write its page; returns the path of the page.

    Raises:
        DataError: training on this set would be refused; page and terminal say why.
    """
    from medcnn.audit.finding import Severity
    from medcnn.pages import audit as page
    from medcnn.system.files import visible
    from medcnn.system.progress import log
    from medcnn.verbs.steps import auditing
    from medcnn.verbs.steps.datasets import preprocessing_of

    output = Path(config.output)
    manifest, unsplit = auditing.manifest_to_audit(config.data, config.seed, log.warning)
    preprocessing = auditing.settled(manifest, preprocessing_of(config.data))
    audit = auditing.audit_of(
        *(manifest, unsplit, preprocessing, config.audit, config.seed),
        measure=True,
        executor=config.data.executor,
    )
    page.write_html(output, audit)
    print(visible(page.text(audit)))
    print(f"Every row, with images: {output}")
    if files := auditing.bad_files(audit):
        log.info(files)
    if refused := audit.of(Severity.REFUSE):
        raise DataError(
            f"{manifest.source} is refused: {'; '.join(f.title for f in refused)}."
            f" {auditing.way_through(refused)}".rstrip()
        )
    return output


VERB = Verb(
    name="audit",
    lines=("audit data=ham10000 data.root=/data/ham10000",),
    examples=("audit data=ham10000 data.root=/data/ham10000",),
    synonyms=("check", "inspect", "verify"),
    config=AuditConfig,
    check=check,
    run=run,
)
