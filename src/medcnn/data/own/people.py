"""Reads the patient column: which cells name no one, which spellings mean the same person, and
which attributes identify a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from medcnn.data.own.dicom_headers import Tags
from medcnn.data.own.encodings import once_encoded
from medcnn.data.own.identity import identifies
from medcnn.data.own.sheets import Sheet, whole_number
from medcnn.data.own.vocabulary import UNLABELLED
from medcnn.data.own.words import is_error_cell, tidy
from medcnn.system.errors import UsageError, listed, private
from medcnn.system.paths import folded
from medcnn.system.progress import log

_NOBODY = {"", "none", *UNLABELLED}
_NO_NAME = re.compile(r"anon(ym\w*)?|xxx+|removed|redacted|deleted|de-?identified|#+|\*+", re.I)
_SCIENTIFIC = re.compile(r"[-+]?\d([.,]\d+)?E\+?\d+", re.IGNORECASE)


def is_nobody(cell: str) -> bool:
    """Whether a cell names no one: a blank, a word for it, or a spreadsheet error."""
    word = tidy(cell).lower()
    return word in _NOBODY or _NO_NAME.fullmatch(word) is not None or is_error_cell(cell)


def one_name(cell: str) -> str:
    """The same for 12.0 and 12, and for names that differ only in the form of accents or invisibly:
    a patient with two names could end up in two splits."""
    return whole_number(tidy(cell))


def note_odd_names(column: str | None, names: Iterable[str]) -> None:
    """Warn of ids that a spreadsheet truncated, which merges patients, and of ids that differ only
    in case, zeros or encoding, which may split one."""
    whose = set(names) - {""}
    cut = sorted(name for name in whose if _SCIENTIFIC.fullmatch(name))
    if cut:
        log.warning(
            f"{column}: {len(cut)} ids are numbers in scientific notation, such as "
            f"{private(cut[0])}. A spreadsheet has truncated them, which may have merged several "
            "patients: export the table again with this column as text"
        )
    alike: dict[str, list[str]] = {}
    for name in sorted(whose):
        bare = re.sub(r"[\s_-]+", "", folded(once_encoded(name)))
        alike.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", bare), []).append(name)
    several = [names for names in alike.values() if len(names) > 1]
    if several:
        shown = listed([" and ".join(map(private, names[:3])) for names in several], 3)
        log.warning(
            f"{column}: {len(several)} ids have several spellings, which count as different "
            f"patients: {shown}. If they mean the same person, a patient may be in both training "
            "and test"
        )


_MEASURED = re.compile(r"-?\d{1,4}|-?\d*[.,]\d+(e[+-]?\d+)?|-?\de[+-]?\d+")


def refuse_identifying(
    sheet: Sheet, attributes: Sequence[str], whose: Mapping[int, str], own: set[str]
) -> None:
    """Raises UsageError for attributes that identify a patient, such as names, numbers and dates
    (but not measurements), since attributes are written to files unchanged."""
    faults = [f"{c} is the image or patient column" for c in attributes if c in own]
    faults += [f"{c} identifies people" for c in attributes if identifies(c) and c not in own]
    for column in attributes:
        cells = sheet.rows.column(column)
        of = {name or str(i): cells[i] for i, name in whose.items() if cells[i]}
        faults += _one_each(column, of)
    _refuse("data.attributes", faults)


def refuse_identifying_tags(
    tags: Sequence[str], headers: Mapping[str, Tags], whose: Mapping[str, str]
) -> None:
    """The same for the values of DICOM tags.

    Args:
        headers: path -> keyword -> text.
        whose: path -> patient.
    """
    faults: list[str] = []
    for tag in tags:
        of = {who: headers[path][tag] for path, who in whose.items() if path in headers}
        faults += _one_each(tag, {who: text for who, text in of.items() if text})
    _refuse("data.tags", faults)


def _one_each(what: str, of: Mapping[str, str]) -> list[str]:
    """A fault if nearly every patient has a value of their own that is not measured."""
    words = set(of.values())
    measured = all(_MEASURED.fullmatch(part) for word in words for part in word.split("\\"))
    if len(of) < 20 or len(words) <= 0.9 * len(of) or measured:
        return []
    return [f"{what} has {len(words)} values for {len(of)} patients"]


def _refuse(setting: str, faults: Sequence[str]) -> None:
    if faults:
        raise UsageError(
            f"{setting}: {'; '.join(dict.fromkeys(faults))}. It would identify patients in every "
            "output file; remove it."
        )
