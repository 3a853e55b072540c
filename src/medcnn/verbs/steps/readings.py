"""The table of a reader study: one row per reader, case and condition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.own.sheets import Sheet, read_sheet, refuse_rows
from medcnn.statistics.readers import Study
from medcnn.system.errors import DataError, UsageError, listed
from medcnn.system.registry import nearest

NEEDED = ("case", "reader", "condition", "truth")
MAY_LACK = ("score", "call", "patient")


def read_study(path: Path, names: Mapping[str, str], model: str | None) -> Study:
    """The readings of a table. Readers are named by number, in order of appearance, so that no name
    of theirs is in any output.

    Args:
        names: column of each of NEEDED and MAY_LACK. Those of MAY_LACK are read if present;
            one whose column was renamed must be present.
        model: the condition whose only reader is the model.

    Raises:
        UsageError: no such file or column.
        DataError: cells, readings or cases that contradict each other; all of them at once.
    """
    sheet = read_sheet(path)
    renamed = {name: column for name, column in names.items() if name != column}
    there = {n: c for n, c in names.items() if c in sheet.columns}
    sheet.require([names[n] for n in (*NEEDED, *renamed)], ", ".join((*NEEDED, *MAY_LACK)))
    if not there.keys() & {"score", "call"}:
        raise UsageError(
            f"{path} has neither a column '{names['score']}' (ratings) nor '{names['call']}' "
            "(1 for a positive case): name one with score=... or call=..."
        )
    rows = _parsed(sheet, there)
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    if model is not None and model not in conditions:
        raise UsageError(f"ai={model} is not a condition in {path}{nearest(model, conditions)}")
    cases = list(dict.fromkeys(row["case"] for row in rows))
    first = {row["case"]: row for row in reversed(rows)}
    _refuse_gaps(rows, cases, conditions, model or "")
    numbers = {r: f"reader {n}" for n, r in enumerate(dict.fromkeys(_readers(rows, model)), 1)}
    at = {case: n for n, case in enumerate(cases)}

    def read(what: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for row in rows if what in there else ():
            reader = numbers.get(row["reader"], "model")
            of = found.setdefault(row["condition"], {})
            of.setdefault(reader, np.full(len(cases), math.nan))[at[row["case"]]] = row[what]
        return found

    return Study(
        truth=np.array([first[case]["truth"] == 1 for case in cases]),
        groups=tuple(first[case].get("patient", case) for case in cases),
        scores=read("score"),
        calls=read("call"),
        model=model or "",
    )


def _readers(rows: list[dict[str, Any]], model: str | None) -> list[str]:
    return [row["reader"] for row in rows if row["condition"] != model]


def _parsed(sheet: Sheet, there: Mapping[str, str]) -> list[dict[str, Any]]:
    """The cells that are needed, as numbers where they are. Raises DataError for wrong ones."""
    faults: list[str] = []
    rows: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    known: dict[str, dict[str, Any]] = {}
    for at, cells in enumerate(sheet.rows):
        row: dict[str, Any] = {name: cells[column] for name, column in there.items()}
        line = sheet.line(at)
        for name in there:
            if row[name] == "":
                faults.append(f"{line}: {name} is empty")
            elif name in ("truth", "call") and row[name] not in ("0", "1"):
                faults.append(f"{line}: {name} should be 0 or 1")
            elif name == "score" and not _is_number(row[name]):
                faults.append(f"{line}: score should be a number")
            elif name in ("truth", "call", "score"):
                row[name] = float(row[name])
        key = (row["case"], row["reader"], row["condition"])
        if key in seen:
            faults.append(f"{line}: this reader has already read this case under this condition")
        seen.add(key)
        of = known.setdefault(row["case"], row)
        faults += [
            f"{line}: {name} differs from that of an earlier row of the same case"
            for name in ("truth", "patient")
            if name in row and row[name] != of[name]
        ]
        rows.append(row)
    refuse_rows(faults)
    return rows


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _refuse_gaps(
    rows: list[dict[str, Any]], cases: list[str], conditions: list[str], model: str
) -> None:
    """Raises DataError if a reader has not read every case, the model has several readers, a
    condition lacks a reader of another, or the cases lack a side."""
    read: dict[tuple[str, str], int] = {}
    for row in rows:
        read[row["condition"], row["reader"]] = read.get((row["condition"], row["reader"]), 0) + 1
    faults = [
        f"a reader of '{condition}' has read {count:,} of {len(cases):,} cases"
        for (condition, _), count in read.items()
        if count < len(cases)
    ]
    if not set(conditions) - {model}:
        faults.append("there is no reader besides the model")
    by = {c: {r for of, r in read if of == c} for c in conditions}
    if model and len(by[model]) > 1:
        faults.append(f"'{model}' has {len(by[model])} readers; a model counts as one")
    first, *others = [c for c in conditions if c != model] or [""]
    faults += [
        f"'{first}' and '{other}' differ in readers" for other in others if by[other] != by[first]
    ]
    if len(others) == 0 and not model:
        faults.append(
            f"'{first}' is the only condition, so there is nothing to compare: name the condition "
            "of the model, or add readings with it"
        )
    if len({row["truth"] for row in rows}) < 2:
        faults.append("all cases have the same truth")
    if faults:
        raise DataError(
            f"{'; '.join(dict.fromkeys(faults))}. Every reader must read every case under every "
            f"condition; conditions found: {listed(conditions)}."
        )
