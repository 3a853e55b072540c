"""What the patient column says: who is nobody, which spellings mean one person, and what tells one
person from all others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

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
    """A blank, a word for it, or the error of a spreadsheet."""
    word = tidy(cell).lower()
    return word in _NOBODY or _NO_NAME.fullmatch(word) is not None or is_error_cell(cell)


def one_name(cell: str) -> str:
    """The same for 12.0 and 12, for both forms of accents and whatever cannot be seen: two names of
    one patient would come to stand in two splits."""
    return whole_number(tidy(cell))


def note_odd_names(column: str | None, names: Iterable[str]) -> None:
    """Warn of ids that a spreadsheet has cut, so that several patients are one, and of those that
    differ in case, zeros or encoding alone, so that one patient may be several."""
    whose = set(names) - {""}
    cut = sorted(name for name in whose if _SCIENTIFIC.fullmatch(name))
    if cut:
        log.warning(
            f"{column}: {len(cut)} ids are numbers in scientific notation, such as "
            f"{private(cut[0])}. A spreadsheet has cut them, and several patients may have become "
            "one: export the table again with this column as text"
        )
    alike: dict[str, list[str]] = {}
    for name in sorted(whose):
        bare = re.sub(r"[\s_-]+", "", folded(once_encoded(name)))
        alike.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", bare), []).append(name)
    several = [names for names in alike.values() if len(names) > 1]
    if several:
        shown = listed([" and ".join(map(private, names[:3])) for names in several], 3)
        log.warning(
            f"{column}: {len(several)} ids are written in several ways, which count as several "
            f"patients: {shown}. Where they mean one, a patient may stand in training and in test"
        )


_MEASURED = re.compile(r"-?\d{1,4}|-?\d*[.,]\d+(e[+-]?\d+)?|-?\de[+-]?\d+")


def refuse_identifying(
    sheet: Sheet, attributes: Sequence[str], whose: Mapping[int, str], own: set[str]
) -> None:
    """Raises UsageError for attributes that tell one patient from all others, as names, numbers and
    dates do, and measurements do not: attributes are written as they are."""
    faults = [f"{c} is the column of images or patients" for c in attributes if c in own]
    faults += [f"{c} says who somebody is" for c in attributes if identifies(c) and c not in own]
    for column in attributes:
        cells = sheet.rows.column(column)
        of = {name or str(i): cells[i] for i, name in whose.items() if cells[i]}
        words = set(of.values())
        measured = all(map(_MEASURED.fullmatch, words))
        if len(of) >= 20 and len(words) > 0.9 * len(of) and not measured:
            faults.append(f"{column} has {len(words)} values for {len(of)} patients")
    if faults:
        raise UsageError(
            f"data.attributes: {'; '.join(dict.fromkeys(faults))}. That names patients in every "
            "file that is written; leave it out."
        )
