"""Refuses table options that have no effect together, or that YAML read as something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcnn.data.labels import Kind
from medcnn.system.errors import UsageError, listed, private

_NOT_SAID: tuple[object, ...] = (None, "", "auto", 0, [], (), {})


def refuse_without_effect(given: Mapping[str, Any]) -> None:
    """Raises UsageError for settings that have no effect because of others."""
    label, kind = given["label"], given["kind"]
    if given["table"] is None:
        _refuse_idle(
            "with a folder per class (for a table give data.table=FILE.csv, relative to data.root)",
            given,
            "sheet encoding image join label patient split folder suffix separator none_label "
            "uncertain uncertain_words exclude rare_below split_names attributes",
        )
        return
    if label is None:
        _refuse_idle(
            "without data.label=COLUMN",
            given,
            "kind classes separator none_label uncertain uncertain_words rename rare_below",
        )
    elif isinstance(label, str):
        if given["separator"] is None:
            _refuse_idle("without data.separator", given, "none_label")
        _refuse_idle(
            "if data.label is one column (use data.rename and data.exclude for what a word means)",
            given,
            "uncertain uncertain_words",
        )
    else:
        exclusive = kind in (Kind.BINARY, Kind.MULTICLASS, Kind.ORDINAL)
        _refuse_idle(
            "if data.label lists columns, whose names are the findings, each 1, 0 or blank,",
            given,
            ("kind " if not exclusive and kind != Kind.MULTILABEL else "")
            + ("uncertain uncertain_words " if exclusive else "")
            + ("classes " if given["classes"] != list(label) else "")
            + "separator none_label rename rare_below",
        )
        if given["uncertain"] is None:
            _refuse_idle("without data.uncertain=zeros, ones or ignore", given, "uncertain_words")
    if given["split"] is None:
        _refuse_idle("without data.split=COLUMN", given, "split_names")
    if given["join"] is not None:
        _refuse_idle("with data.join", given, "folder suffix")


def refuse_unquoted(given: Mapping[str, Any]) -> None:
    """Raises UsageError for words that YAML reads as something else, such as `no` as false."""
    faults = []
    for name, value in given.items():
        if name in ("root", "follow_links", "rare_below"):
            continue
        parts = [*value, *value.values()] if isinstance(value, Mapping) else [value]
        flat = [w for part in parts for w in (part if isinstance(part, list | tuple) else [part])]
        if found := [str(w).lower() for w in flat if isinstance(w, bool)]:
            faults.append(f"data.{name} contains {' and '.join(dict.fromkeys(found))}")
        elif name == "classes" and value is not None and None in flat:
            faults.append("data.classes contains an empty value (null, ~ or nothing)")
    if faults:
        raise UsageError(
            f"{'; '.join(faults)}: this is how YAML reads yes, no, on, off, true and false. Quote "
            'these words, spelt as in the table: classes: ["no", "yes"].'
        )


def _refuse_idle(where: str, given: Mapping[str, object], names: str) -> None:
    """Raises UsageError for given options that would have no effect."""
    if idle := [
        f"data.{n}={private(str(given[n])) if n == 'exclude' else given[n]}"
        for n in names.split()
        if given[n] not in _NOT_SAID
    ]:
        raise UsageError(f"{where} these have no effect: {listed(idle)}. Remove them.")
