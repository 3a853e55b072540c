"""Recognises what looks like the name of a person, in a tag or a path.

A miss costs more than a false alarm, which is only a warning: anything other than a placeholder, a
code or a known word counts as a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from medcnn.data.own.vocabulary import COLUMN_WORDS, plain
from medcnn.system.files import packaged

# What de-identification puts in place of a name.
_PLACEHOLDER = re.compile(
    r"anon\w*|removed|redacted|deleted|masked|hidden|blank|empty|unknown|none|null|na|nan|nobody|"
    r"dummy|test|phantom|patient|case|subject|study|name|last|first|archive|no|not|id|x+|de|"
    r"deidentified|identified|deid|pseudonym\w*|pat|pt|sub|subj|male|female|given|family|"
    r"surname|lastname|firstname|unbekannt|anonyme|anonimo|desconocido|inconnu|sconosciuto"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_CODE_LETTERS = 4
"""A code such as TCGA-01 or MSK4 has at most this many letters in a row."""
_FEWEST_OF_NUMBER, _MOST_OF_NUMBER = 4, 15
"""Shorter numbers are dummies, longer ones hashes."""


def looks_real(content: str) -> bool:
    """Whether the content of a tag for names or free text may be about a real person: any word of
    two letters that is neither a placeholder nor part of a code. In scripts without lower case, one
    letter counts as a word."""
    if re.fullmatch(r"(?=.*\d)[0-9a-f^=\s-]{8,}", content.strip().lower()):
        return False
    for part in re.split(r"[\^=\s,;]+", content):
        words = [plain(w) for w in _LETTERS.findall(part)]
        code = any(c.isdigit() for c in part)
        for word in words:
            if _PLACEHOLDER.fullmatch(word) or (len(word) < 2 and word.isascii()):
                continue
            if not code or (len(word) > _CODE_LETTERS and word not in IMAGING_WORDS):
                return True
    return False


def looks_assigned(content: str) -> bool:
    """Whether this looks like a number from a hospital, an insurer or a telephone company."""
    bare = "".join(c for c in content.lower() if c.isalnum())
    if not bare.strip("0") or _PLACEHOLDER.fullmatch(bare):
        return False
    return _FEWEST_OF_NUMBER <= len(bare) <= _MOST_OF_NUMBER


def words_of_name(content: str) -> tuple[str, ...]:
    """Parts of a name, lower case, that would reveal it in a path."""
    words = _LETTERS.findall(content.lower())
    return tuple(w for w in words if len(w) > (2 if w.isascii() else 1))


def names_in_path(path: str, known: Iterable[str], harmless: frozenset[str]) -> bool:
    """Whether a folder or file seems to have the name of a person: two words in a row that have no
    other known meaning, in any case and with any separator.

    Args:
        known: parts of the name in the file's own tags.
        harmless: words, through `plain`, that mean classes, splits and the like here.
    """
    path = unicodedata.normalize("NFC", path)  # some disks separate letters from their accents
    words = set(_LETTERS.findall(path.lower()))
    known = {w for w in known if plain(w) not in harmless}
    if known and known <= words:
        return True
    whole = Path(path)
    return any(_holds_name(p, harmless) for p in (*whole.parent.parts, _stem(whole.name)))


def _stem(name: str) -> str:
    """A file name without its extension, for which the first name in `Doe.Jane` is not mistaken."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and len(ending) <= 5 and not ending[:1].isupper() else name


def _holds_name(part: str, harmless: frozenset[str]) -> bool:
    if re.search(r"[^\W\d_]+\^[^\W\d_]+", part):
        return looks_real(part)
    before = False
    for chunk in re.split(r"[\W_]+", _HEX.sub("0", part)):
        if not chunk:
            continue
        for word in _CAMEL.sub(" ", _BIRTH.sub("", chunk)).split() or [chunk]:
            now = _like_name(word, harmless)
            if before and now:
                return True
            before = now
    return False


# Parts of a hash or UID: chunks of letters and digits.
_HEX = re.compile(
    r"(?i)(?<![^\W_])(?=[a-f-]*[0-9])(?=[0-9-]*[a-f])[0-9a-f]{4,}(-[0-9a-f]{4,})*(?![^\W_])"
)
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z][^\W\d_A-Z]{2})")
_BIRTH = re.compile(r"(19|20)\d\d(\d{4})?$")
_VOWEL = re.compile(r"[aeiouy]|[^\x00-\x7f]")


def _like_name(word: str, harmless: frozenset[str]) -> bool:
    bare = plain(word)
    return (
        word.isalpha()
        and (len(word) > 1 or not word.isascii())
        and _VOWEL.search(word.lower()) is not None
        and bare not in harmless
        and bare.removesuffix("s") not in harmless
        and not _PLACEHOLDER.fullmatch(bare)
        and not _MEDICAL.search(bare)
    )


# Endings of words for diseases and examinations, which are rare in names of people.
_MEDICAL = re.compile(
    r".{4}oma$|.{2}(osis|itis|iasis|pathy|pathie|trophy|plasia|penia|emia|uria|ectasis|thorax|tion|"
    r"sion|graphy|graphie|scopy|scopic|logy|logie|ectomy|ical|eous|ular|ative|ated|ized|ised)$"
)
# Common words in the names of image folders and files. Names that many people have (Young, Gray,
# May, Cross) are not among them; words of one letter or without a vowel need not be.
_WORDS = packaged("medcnn.audit", "imaging_words.txt")
IMAGING_WORDS = COLUMN_WORDS | {plain(word) for word in _WORDS.split()}
