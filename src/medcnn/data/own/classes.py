"""From the words of a table, or of folders, to a LabelSpace and its targets."""

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
MARKS = {"x", "✓", "✔", "✗", "✘", "☒", "☑"}
_UNCERTAIN = {"-1", "-1.0"}
# Irvin et al. 2019, AAAI 33, "CheXpert", section 3.1: U-Ignore, U-Zeros, U-Ones.
UNCERTAIN = {"ignore": math.nan, "zeros": 0.0, "ones": 1.0}


def words_of(
    cell: str, separator: str | None, none_label: str | None, rename: Mapping[str, str]
) -> list[str]:
    """The classes that a cell names, each once.

    A whole number that a spreadsheet wrote as `1.0`, as it does in a column with blanks, is `1`.
    """
    words = [tidy(w) for w in cell.split(separator)] if separator else [tidy(cell)]

    def renamed(word: str) -> str:
        """Once, so that two classes may change places."""
        whole = whole_number(word)
        return rename.get(word, rename.get(whole, whole))

    found = (renamed(w) for w in words if w and w != none_label)
    return list(dict.fromkeys(w for w in found if w and w != none_label))


def refuse_names(present: Mapping[int, list[str]], what: str) -> None:
    """Raises DataError where words are nearly as many as images, as names of patients are: they
    would become classes, and stand in every file that is written."""
    words = {w for found in present.values() for w in found}
    if len(words) > 10 and len(words) * 3 > len(present):
        raise DataError(
            f"{what}: {len(words)} different words for {len(present)} images, too many for classes "
            f"({listed([private(w) for w in sorted(words)], 3)}). Do they name patients? Where "
            "they are classes, list them in data.classes=[...]."
        )


def refuse_splits(
    present: Mapping[int, list[str]], what: str, *, any_of_them: bool = False
) -> None:
    """Raises DataError where classes are called like splits, as folders `Training` and `Testing`
    are: a model would learn to tell them apart.

    Args:
        any_of_them: also where one is, not only where all are; one of two letters may be a finding.
    """
    found = sorted({w for words in present.values() for w in words})
    splits = [word for word in found if split_word(word)]
    if any_of_them:
        splits = [word for word in splits if len(word) > 2] or (splits if splits == found else [])
    elif splits != found:
        return
    if splits:
        raise DataError(
            f"{what}: the classes {listed(found)} would be learnt, and {listed(splits)} "
            f"{'is' if len(splits) == 1 else 'are'} called like a split. Folders of splits must "
            "stand above or below those of all classes (train/healthy/a.jpg), and a column of "
            "splits is data.split=COLUMN. Where they are classes, list all in data.classes=[...]."
        )


def rare_joined(
    present: Mapping[int, list[str]], whose: Mapping[int, str], below: int, name: str
) -> dict[int, list[str]]:
    """Classes of fewer than `below` patients (images, where no patient is known) as one class."""
    groups: dict[str, set[str]] = {}
    for i, words in present.items():
        for word in words:
            groups.setdefault(word, set()).add(whose[i] or str(i))
    rare = {word for word, patients in groups.items() if len(patients) < below}
    if rare:
        shown = ", ".join(private(word) for word in sorted(rare))
        log.info(f"  joined to '{name}', each of fewer than {below}: {shown}")
    return {
        i: list(dict.fromkeys(name if w in rare else w for w in words))
        for i, words in present.items()
    }


def _tell_twice(found: Sequence[str]) -> None:
    """Warn of classes whose names are encoded twice; DataError where one also stands there once."""
    twice = {word: once_encoded(word) for word in found if once_encoded(word) != word}
    if not twice:
        return
    shown = listed([f"'{word}' for '{once}'" for word, once in twice.items()])
    advice = "Save the names again as UTF-8, or say data.rename={'WRONG': 'RIGHT'}"
    if set(twice.values()) & set(found):
        raise DataError(f"names of classes are encoded twice, and others once: {shown}. {advice}.")
    log.warning(f"names of classes seem to be encoded twice: {shown}. {advice}")


def space_of(
    kind: str, classes: Sequence[str] | None, present: Mapping[int, list[str]], *, many: bool
) -> LabelSpace:
    """The kind and the names, in the order of `classes` or else sorted, numbers by size; of two
    classes the one that says that nothing was found is the negative one.

    Args:
        many: an image may show several classes.

    Raises:
        UsageError: an unknown kind, or grades whose order no number tells.
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
            "in a cell are multilabel, and multilabel needs the separator or a list of columns."
        )
    if kind == Kind.ORDINAL and not classes:
        _refuse_unknown_order(found)
    if kind == Kind.BINARY and not classes:
        names = negative_first(names)
        log.info(
            f"  positive class: '{names[-1]}' (data.classes=[negative,positive] to say otherwise)"
        )
    return LabelSpace(kind=Kind(kind), names=tuple(names))


def _refuse_doubtful(found: Sequence[str]) -> None:
    """Raises UsageError for words of which nobody asked that they be classes of their own."""
    faults = [
        f"'{word}' looks like a blank (data.exclude leaves its rows out)"
        for word in found
        if word.lower() in UNLABELLED
    ]
    first: dict[str, str] = {}
    for word in found:
        if (other := first.setdefault(likeness(word), word)) != word:
            faults.append(f"'{other}' and '{word}' look like one word (data.rename makes them one)")
    if faults:
        raise UsageError(
            f"classes: {listed(faults)}. Where they are classes, list all in data.classes=[...]."
        )


def _refuse_unknown_order(found: Sequence[str]) -> None:
    """A wrong order, or a grade that happens to be absent, would give wrong distances silently."""
    numbers = [_natural(word) for word in found]
    ordered = all(rank == 0 for rank, _, _ in numbers)
    steps = {b - a for (_, a, _), (_, b, _) in pairwise(numbers)}
    if not ordered or len(steps) > 1:
        why = "one may be absent from the table" if ordered else "words have no order"
        raise UsageError(
            f"data.kind=ordinal: the grades found are {', '.join(found)}, and {why}. Give all of "
            "them from lowest to highest: data.classes=[lowest,...,highest]."
        )


def _natural(word: str) -> tuple[int, float, str]:
    """Numbers by size and before words, so that grade 10 follows grade 9."""
    try:
        return (0, float(word), word)
    except ValueError:
        return (1, math.inf, word)


def encoded(space: LabelSpace, words: Iterable[str], where: str) -> tuple[float, ...]:
    try:
        return space.encode(words)
    except DataError as error:
        raise DataError(
            f"{where}: {error} Classes come from data.classes; data.rename maps words onto them."
        ) from None


def uncertain_value(policy: str | Mapping[str, str], labels: Sequence[str]) -> dict[str, float]:
    """What each label becomes where a report is uncertain (-1): 0, 1, or nan for not assessed.

    Args:
        policy: `ignore`, `zeros` or `ones` for all labels; or label -> one of these, with
            `default` for the labels that are not named, which is `ignore` where it is left out:
            `data.uncertain={Edema: ones, default: zeros}`.
        labels: the labels there are.

    Raises:
        UsageError: a label or a word that is not known; all of them at once.
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
    """The columns in which a cross says yes and nothing says no, so that a blank does."""
    found: dict[str, None] = {}
    for column in columns:
        cells = sheet.rows.column(column)
        words = {tidy(cell).lower() for cell in {cells[i] for i in rows}}
        if words & MARKS and words <= MARKS | {""}:
            found[column] = None
    return found


def flags(
    sheet: Sheet,
    row: int,
    columns: Sequence[str],
    uncertain: Mapping[str, float] | None = None,
    uncertain_words: Collection[str] = (),
    marks: Collection[str] = (),
) -> tuple[float, ...]:
    """One target a column: 1, 0, or nan where the cell is blank.

    Args:
        uncertain: column -> what -1 means, as `uncertain_value` gives it; None refuses -1.
        uncertain_words: what means the same as -1, in small letters.
        marks: columns of crosses, as `marked` finds them.
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
            hint = " (-1 is read with data.uncertain)" if word in _UNCERTAIN else ""
            raise DataError(
                f"{sheet.line(row)}: {column} is {private(word)}; a finding is 1, 0, or blank for "
                f"not assessed{hint}."
            )
        target.append(math.nan if not word else float(word in _YES))
    return tuple(target)
