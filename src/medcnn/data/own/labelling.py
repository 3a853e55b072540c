"""From the label column of a table, or its columns of findings, to a LabelSpace and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.own.classes import (
    encoded,
    flags,
    is_doubt,
    marked,
    rare_joined,
    refuse_names,
    refuse_splits,
    space_of,
    uncertain_value,
    words_of,
)
from medcnn.data.own.sheets import Sheet, whole_number
from medcnn.data.own.words import is_error_cell
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.progress import log

Target = Callable[[int], tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The settings, by the same names, that turn words of a table into classes."""

    kind: str
    classes: Sequence[str] | None
    separator: str | None
    none_label: str | None
    rename: Mapping[str, str]
    rare_below: int
    rare_name: str
    uncertain: str | Mapping[str, str] | None
    uncertain_words: Sequence[str]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Words:
        """From the options of `table.read`. 1 is a number in YAML, text in a table, and 1.0 in a
        spreadsheet."""
        classes, none_label = given["classes"], given["none_label"]
        return cls(
            kind=str(given["kind"]),
            classes=[whole_number(str(c)) for c in classes] if classes else None,
            separator=given["separator"],
            none_label=None if none_label is None else str(none_label),
            rename={str(k): str(v) for k, v in (given["rename"] or {}).items()},
            rare_below=given["rare_below"],
            rare_name=given["rare_name"],
            uncertain=given["uncertain"],
            uncertain_words=given["uncertain_words"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """The meaning of targets, a function for the target of a row (DataError if it has none), and
    what is wrong with rows that have none."""

    space: LabelSpace
    target: Target
    faults: Mapping[int, str] = field(default_factory=dict)


def labelled(
    sheet: Sheet, owners: Mapping[int, str], label: str | Sequence[str] | None, of: Words
) -> Labelled:
    """Targets from one column with a class, or several between separators; or from one column per
    finding.

    Args:
        owners: row -> its patient.
    """
    if label is None:
        return _unlabelled()
    if isinstance(label, str):
        return _by_word(sheet, owners, label, of)
    return _by_column(sheet, list(owners), list(label), of)


def _unlabelled() -> Labelled:
    """No image has a label: an audit works without labels, everything else refuses."""
    space = LabelSpace(kind=Kind.MULTILABEL, names=("no label",))
    return Labelled(space=space, target=lambda row: space.not_assessed)


def _by_word(sheet: Sheet, owners: Mapping[int, str], label: str, of: Words) -> Labelled:
    cells = sheet.rows.column(label)
    _note_unused({cells[i] for i in owners}, label, of)
    faults: dict[int, str] = {}
    present: dict[int, list[str]] = {}
    # a column has few words and many rows
    known: dict[str, tuple[list[str], str]] = {}
    for i in owners:
        cell = cells[i]
        if cell not in known:
            words = words_of(cell, of.separator, of.none_label, of.rename)
            known[cell] = words, _why_no_class(words, label, of)
        words, why = known[cell]
        if why:
            faults[i] = f"{sheet.line(i)}: {why}"
        else:
            present[i] = words
    if not of.classes:
        refuse_names(present, f"data.label={label}")
        refuse_splits(present, f"data.label={label}")
    if of.rare_below:
        present = rare_joined(present, owners, of.rare_below, of.rare_name)
    if faults and not present:
        raise DataError(next(iter(faults.values())))
    space = space_of(of.kind, of.classes, present, many=of.separator is not None)
    targets: dict[tuple[str, ...], tuple[float, ...]] = {}

    def target(i: int) -> tuple[float, ...]:
        words = tuple(present[i])
        if words not in targets:
            targets[words] = encoded(space, words, sheet.line(i))
        return targets[words]

    return Labelled(space=space, target=target, faults=faults)


def _why_no_class(words: Sequence[str], label: str, of: Words) -> str:
    for word in words:
        if word in (of.classes or ()):
            continue
        if is_error_cell(word):
            return (
                f"{label} is {private(word)}, a spreadsheet error instead of a class. Correct "
                f"it, or exclude such rows: data.exclude={{{label}: ['{word}']}}"
            )
        if "\ufffd" in word:
            return f"{label} is {private(word)}, in which letters were lost; correct the table"
    return ""


def _by_column(sheet: Sheet, rows: Sequence[int], labels: Sequence[str], of: Words) -> Labelled:
    """Targets from one column per finding (or per class, if `kind` says they exclude each other),
    each 1, 0 or blank; or marked with a cross."""
    crossed = marked(sheet, rows, labels)
    if crossed:
        log.info(f"  {listed(list(crossed))} has crosses, so a blank there is read as no")
    if of.kind in (Kind.MULTICLASS, Kind.BINARY, Kind.ORDINAL):
        space = LabelSpace(kind=Kind(of.kind), names=tuple(labels))

        def one_of_them(i: int) -> tuple[float, ...]:
            found = flags(sheet, i, labels, marks=crossed)
            names = [name for name, value in zip(labels, found, strict=True) if value == 1]
            return encoded(space, names, sheet.line(i))

        return Labelled(space=space, target=one_of_them)
    doubts, doubt_words = None, {str(w).lower() for w in of.uncertain_words}
    if of.uncertain is not None:
        doubts = uncertain_value(of.uncertain, labels)
        count = sum(is_doubt(sheet.rows[i][c], doubt_words) for i in rows for c in labels)
        log.info(f"  {count:,} uncertain cells are read according to data.uncertain")
    return Labelled(
        space=LabelSpace(kind=Kind.MULTILABEL, names=tuple(labels)),
        target=lambda i: flags(sheet, i, labels, doubts, doubt_words, crossed),
    )


def _note_unused(cells: set[str], label: str, of: Words) -> None:
    """Warn of words in `rename` that do not occur: one YAML may serve several hospitals.

    Raises:
        UsageError: `none_label` does not occur, so the real word for "none" would become a class.
    """
    there = cells | {w for cell in cells for w in words_of(cell, of.separator, None, {})}
    if of.none_label is not None and of.none_label not in there:
        raise UsageError(
            f"data.none_label={of.none_label} does not occur in {label}. Found: "
            f"{listed([private(w) for w in sorted(there)], 10)}."
        )
    if unused := [w for w in of.rename if w not in there]:
        log.warning(f"data.rename: {listed(unused)} do not occur in {label}")
