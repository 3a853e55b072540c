"""Common names of columns and common words in cells, in many languages, for guesses that a person
will check."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medcnn.data.split_words import SPLIT_WORDS, WORDS
from medcnn.data.split_words import plain as plain
from medcnn.data.split_words import split_word as split_word
from medcnn.data.split_words import tokens as tokens
from medcnn.data.split_words import words as _words

_COLUMNS = {use: _words(text) for use, text in WORDS["columns"].items()}
_CLASSES = {use: _words(text) for use, text in WORDS["classes"].items() if use != "scales"}
_WHO, _NUMBER, _LABEL = (_COLUMNS[use] for use in ("person", "number", "label"))
_HARMLESS, _HEALTHY = _CLASSES["harmless"], _CLASSES["healthy"]
NEGATIVE = _HARMLESS | _HEALTHY | _CLASSES["negative"]
_NOTHING = ("normal", "unauffallig", "kein", "ohne", "nofinding", "non")


def is_negative(word: str) -> bool:
    """Whether a class says that nothing was found: `healthy`, `Normalbefund`, `kein Karzinom`."""
    return plain(word) in NEGATIVE or plain(word).startswith(_NOTHING)


def negative_first(words: Sequence[str]) -> list[str]:
    """Classes without a finding first, then harmless ones, then all others, each in the given
    order: `healthy lung`, `benign nevus`, `abnormal`, `not healthy`."""
    return sorted(words, key=_how_negative)


def _how_negative(word: str) -> int:
    """0 if nothing was found, 1 for harmless findings, 2 for anything else."""
    parts = [p for p in map(plain, re.split(r"[\W_]+", word)) if p]
    if parts and parts[0] in _CLASSES["without"] and len(parts) > 1:
        return 2 if parts[1] in _HEALTHY | _HARMLESS else 0
    if plain(word) in _HARMLESS or _HARMLESS.intersection(parts):
        return 1
    return 0 if is_negative(word) or _HEALTHY.intersection(parts) else 2


UNLABELLED = frozenset(WORDS["cells"]["unlabelled"])
_SCALES = [[_words(step) for step in scale] for scale in WORDS["classes"]["scales"]]
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8}

MODALITIES = {modality: _words(text) for modality, text in WORDS["modalities"].items()}

COLUMN_WORDS = frozenset().union(
    *_COLUMNS.values(), NEGATIVE, *SPLIT_WORDS.values(), *MODALITIES.values()
)
"""All words for columns, classes and splits, as `plain` returns them."""


def names_someone(column: str) -> bool:
    """`Patient ID`, `patient`, `ID_paciente`, `lesion_id`: a word for a person, and at most one
    for a number; not `Patient Age`."""
    words = tokens(column) - {"of", "the", "de", "do", "da", "del", "du", "des", "der", "di"}
    if words & _WHO and words <= _WHO | _NUMBER:
        return True
    whole = plain(column)
    for word in _WHO:
        for rest in (whole.removeprefix(word), whole.removesuffix(word)):
            if rest != whole and (not rest or rest in _NUMBER):
                return True
    return False


def label_hint(column: str) -> int:
    """4 for a usual name of labels, 3 if the name contains one, 2 for a name that often means
    labels, -3 for a name that means something else."""
    if plain(column) in _LABEL:
        return 4
    if tokens(column) & _LABEL:
        return 3
    if (tokens(column) | {plain(column)}) & _COLUMNS["perhaps_label"]:
        return 2
    return -3 if is_attribute(column) else 0


def is_attribute(column: str) -> bool:
    return bool((tokens(column) | {plain(column)}) & _COLUMNS["attribute"])


def means_grades(column: str) -> bool:
    return bool(tokens(column) & _COLUMNS["grade"])


def on_scale(words: Sequence[str]) -> list[str] | None:
    """The words from mildest to worst, if a common scale has a step for each of them."""
    bare = [_step(word) for word in words]
    for scale in _SCALES:
        steps = [next((i for i, step in enumerate(scale) if w in step), -1) for w in bare]
        if -1 not in steps and len(set(steps)) == len(steps):
            return [word for _, word in sorted(zip(steps, words, strict=True))]
    return None


def _step(word: str) -> str:
    spaced = re.sub("non[-_ ]?prolif", "nonprolif", re.sub(r"[\W_]+", " ", word.lower()))
    if plain(word) == "nodr":
        return "no"
    parts = [plain(part) for part in spaced.split()]
    return "".join(part for part in parts if part not in _CLASSES["of_scales"]) or "".join(parts)


def numbered(words: Sequence[str]) -> list[str] | None:
    """`Grade 1`, `Grade 2`, `Grade 10` and `I`, `II`, `III` by their numbers; a word for nothing
    (`normal`) goes first."""
    found: list[tuple[int, str, str]] = []
    prefixes = set()
    for word in words:
        parts = re.fullmatch(r"(.*?)[\s_.-]*(\d{1,4}|[ivIV]{1,4})\s*([a-dA-D]?)", word.strip())
        number = parts and (
            _ROMAN.get(parts[2].lower(), -1) if parts[2].isalpha() else int(parts[2])
        )
        if parts and number is not None and number >= 0 and not parts[1][-1:].isdigit():
            prefixes.add((plain(parts[1]), parts[2].isalpha()))
            found.append((number, parts[3].lower(), word))
        elif is_negative(word):
            found.append((-1, "", word))
        else:
            return None
    numbers = {(number, letter) for number, letter, _ in found}
    if len(prefixes) != 1 or len(numbers) < len(found) or prefixes == {("", False)}:
        return None
    return [word for _, _, word in sorted(found)]


def modality_of(words: set[str]) -> str | None:
    """The modality whose words appear, if there is exactly one."""
    found = [m for m, known in MODALITIES.items() if words & known]
    return found[0] if len(found) == 1 else None
