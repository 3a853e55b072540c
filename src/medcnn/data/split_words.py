"""Names of train, validation and test in columns and folders, in many languages; one list for all
code that reads splits."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from typing import Any

from medcnn.system.files import packaged

WORDS: dict[str, dict[str, Any]] = tomllib.loads(packaged("medcnn.data", "words.toml"))


def plain(name: str) -> str:
    """Only lower-case letters and digits, without accents: `Patient ID` -> `patientid`."""
    bare = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in bare if c.isalnum())


def tokens(name: str) -> set[str]:
    """The words of a name: the same for `ViewPosition`, `view_position` and `View Position`."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return {t for t in (plain(w) for w in re.split(r"[\W_]+", spaced)) if t}


def words(text: str) -> frozenset[str]:
    """The words of a text, each through `plain`."""
    return frozenset(plain(word) for word in text.split())


SPLIT_WORDS: dict[str, frozenset[str]] = {
    split: words(text) for split, text in WORDS["splits"].items()
}
_BESIDE = words(WORDS["folders"]["generic"])
_COMPOUND = re.compile(
    "s?(sett?|data|dataset|images|daten|datensatz|satz|menge|stichprobe|bilder|выборка|"
    f"{'|'.join(map(plain, ('集', '用', '용', 'データ', '데이터')))})$"
)


def says_nothing(name: str) -> bool:
    """Whether the name of a folder is generic: `images`, `data set`; not `train`, `nevus`."""
    found = {re.sub(r"^\d+|\d+$", "", token) for token in tokens(name)} - {""}
    return bool(found) and found <= _BESIDE


def split_word(word: str) -> str | None:
    """train, validation or test, if a word means one of these."""
    whole = re.sub(r"^\d+|\d+$", "", plain(word))
    parts = {re.sub(r"^\d+|\d+$", "", part) for part in tokens(word)} - {""} - _BESIDE
    candidates = (whole, _COMPOUND.sub("", whole), *(parts if len(parts) == 1 else ()))
    candidates = (*candidates, *(_COMPOUND.sub("", part) for part in candidates[2:]))
    for split, known in SPLIT_WORDS.items():
        if any(candidate in known for candidate in candidates):
            return split
    return None
