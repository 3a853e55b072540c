"""From words in a table, or names of folders, to a LabelSpace and its targets."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.own.encodings import once_encoded
from medcnn.data.own.sheets import Sheet, whole_number
from medcnn.data.own.vocabulary import UNLABELLED, negative_first, numbered, on_scale
from medcnn.data.own.words import likeness, tidy
from medcnn.data.split_words import split_word
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.progress import log
from medcnn.system.registry import nearest

_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
_TICKS, _CROSSES = {"✓", "✔", "☑"}, {"x", "✗", "✘", "☒"}
MARKS = _TICKS | _CROSSES
_UNCERTAIN = {"-1", "-1.0"}
# Irvin et al. 2019, AAAI 33, "CheXpert", section 3.1: U-Ignore, U-Zeros, U-Ones.
UNCERTAIN = {"ignore": math.nan, "zeros": 0.0, "ones": 1.0}


def words_of(
    cell: str, separator: str | None, none_label: str | None, rename: Mapping[str, str]
) -> list[str]:
    """The distinct classes in a cell.

    `1.0`, as spreadsheets write whole numbers in a column with blanks, becomes `1`.
    """
    words = [tidy(w) for w in cell.split(separator)] if separator else [tidy(cell)]

    def renamed(word: str) -> str:
        """Applied once, so that two classes may be swapped."""
        whole = whole_number(word)
        return rename.get(word, rename.get(whole, whole))

    found = (renamed(w) for w in words if w and w != none_label)
    return list(dict.fromkeys(w for w in found if w and w != none_label))


def like_names(words: int, images: int) -> bool:
    """Whether there are almost as many words as images, which suggests names of patients."""
    return words > 10 and words * 3 > images


def refuse_names(present: Mapping[int, list[str]], what: str) -> None:
    """Raises DataError if words look like names of patients: they would become classes, and appear
    in every output file."""
    words = {w for found in present.values() for w in found}
    if like_names(len(words), len(present)):
        raise DataError(
            f"{what}: {len(words)} different words for {len(present)} images, too many for classes "
            f"({listed([private(w) for w in sorted(words)], 3)}). Do they name patients? If they "
            "are classes, list them in data.classes=[...]."
        )


def refuse_splits(
    present: Mapping[int, list[str]], what: str, *, any_of_them: bool = False
) -> None:
    """Raises DataError if classes are named like splits, such as folders `Training` and `Testing`:
    a model would learn to distinguish them.

    Args:
        any_of_them: also if only one is, unless it has two letters, which may be a finding.
    """
    found = sorted({w for words in present.values() for w in words})
    splits = [word for word in found if split_word(word)]
    if any_of_them:
        splits = [word for word in splits if len(word) > 2] or (splits if splits == found else [])
    elif splits != found:
        return
    if splits:
        raise DataError(
            f"{what}: the model would learn the classes {listed(found)}, but {listed(splits)} "
            f"{'is' if len(splits) == 1 else 'are'} named like a split. Split folders must be "
            "above or below the folders of all classes (train/healthy/a.jpg); name a split column "
            "with data.split=COLUMN. If these are classes, list all of them: data.classes=[...]."
        )


def rare_joined(
    present: Mapping[int, list[str]], whose: Mapping[int, str], below: int, name: str
) -> dict[int, list[str]]:
    """Join classes with fewer than `below` patients (or images, if patients are not known)."""
    groups: dict[str, set[str]] = {}
    for i, words in present.items():
        for word in words:
            groups.setdefault(word, set()).add(whose[i] or str(i))
    rare = {word for word, patients in groups.items() if len(patients) < below}
    if rare:
        shown = ", ".join(private(word) for word in sorted(rare))
        log.info(f"  joined as '{name}', each with fewer than {below}: {shown}")
    return {
        i: list(dict.fromkeys(name if w in rare else w for w in words))
        for i, words in present.items()
    }


def _tell_twice(found: Sequence[str]) -> None:
    """Warn of class names that are encoded twice; DataError if one also occurs encoded once."""
    twice = {word: once_encoded(word) for word in found if once_encoded(word) != word}
    if not twice:
        return
    shown = listed([f"'{word}' for '{once}'" for word, once in twice.items()])
    advice = "Save the names again as UTF-8, or set data.rename={'WRONG': 'RIGHT'}"
    if set(twice.values()) & set(found):
        raise DataError(f"some class names are encoded twice, others once: {shown}. {advice}.")
    log.warning(f"class names seem to be encoded twice: {shown}. {advice}")


def space_of(
    kind: str, classes: Sequence[str] | None, present: Mapping[int, list[str]], *, many: bool
) -> LabelSpace:
    """The kind and the names, in the order of `classes` or else sorted, numbers by value. Of two
    classes, the one that means "nothing found" is the negative one.

    Args:
        many: whether an image may show several classes.

    Raises:
        UsageError: an unknown kind, or grades whose order is not clear.
    """
    found = sorted({w for words in present.values() for w in words}, key=_natural)
    if not classes and len(found) > 2 and (known := on_scale(found) or numbered(found)):
        if known != found:
            log.info(f"  classes in the order of their grades: {', '.join(known)}")
        found = known
    names = list(classes) if classes else found
    if not classes:
        _refuse_doubtful(found)
        _tell_twice(found)
    if kind == "auto":
        kind = "multilabel" if many else "binary" if len(names) == 2 else "multiclass"
    if kind not in set(Kind):
        raise UsageError(
            f"data.kind={kind} is not one of auto, {', '.join(Kind)}{nearest(kind, Kind)}"
        )
    if many != (kind == Kind.MULTILABEL):
        raise UsageError(
            f"data.kind={kind} with data.separator={'given' if many else 'null'}: several findings "
            "per cell are multilabel, and multilabel needs a separator or a list of columns."
        )
    if kind == Kind.ORDINAL and not classes:
        _refuse_unknown_order(found)
    if kind == Kind.BINARY and not classes:
        names = negative_first(names)
        log.info(
            f"  positive class: '{names[-1]}' (change it with data.classes=[negative,positive])"
        )
    return LabelSpace(kind=Kind(kind), names=tuple(names))


def _refuse_doubtful(found: Sequence[str]) -> None:
    """Raises UsageError for words that are probably not meant as separate classes."""
    faults = [
        f"'{word}' looks like a missing value (data.exclude leaves its rows out)"
        for word in found
        if word.lower() in UNLABELLED
    ]
    first: dict[str, str] = {}
    for word in found:
        if (other := first.setdefault(likeness(word), word)) != word:
            faults.append(
                f"'{other}' and '{word}' look like the same word (data.rename joins them)"
            )
    if faults:
        raise UsageError(
            f"classes: {listed(faults)}. If they are classes, list all of them: data.classes=[...]."
        )


def _refuse_unknown_order(found: Sequence[str]) -> None:
    """A wrong order, or a missing grade, would silently give wrong distances."""
    numbers = [_natural(word) for word in found]
    ordered = all(rank == 0 for rank, _, _ in numbers)
    steps = {b - a for (_, a, _), (_, b, _) in pairwise(numbers)}
    if not ordered or len(steps) > 1:
        why = "one may be absent from the table" if ordered else "words have no order"
        raise UsageError(
            f"data.kind=ordinal: found the grades {', '.join(found)}, but {why}. List all grades "
            "from lowest to highest: data.classes=[lowest,...,highest]."
        )


def _natural(word: str) -> tuple[int, float, str]:
    """Numbers by value and before words, so that grade 10 follows grade 9."""
    try:
        return (0, float(word), word)
    except ValueError:
        return (1, math.inf, word)


def encoded(space: LabelSpace, words: Iterable[str], where: str) -> tuple[float, ...]:
    try:
        return space.encode(words)
    except DataError as error:
        raise DataError(
            f"{where}: {error} data.classes lists the classes; data.rename maps words to them."
        ) from None


def uncertain_value(policy: str | Mapping[str, str], labels: Sequence[str]) -> dict[str, float]:
    """What an uncertain label (-1) becomes, for each label: 0, 1, or nan for not assessed.

    Args:
        policy: `ignore`, `zeros` or `ones` for all labels; or label -> one of these, with
            `default` for all others (`ignore` if missing):
            `data.uncertain={Edema: ones, default: zeros}`.
        labels: all labels.

    Raises:
        UsageError: unknown labels or words, all at once.
    """
    given = {"default": policy} if isinstance(policy, str) else dict(policy)
    faults = [
        f"unknown label '{label}'{nearest(label, labels)}"
        for label in given
        if label not in (*labels, "default")
    ]
    faults += [
        f"'{word}' is not one of {', '.join(UNCERTAIN)}{nearest(str(word), UNCERTAIN)}"
        for word in dict.fromkeys(given.values())
        if word not in UNCERTAIN
    ]
    if faults:
        raise UsageError(f"data.uncertain: {' '.join(faults)}")
    default = given.get("default", "ignore")
    return {label: UNCERTAIN[given.get(label, default)] for label in labels}


def is_doubt(word: str, uncertain_words: Collection[str]) -> bool:
    return word.lower() in _UNCERTAIN or word.lower() in uncertain_words


def marked(sheet: Sheet, rows: Sequence[int], columns: Sequence[str]) -> dict[str, None]:
    """The columns in which a cross means yes and there is no word for no, so a blank is one.

    Raises:
        DataError: there are also ticks, so a cross may mean no.
    """
    found: dict[str, None] = {}
    seen: set[str] = set()
    for column in columns:
        cells = sheet.rows.column(column)
        words = {tidy(cell).lower() for cell in {cells[i] for i in rows}}
        if words & MARKS and words <= MARKS | {""}:
            found[column] = None
            seen |= words
    if seen & _TICKS and seen & _CROSSES:
        marks = ", ".join(sorted(seen & MARKS))
        raise DataError(
            f"{sheet.path.name}: findings are marked with {marks} ({listed(list(found))}). Beside "
            "ticks, a cross may mean yes or no. Write 1 for yes and 0 for no."
        )
    return found


def flags(
    sheet: Sheet,
    row: int,
    columns: Sequence[str],
    uncertain: Mapping[str, float] | None = None,
    uncertain_words: Collection[str] = (),
    marks: Collection[str] = (),
) -> tuple[float, ...]:
    """One target per column: 1, 0, or nan for a blank cell.

    Args:
        uncertain: column -> meaning of -1, from `uncertain_value`; None refuses -1.
        uncertain_words: lower-case words with the same meaning as -1.
        marks: columns of crosses, from `marked`.
    """
    target = []
    for column in columns:
        word = tidy(sheet.rows[row][column]).lower()
        if column in marks:
            target.append(float(word in MARKS))
            continue
        if uncertain is not None and is_doubt(word, uncertain_words):
            target.append(uncertain[column])
            continue
        if word and word not in _YES and word not in _NO:
            hint = " (data.uncertain says what -1 means)" if word in _UNCERTAIN else ""
            raise DataError(
                f"{sheet.line(row)}: {column} is {private(word)}; a finding should be 1, 0, or "
                f"blank for not assessed{hint}."
            )
        target.append(math.nan if not word else float(word in _YES))
    return tuple(target)
