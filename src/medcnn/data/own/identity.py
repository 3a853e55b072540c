"""Whether a column identifies people, by its name, in the languages of many hospitals. A miss costs
more than a false alarm, after which the column is merely not kept as an attribute."""

from __future__ import annotations

import re

from medcnn.data.own.vocabulary import names_someone, plain, tokens
from medcnn.data.split_words import WORDS, words

_ALWAYS, _ALONE, _BIRTH, _WHEN, _FULL, _OF_NAME, _WITHIN = (
    words(WORDS["identity"][use])
    for use in ("always", "alone", "birth", "when", "full_name", "whose_name", "within")
)
_UID = re.compile(
    "(study|series|sop|instance|frameofreference)+uid|securitesociale|socialsecurity|"
    "segur(idad|anca)social|aufnahmen(r|umm)"
)


def identifies(column: str) -> bool:
    """Whether the column identifies people, even if several people share a value: `DOB`, `geb.`,
    `MRN`, `Vorname`, `Patient Name`, `Fallnummer`, `住所`; not `lesion_id` or `birth weight`."""
    whole, parts = plain(column), tokens(column) | tokens(column.lower())
    if whole in _ALONE | _ALWAYS or parts & _ALWAYS or _UID.search(whole):
        return True
    of_birth = parts & _BIRTH and (parts & _WHEN or parts <= _BIRTH)
    if of_birth or (parts & _FULL and parts & _OF_NAME):
        return True
    if not whole.isascii() and any(word in whole for word in _WITHIN):
        return True
    return names_someone(column) and not parts & {"lesion", "laesion", "lesions"}
