"""The findings of an audit: as text for the terminal, and as one self-contained HTML file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from medcnn.audit.finding import Finding, Severity
from medcnn.audit.planted import Recovered
from medcnn.audit.thumbnails import Looks
from medcnn.data.manifest import Manifest
from medcnn.pages import layout
from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import counted, percent
from medcnn.pages.page import rendered
from medcnn.pages.pictures import address, encoded
from medcnn.pages.statements import STATEMENTS
from medcnn.system.files import write_text
from medcnn.system.progress import WIDTH

WORDS = {Severity.REFUSE: "refused", Severity.WARN: "warning", Severity.NOTE: "note"}
CONFOUNDS = {"file_tells", "border_tells", "columns_tell"}
MOST_ROWS_SAID, MOST_ROWS, MOST_SHOWN = 5, 500, 24
_INDENT = " " * 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The findings about a set, worst first, and how well copies are found, if measured."""

    manifest: Manifest
    looks: Looks
    findings: tuple[Finding, ...]
    recovered: Recovered | None

    def of(self, severity: Severity) -> list[Finding]:
        return [f for f in self.findings if f.severity is severity]

    @property
    def bad(self) -> dict[int, str]:
        """Row -> why this image must not be used."""
        return {row: f.bad for row, f in enumerate(self.looks.facts) if f.bad}

    @property
    def verdict(self) -> str:
        return say(VERDICTS, self, *VERDICTS)

    @property
    def search(self) -> str:
        """How well the search for copies works here, if measured."""
        return say(SEARCH, self, *SEARCH)

    @property
    def described(self) -> str:
        m = self.manifest
        groups = len({r.group for r in m.records})
        whose = f" of {counted(groups, m.group_noun)}" if groups < len(m.records) else ""
        out = "".join(f"; {n:,} left out: {why}" for why, n in m.excluded.items())
        out += "".join(f"; {counted(n, 'row')} left out: {w}" for w, n in m.rows_left_out.items())
        return f"{counted(len(m.records), 'image')}{whose}{out}"


def _warnings(audit: Audit) -> str:
    warned = len(audit.of(Severity.WARN))
    return f"; {counted(warned, 'warning') if warned else 'no warning'}."


def _confounded(audit: Audit) -> bool:
    return bool(CONFOUNDS & {f.check for f in audit.of(Severity.WARN)})


VERDICTS: dict[str, Statement[Audit]] = {
    "refused": Statement(
        lambda a: f"Refused for {counted(len(a.of(Severity.REFUSE)), 'reason')}{_warnings(a)}",
        lambda a: bool(a.of(Severity.REFUSE)),
    ),
    "confounded": Statement(
        lambda a: (
            "Not refused, but confounded: the label can be predicted without the disease, so a "
            f"score may measure the source of the images{_warnings(a)}"
        ),
        lambda a: _confounded(a) and not a.of(Severity.REFUSE),
    ),
    "not refused": Statement(
        lambda a: f"These data can be used for training{_warnings(a)}",
        lambda a: not _confounded(a) and not a.of(Severity.REFUSE),
    ),
}


def _searched(audit: Audit) -> str:
    found, noun = audit.recovered, audit.manifest.group_noun
    assert found is not None
    parts = ", ".join(f"{found.found[k]} of {n} {k}" for k, n in found.planted.items())
    others = "" if noun == "image" else f"of other {noun}s "
    return (
        "To measure the search for near-duplicates, copies of images of this set were made in "
        f"memory and searched for: {parts} were found (recall {percent(found.recall)} %), along "
        f"with {counted(found.false, 'image')} {others}(precision {percent(found.precision)} %)."
    )


SEARCH: dict[str, Statement[Audit]] = {
    "search": Statement(
        _searched, lambda a: a.recovered is not None and any(a.recovered.planted.values())
    )
}


def text(audit: Audit) -> str:
    """The page for a terminal: every finding, a few rows of each."""
    lines = [f"{audit.manifest.source}: {audit.described}", ""]
    for finding in audit.findings:
        lines += [*_said(finding), ""]
    if audit.search:
        lines += [*textwrap.wrap(audit.search, WIDTH), ""]
    return "\n".join([*lines, audit.verdict])


def _said(finding: Finding) -> Iterator[str]:
    first, *rest = textwrap.wrap(finding.title, WIDTH - len(_INDENT))
    yield f"  {WORDS[finding.severity]:<9}{first}"
    yield from (_INDENT + line for line in rest)
    if finding.severity is Severity.NOTE:
        return
    for paragraph in (finding.meaning, f"What to do: {finding.advice}"):
        yield from textwrap.wrap(
            paragraph, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT
        )
    if not finding.rows:
        return
    # pairs have two of everything; the page shows the patients
    kept = [n for n, name in enumerate(finding.columns) if not (finding.shown and name == "of")]
    rows = [[r[n] for n in kept] for r in (finding.columns, *finding.rows[:MOST_ROWS_SAID])]
    widths = [max(len(r[c]) for r in rows) for c in range(len(kept))]
    while sum(widths) + 2 * len(widths) > WIDTH - len(_INDENT):
        widths[widths.index(max(widths))] -= 1
    for row in rows:
        cells = (_short(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{_INDENT}  {'  '.join(cells)}".rstrip()
    if (more := len(finding.rows) - MOST_ROWS_SAID) > 0:
        yield f"{_INDENT}  and {more:,} more"


def _short(cell: str, width: int) -> str:
    """`covid-19-rap…day-1.jpg`: names of images differ at their ends."""
    if len(cell) <= width:
        return cell
    tail = (width - 1) // 2
    return f"{cell[: width - 1 - tail]}…{cell[len(cell) - tail :]}"


def write_html(path: Path, audit: Audit) -> None:
    write_text(path, html(audit))


def html(audit: Audit) -> str:
    return rendered(
        "audit.html.j2",
        title=audit.manifest.source,
        task=audit.described,
        warnings=(),
        verdict=audit.verdict,
        search=audit.search,
        findings=audit.findings,
        words=WORDS,
        dataset=layout.dataset(audit.manifest.counts(), audit.manifest.group_noun),
        pictures=lambda f: _pictures(audit, f),
        means=_means(audit),
        most_rows=MOST_ROWS,
        say=partial(say, STATEMENTS, audit_facts(audit)),
    )


def audit_facts(audit: Audit) -> Facts:
    """What the page shows, and what was searched for."""
    noun, means = audit.manifest.group_noun, {"border_tells", "thumbnail_tells"}
    whose = {noun, "of"}  # columns that name patients ("of" for pairs of images)
    named = any(whose & set(f.columns) and f.rows for f in audit.findings)
    return Facts(
        group_noun=noun,
        pseudonyms=audit.manifest.pseudonymous,
        warned=frozenset(f.check for f in audit.findings),
        sections=frozenset({"groups"} if named else ()),
        shows_images=any(f.shown or f.check in means for f in audit.findings),
        sought=bool(audit.search),
    )


def _pictures(audit: Audit, finding: Finding) -> list[tuple[list[str], str, list[str]]]:
    """Thumbnails of the first rows as data URLs, their similarity, and a line for each."""
    shown = []
    for row, records in zip(finding.rows, finding.shown[:MOST_SHOWN], strict=False):
        half = len(row) // len(records)
        parts = [row[n * half : (n + 1) * half] for n in range(len(records))]
        captions = [" · ".join(cell for cell in part if cell) for part in parts]
        shown.append(([_address(audit.looks, r) for r in records], row[-1], captions))
    return shown


def _means(audit: Audit) -> list[tuple[str, int, str]]:
    """Class, its number of images, and their mean thumbnail, which shows telltale borders."""
    target = audit.manifest.targets()
    usable = np.array([not f.bad for f in audit.looks.facts])
    names = audit.manifest.labels.outputs
    kinds = [(name, target[:, k] > 0.5) for k, name in enumerate(names)]
    if len(names) == 1 and not audit.manifest.labels.exclusive:
        kinds = [(audit.manifest.labels.names[0], target[:, 0] <= 0.5), *kinds]
    shown = []
    for name, of in kinds[:MOST_SHOWN]:
        rows = np.flatnonzero(of & usable)
        if len(rows):
            mean = np.asarray(audit.looks.colour[rows], dtype=np.float32).mean(axis=0)
            picture = Image.fromarray(mean.astype(np.uint8))
            shown.append((name, len(rows), address("png", encoded(picture, "png"))))
    return shown


def _address(looks: Looks, row: int) -> str:
    """Grey detail combined with the colour of the coarser thumbnail."""
    grey = np.asarray(looks.grey[row])
    side = grey.shape[0]
    colour = Image.fromarray(np.asarray(looks.colour[row])).resize((side, side))
    bands = colour.convert("YCbCr").split()
    merged = Image.merge("YCbCr", (Image.fromarray(grey), *bands[1:])).convert("RGB")
    return address("png", encoded(merged, "png"))


def warnings(findings: Sequence[Finding]) -> list[str]:
    """One sentence for each warning, for the notes of a run; images that are left out are noted
    elsewhere."""
    warned = [f for f in findings if f.severity is Severity.WARN and f.check != "files"]
    return [f"audit: {f.title}. {f.advice}" for f in warned]
