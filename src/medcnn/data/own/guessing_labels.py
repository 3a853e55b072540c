"""Which columns contain the labels, of which kind, and in which order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise

from medcnn.data.own import vocabulary
from medcnn.data.own.classes import MARKS, like_names
from medcnn.data.own.guesses import Column, Guess, Sure
from medcnn.data.own.identity import identifies
from medcnn.data.own.sheets import whole_number
from medcnn.data.own.words import is_error_cell
from medcnn.system.errors import listed
from medcnn.system.paths import folded

FLAGS = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "yes", "no"}
FEWEST_PATIENTS = 5


def guess_label(columns: Mapping[str, Column]) -> list[Guess]:
    able = [c for c in columns.values() if not identifies(c.name)]
    ranked = sorted(((_label_score(c), c) for c in able), key=lambda p: -p[0])
    flags = [c for c in able if _is_flag(c) and not vocabulary.is_attribute(c.name)]
    if len(flags) >= 2 and (not ranked or ranked[0][0] < 4):
        names = [c.name for c in flags]
        shown = [f"{c.name} ({_ones(c):,})" for c in flags]
        why = f"{len(names)} columns of 0, 1 or blank, with ones: {listed(shown, 4)}"
        guesses = [Guess(setting="label", value=names, why=why, sure=Sure.CHECK)]
        if _one_each(flags):
            why = "every row has exactly one of them"
            guesses.append(Guess(setting="kind", value="multiclass", why=why))
        doubts = sum(n for c in flags for w, n in c.counts.items() if w in ("-1", "-1.0"))
        if doubts:
            why = f"{doubts:,} cells are -1; choose ignore, zeros or ones"
            guesses.append(Guess(setting="uncertain", value="ignore", why=why, sure=Sure.CHECK))
        return guesses
    if not ranked or ranked[0][0] <= 0:
        shown = [f"{c.name} ({len(c.counts)} words)" for c in columns.values()]
        why = (
            f"no label found, so only the audit works; other columns: {listed(shown, 8) or 'none'}"
        )
        return [Guess(setting="label", value=None, why=why, sure=Sure.CHECK)]
    score, column = ranked[0]
    others = [c.name for s, c in ranked[1:] if s == score]
    reason = "by its name and words" if score >= 3 else "by its few words"
    also = f"; equally likely: {listed(others)}" if others else ""
    why = f"{reason}, {len(column.counts)}: {column.examples()}{also}"
    sure = Sure.LIKELY if score >= 3 and not others else Sure.CHECK
    return [Guess(setting="label", value=column.name, why=why, sure=sure), *_several(column)]


_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}(?!\d)")


def _label_score(column: Column) -> float:
    """How likely a label is: by its name, few words but no dates, and words for normal."""
    hint, counts = vocabulary.label_hint(column.name), column.counts
    rows, words = sum(counts.values()), {p for c in counts for p in c.split("|")}
    if len(counts) < 2 or len(words) > max(2, min(60, rows // 2)) or like_names(len(words), rows):
        return -10.0
    if all(_DATE.match(c) for c in counts):
        return -10.0
    known = any(vocabulary.plain(w) in vocabulary.NEGATIVE - {"0", "n", "no"} for w in words)
    return hint + 1 + known - (rows < len(column.cells) / 2)


_ONES = {"1", "1.0", "true", "yes"}


def _is_flag(column: Column) -> bool:
    """Whether cells are 0, 1 or blank; or crosses and blanks, but not the same in every row."""
    words = {w.lower() for w in column.counts}
    crossed = bool(words) and words <= MARKS and len({*column.cells}) > 1
    return crossed or (words <= FLAGS and bool(words & _ONES))


def _is_one(word: str) -> bool:
    return word.lower() in _ONES | MARKS


def _one_each(columns: Sequence[Column]) -> bool:
    """Whether every row has exactly one, as with one column per class."""
    rows = zip(*(column.cells for column in columns), strict=True)
    return len(columns) > 2 and all(sum(map(_is_one, row)) == 1 for row in rows)


def _ones(column: Column) -> int:
    return sum(n for w, n in column.counts.items() if _is_one(w))


def _several(column: Column) -> list[Guess]:
    """If cells contain several findings: the separator, and the word for none."""
    counts = column.counts
    for separator in ("|", ";"):
        many = [w for w in counts if separator in w]
        if not many:
            continue
        words = Counter(p.strip() for w, n in counts.items() for p in w.split(separator) * n)
        why = f"{len(many)} different cells contain several findings, such as {many[0]}"
        guesses = [Guess(setting="separator", value=separator, why=why)]
        nothing = [w for w in words if vocabulary.is_negative(w)]
        if nothing:
            why = f"means no finding ({words[nothing[0]]:,} rows)"
            guesses.append(Guess(setting="none_label", value=nothing[0], why=why))
        return guesses
    return []


def guess_kind(column: Column, before: Sequence[Guess], whose: Column | None) -> list[Guess]:
    """Kind, order, words to exclude, and rare classes of one label column."""
    if any(g.setting == "separator" for g in before):
        return []
    unlabelled = [
        w for w in column.counts if w.lower() in vocabulary.UNLABELLED or is_error_cell(w)
    ]
    # in the form that `table.read` uses
    counts: Counter[str] = Counter()
    for word, rows in column.counts.items():
        if word not in unlabelled:
            counts[whole_number(word)] += rows
    rename = _spelt_otherwise(counts)
    words = [w for w in counts if w not in rename]
    guesses = []
    if rename:
        why = "two spellings; the more frequent one is kept"
        guesses.append(Guess(setting="rename", value=rename, why=why))
    if unlabelled:
        rows = sum(column.counts[w] for w in unlabelled)
        why = f"{rows:,} rows without a label yet"
        guesses.append(Guess(setting="exclude", value={column.name: unlabelled}, why=why))
    if len(words) == 2:
        ordered = vocabulary.negative_first(words)
        known = ordered == vocabulary.negative_first(words[::-1])
        ordered = ordered if known else sorted(words)
        why = f"two classes; {ordered[1]} is positive"
        sure = Sure.LIKELY if known else Sure.CHECK
        return [*guesses, Guess(setting="classes", value=ordered, why=why, sure=sure)]
    numbers = sorted(float(w) for w in words if _is_number(w))
    steps = {b - a for a, b in pairwise(numbers)}
    if len(numbers) == len(words) and 3 <= len(words) <= 11 and steps == {1.0}:
        grades = vocabulary.means_grades(column.name)
        why = "whole numbers in steps of one; multiclass if they are not grades"
        sure = Sure.LIKELY if grades else Sure.CHECK
        return [*guesses, Guess(setting="kind", value="ordinal", why=why, sure=sure)]
    if len(words) > 2 and (order := vocabulary.on_scale(words) or vocabulary.numbered(words)):
        graded = vocabulary.on_scale(words) or vocabulary.means_grades(f"{column.name} {words[-1]}")
        if graded:
            why = f"grades from {order[0]} to {order[-1]}"
            guesses.append(Guess(setting="kind", value="ordinal", why=why))
        return [*guesses, Guess(setting="classes", value=order, why="in this order")]
    owners: dict[str, set[str]] = {}
    for i, word in enumerate(map(whole_number, column.cells)):
        word = rename.get(word, word)
        if word in words:
            owners.setdefault(word, set()).add(whose.cells[i] if whose else str(i))
    rare = [w for w in words if len(owners[w]) < FEWEST_PATIENTS]
    if rare and len(words) - len(rare) >= 2:
        who = "patients" if whose else "images"
        said = [w + (f" (a typo of {near[0]}?)" if (near := _near(w, words)) else "") for w in rare]
        have = "1 class has" if len(rare) == 1 else f"{len(rare)} classes have"
        why = f"{have} fewer {who}, joined as 'other': {listed(said, 4)}"
        guesses.append(Guess(setting="rare_below", value=FEWEST_PATIENTS, why=why, sure=Sure.CHECK))
    return guesses


def _spelt_otherwise(counts: Counter[str]) -> dict[str, str]:
    """Rarer spelling -> the most frequent one, for words that differ only in case or in what
    separates their parts: `Covid19` and `COVID-19`. The sign of a number counts as different."""
    first: dict[str, str] = {}
    bare = {w: re.sub(r"(?<=\w)[\s_-](?=\w)", "", folded(" ".join(w.split()))) for w in counts}
    ranked = [(w, first.setdefault(bare[w], w)) for w, _ in counts.most_common()]
    return {word: usual for word, usual in ranked if word != usual}


def _near(word: str, words: Sequence[str]) -> list[str]:
    """The class that a rare one may be a typo of; not for grades, which also differ this little."""
    others = [w for w in words if w != word and not any(c.isdigit() for c in w + word)]
    return get_close_matches(word, others, n=1, cutoff=0.85)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
