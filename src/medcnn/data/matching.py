"""Labels of one data set in the order of the classes of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest
from medcnn.system.errors import DataError, UsageError, listed
from medcnn.system.registry import nearest


def matched_targets(labels: LabelSpace, manifest: Manifest) -> NDArray[np.float32]:
    """Targets [N, K] of a manifest in the order of the checkpoint's classes, by name.

    A multilabel finding that is not in the data was not assessed (nan).

    Raises:
        DataError: another kind of label, or a class that is unknown to the checkpoint.
    """
    theirs = manifest.labels
    unknown = [n for n in theirs.names if n not in labels.names]
    if theirs.kind is not labels.kind or unknown:
        what = f"unknown to the checkpoint: {listed(unknown, 8)}"
        if not unknown:
            what = f"the names match: set data.kind={labels.kind} and data.classes=[...]"
        raise DataError(
            f"the checkpoint predicts {labels.kind} labels ({', '.join(labels.names)}), but "
            f"{manifest.source} has {theirs.kind} labels ({', '.join(theirs.names)}); {what}. "
            "Classes are matched by name: rename those of the data (data.rename), or train a head "
            "for them with medcnn finetune."
        )
    targets = manifest.targets()
    if labels.kind is Kind.BINARY:
        return targets if theirs.names == labels.names else 1 - targets
    absent = np.nan if labels.kind is Kind.MULTILABEL else 0.0
    matched = np.full((len(targets), len(labels.outputs)), absent, np.float32)
    for k, name in enumerate(labels.outputs):
        if name in theirs.outputs:
            matched[:, k] = targets[:, theirs.outputs.index(name)]
    return matched


def in_words_of(
    labels: LabelSpace, manifest: Manifest, names: Mapping[str, str | None]
) -> Manifest:
    """The manifest with classes called as the model calls them (`data.names`). Findings that the
    model has no class for are left out.

    Raises:
        UsageError: everything that leaves it unclear which class is which.
    """
    if not names:
        return manifest
    theirs = manifest.labels
    became = dict(zip(renamed(labels, names, theirs).names, labels.names, strict=True))
    if labels.kind is not Kind.MULTILABEL:
        called = LabelSpace(kind=theirs.kind, names=tuple(became[n] for n in theirs.names))
        return replace(manifest, labels=called)
    kept = [k for k, name in enumerate(theirs.names) if name in became]
    if not kept:
        raise UsageError("data.names: the model predicts none of these findings.")
    called = LabelSpace(kind=theirs.kind, names=tuple(became[theirs.names[k]] for k in kept))
    records = (replace(r, target=tuple(r.target[k] for k in kept)) for r in manifest.records)
    return replace(manifest, labels=called, records=tuple(records))


def renamed(old: LabelSpace, names: Mapping[str, str | None], new: LabelSpace) -> LabelSpace:
    """The labels of an old model as a new hospital calls them (`data.names`). A class that is not
    in `names` keeps its own name; one that does not occur here gets a name that nothing here has.

    Raises:
        UsageError: everything that leaves it unclear which class is which.
    """
    if not names:
        return old
    faults = [
        f"the old model has no class '{n}'{nearest(n, old.names)}"
        for n in names
        if n not in old.names
    ]
    faults += [
        f"these data have no class '{to}'{nearest(to, new.names)}"
        for to in names.values()
        if to is not None and to not in new.names
    ]
    became = {n: names.get(n, n) for n in old.names}
    for here in new.names:
        from_ = [n for n, to in became.items() if to == here]
        if len(from_) > 1:
            faults.append(f"both '{from_[0]}' and '{from_[1]}' of the old model become '{here}'.")
        elif not from_ and names.get(here, "") not in ("", here) and here in old.names:
            faults.append(
                f"'{here}' of the old model becomes '{names[here]}', but these data have a class "
                f"'{here}' too."
            )
    if old.kind is not new.kind:
        faults.append(f"the old model has {old.kind} labels, these data have {new.kind} ones.")
    elif new.kind is not Kind.MULTILABEL:
        # if classes exclude each other, some of them mean something else than all of them
        left = [n for n, to in became.items() if to is not None and to not in new.names]
        left = [f"'{n}' of the old model" for n in left if n not in names]
        left += [f"'{n}' of these data" for n in new.names if n not in became.values()]
        if left:
            faults.append(
                f"{listed(left, 8)} would have no counterpart. Name each class of the old model "
                "(null: it does not occur here). Classes of these data that the old model lacks "
                "can be merged or left out (data.rename, data.exclude). Or leave data.names out; "
                "then only classes of the same name are taken over."
            )
    if faults:
        raise UsageError("\n".join(f"data.names: {fault}" for fault in faults))
    away = {n: to for n, to in became.items() if to not in new.names}
    return LabelSpace(
        kind=old.kind,
        names=tuple(f"{n} (old model)" if n in away else str(became[n]) for n in old.names),
    )
