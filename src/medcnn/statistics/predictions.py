"""The predictions of a model for a split: the waist of the hourglass.

Validation during training, `evaluate`, scores, figures and report use only this. It is saved as
`predictions_<split>.csv` with a header `.json`; reading it returns the same float32 logits, bit for
bit.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import LabelSpace
from medcnn.statistics.conformal import set_texts
from medcnn.statistics.decisions import Readout, certainty
from medcnn.statistics.strangeness import COLUMNS
from medcnn.system.errors import DataError, UsageError
from medcnn.system.files import heading, plain, quoted, table, write_bytes, write_text

Found = TypeVar("Found", bound=NDArray[Any] | None)
ATTRIBUTE = "attribute:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """One row per readable record, in manifest order.

    Attributes:
        split: train, validation, test, or `new` for images without labels.
        groups: patient or lesion of each image; the unit of resampling for intervals.
        targets: [N, K] 0, 1, a fraction, or nan for "not assessed".
        logits: [N, K] float32, never calibrated or rounded.
        readout: how logits become probabilities, decisions and sets; fitted on validation.
        categories: value of `readout.conformal.by` for each image, or empty.
        attributes: age, sex, view and the like of each image, by name; "" if there is none.
        unreadable: (image id, reason) of images without a row here.
        lines: line of each image in the hospital's table, None if it has none; empty if unknown.
        folds: for out-of-fold predictions, the fold of each image, from 1, whose model was trained
            without it; otherwise empty.
        by_fold: the readout of each of these models, used instead of `readout`.
        disagreement: [N] for an ensemble, how much its members disagree on each image; or None.
        looks: [N, strangeness.COLUMNS], how strange each image looks; None if it was not measured.
        provenance: what made the logits (checkpoint hash, manifest fingerprint, ...).
    """

    labels: LabelSpace
    split: str
    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    targets: NDArray[np.float32]
    logits: NDArray[np.float32]
    readout: Readout = field(default_factory=Readout)
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: tuple[tuple[str, str], ...] = ()
    lines: tuple[int | None, ...] = ()
    folds: tuple[int, ...] = ()
    by_fold: tuple[Readout, ...] = ()
    disagreement: NDArray[np.float64] | None = None
    looks: NDArray[np.float64] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.image_ids), len(self.labels.outputs))
        assert self.logits.shape == self.targets.shape == shape, "rows and columns must agree"
        assert len(self.groups) == len(self.image_ids), "every row has a group"
        lengths = {len(values) for values in self.attributes.values()}
        assert lengths <= {len(self.image_ids)}, "every row has its attributes"

    def only(self, rows: Sequence[int] | NDArray[np.int64]) -> Predictions:
        """The images at these positions, in this order."""

        def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in rows) if values else ()

        at = np.asarray(rows, np.int64)
        return replace(
            self,
            image_ids=chosen(self.image_ids),
            groups=chosen(self.groups),
            targets=self.targets[at],
            logits=self.logits[at],
            categories=chosen(self.categories),
            attributes={name: chosen(values) for name, values in self.attributes.items()},
            lines=chosen(self.lines),
            folds=chosen(self.folds),
            disagreement=None if self.disagreement is None else self.disagreement[at],
            looks=None if self.looks is None else self.looks[at],
        )

    def each_fold(self) -> Iterator[tuple[NDArray[np.int64], Predictions]]:
        """Positions of the images of each fold, and the predictions of that fold's model."""
        for number in sorted(set(self.folds)):
            rows = np.flatnonzero(np.array(self.folds) == number)
            yield (
                rows,
                replace(self.only(rows), folds=(), by_fold=(), readout=self.by_fold[number - 1]),
            )

    def _read_out(self, of: Callable[[Predictions], Found]) -> Found:
        """`of` applied to each model's part [n, ...], joined; None if it returns None."""
        if not self.folds:
            return of(self)
        rows, parts = zip(*((rows, of(part)) for rows, part in self.each_fold()), strict=True)
        if parts[0] is None:
            return None  # type: ignore[return-value]
        return np.concatenate(parts)[np.argsort(np.concatenate(rows))]  # type: ignore[return-value]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """[N, K] in [0, 1], calibrated if the readout is."""
        return self._read_out(lambda p: p.readout.probabilities(p.labels, p.logits))

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Those used for decisions, one per output; None if classes are exclusive."""
        return self.readout.thresholds(self.labels)

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """[N, K]: the decided class, or every label that is called present."""
        return self._read_out(lambda p: p.readout.decide(p.labels, p.probabilities))

    @property
    def sets(self) -> NDArray[np.bool_] | None:
        """Prediction sets as in `Conformal.sets`, or None if not requested."""

        def sets_of(p: Predictions) -> NDArray[np.bool_] | None:
            if p.readout.conformal is None:
                return None
            return p.readout.conformal.sets(p.labels, p.probabilities, p.categories or None)

        return self._read_out(sets_of)

    @property
    def refer(self) -> NDArray[np.bool_] | None:
        """[N]: which images a human should look at, or None if referral was not requested."""

        def refer_of(p: Predictions) -> NDArray[np.bool_] | None:
            if p.readout.referral is None:
                return None
            sure = certainty(p.labels, p.probabilities)
            return np.asarray(sure < p.readout.referral.certainty)

        return self._read_out(refer_of)

    @property
    def verdicts(self) -> NDArray[np.str_] | None:
        """[N] `usual`, or one of `strangeness.VERDICTS`; None if unknown."""

        def verdicts_of(p: Predictions) -> NDArray[np.str_] | None:
            if p.looks is None or p.readout.unusual is None:
                return None
            return np.array(p.readout.unusual.verdicts(p.looks), dtype=np.str_)

        return self._read_out(verdicts_of)

    @property
    def named_verdicts(self) -> dict[str, str]:
        """Image id -> its verdict; empty if there are none."""
        found = self.verdicts
        return {} if found is None else dict(zip(self.image_ids, found.tolist(), strict=True))

    @property
    def digest(self) -> str:
        """SHA-256 of everything that scores depend on: ids, groups, targets, logits, readout."""
        parts: list[Any] = [
            self.labels.to_json(),
            self.readout.to_json(),
            self.image_ids,
            self.groups,
            self.categories,
            self.unreadable,
        ]
        if self.folds:
            parts += [self.folds, [readout.to_json() for readout in self.by_fold]]
        found = sha256(json.dumps(parts).encode())
        for values in (self.targets, self.logits):
            # a fixed byte order, and one of the many nan
            plain_nan = np.where(np.isnan(values), np.float32(np.nan), values)
            found.update(plain_nan.astype("<f4").tobytes())
        return found.hexdigest()

    def write(self, path: Path) -> None:
        """Write the table to `path` (.csv) and its header next to it (.json)."""
        names = self.labels.outputs
        columns = [f"{what}:{n}" for what in ("target", "logit", "probability") for n in names]
        said = self._said()
        measured = self._measured()
        if self.categories:
            said["category"] = list(self.categories)
        if self.lines:
            said["line"] = ["" if line is None else str(line) for line in self.lines]
        if self.folds:
            said["fold"] = list(map(str, self.folds))
        said |= {heading(f"{ATTRIBUTE}{n}"): list(v) for n, v in self.attributes.items()}
        with table(path) as file:
            writer = csv.writer(file)
            writer.writerow(["image_id", "group", *map(heading, columns), *said, *measured])
            rows = zip(
                self.image_ids,
                self.groups,
                self.targets,
                self.logits,
                self.probabilities,
                zip(*said.values(), strict=True),
                zip(*measured.values(), strict=True) if measured else [()] * len(self.image_ids),
                strict=True,
            )
            for image_id, group, target, logit, probability, words, numbers in rows:
                cells = ["" if math.isnan(t) else f"{t:g}" for t in target]
                # nine digits represent every float32 exactly
                cells += [f"{value:.9g}" for value in logit]
                cells += [f"{value:.6f}" for value in probability]
                words = [*map(quoted, words), *(f"{number:.6f}" for number in numbers)]
                writer.writerow([*map(quoted, (image_id, group)), *cells, *words])
        header: dict[str, Any] = {
            "schema": 2,
            "labels": self.labels.to_json(),
            "split": self.split,
            "readout": self.readout.to_json(),
            "unreadable": self.unreadable,
            "provenance": self.provenance,
        }
        if self.folds:
            header["by_fold"] = [readout.to_json() for readout in self.by_fold]
        write_text(path.with_suffix(".json"), json.dumps(header, indent=2) + "\n")

    def new_rows(self) -> list[dict[str, str]]:
        """Rows of the table that `predict` writes: unlabelled images, including unreadable ones."""
        rows = [
            {
                column: f"{cell:.6f}" if isinstance(cell, float) else quoted(cell)
                for column, cell in row.items()
            }
            for row in self._rows()
        ]
        return sorted(rows, key=lambda row: row["image_id"])

    @property
    def new_columns(self) -> list[str]:
        """Columns of the table that `medcnn predict` writes."""
        return columns_of(self.labels, self.readout, ensemble=self.disagreement is not None)

    def to_csv(self, path: Path | str) -> None:
        """Write the table of `medcnn predict`; an existing file is replaced."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.new_columns)
        writer.writeheader()
        writer.writerows(self.new_rows())
        write_bytes(Path(path), text.getvalue().encode("utf-8", "backslashreplace"))

    def to_frame(self) -> Any:
        """A pandas `DataFrame`: rows in order, unrounded probabilities, unreadable images last.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError("to_frame needs pandas: .venv/bin/pip install pandas") from error
        return pandas.DataFrame(self._rows(), columns=self.new_columns)

    def _rows(self) -> list[dict[str, Any]]:
        """One row per image, in order, then those of unreadable images."""
        said, measured = self._said(), self._measured()
        rows: list[dict[str, Any]] = [
            {
                "image_id": image_id,
                **{heading(f"probability:{n}"): v for n, v in self._named(values)},
                **{column: texts[i] for column, texts in said.items()},
                **{column: numbers[i] for column, numbers in measured.items()},
                "unreadable": "",
            }
            for i, (image_id, values) in enumerate(
                zip(self.image_ids, self.probabilities, strict=True)
            )
        ]
        return rows + [{"image_id": i, "unreadable": reason} for i, reason in self.unreadable]

    def _said(self) -> dict[str, list[str]]:
        """Column -> text of each row: the decision, and set and referral if there are any."""
        said = {"decision": self.labels.decision_texts(self.decisions)}
        if (sets := self.sets) is not None:
            said["set"] = set_texts(self.labels, sets)
        if (refer := self.refer) is not None:
            said["refer"] = ["yes" if r else "no" for r in refer]
        if (verdicts := self.verdicts) is not None:
            said["looks"] = verdicts.tolist()
        if self.disagreement is not None:
            said["disagreement"] = [f"{value:.6f}" for value in self.disagreement]
        return said

    def _measured(self) -> dict[str, list[float]]:
        """Column -> number of each row: how strange the image looks."""
        looks = [] if self.looks is None else self.looks.T.tolist()
        return dict(zip(COLUMNS, looks, strict=False))

    def _named(self, values: NDArray[np.float64]) -> list[tuple[str, float]]:
        """Probabilities [K] by class name; binary labels include the negative class."""
        values = self.labels.of_names(values[None])[0]
        return [(n, float(v)) for n, v in zip(self.labels.names, values, strict=True)]

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Raises DataError if the table or its header is missing or does not fit."""
        try:
            header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows, columns = list(reader), reader.fieldnames or ()
            if header["schema"] not in (1, 2):
                raise ValueError(f"schema {header['schema']}, but this version reads 1 and 2")
            if header["schema"] == 1:
                header["readout"] = Readout.of_thresholds(header["thresholds"]).to_json()
            labels = LabelSpace.from_json(header["labels"])

            def values(what: str) -> NDArray[np.float32]:
                names = [heading(f"{what}:{n}") for n in labels.outputs]
                cells = [[r[n] or "nan" for n in names] for r in rows]
                return np.array(cells, dtype=np.float32).reshape(len(rows), len(labels.outputs))

            return cls(
                labels=labels,
                split=header["split"],
                image_ids=tuple(plain(r["image_id"]) for r in rows),
                groups=tuple(plain(r["group"]) for r in rows),
                targets=values("target"),
                logits=values("logit"),
                readout=Readout.from_json(header["readout"]),
                categories=(
                    tuple(plain(r["category"]) for r in rows) if "category" in columns else ()
                ),
                attributes={
                    c.removeprefix(ATTRIBUTE): tuple(plain(r[c]) for r in rows)
                    for c in columns
                    if c.startswith(ATTRIBUTE)
                },
                unreadable=tuple((i, why) for i, why in header["unreadable"]),
                lines=(
                    tuple(int(r["line"]) if r["line"] else None for r in rows)
                    if "line" in columns
                    else ()
                ),
                folds=tuple(int(r["fold"]) for r in rows) if "fold" in columns else (),
                by_fold=tuple(map(Readout.from_json, header.get("by_fold", ()))),
                disagreement=(
                    np.array([float(r["disagreement"]) for r in rows])
                    if "disagreement" in columns
                    else None
                ),
                looks=(
                    np.array([[float(r[c]) for c in COLUMNS] for r in rows]).reshape(
                        -1, len(COLUMNS)
                    )
                    if COLUMNS[0] in columns
                    else None
                ),
                provenance=header["provenance"],
            )
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{path} with its .json is not a table of predictions: {error}"
            ) from error


def columns_of(labels: LabelSpace, readout: Readout, *, ensemble: bool = False) -> list[str]:
    """Columns of the table that `predict` writes."""
    names = [heading(f"probability:{n}") for n in labels.names]
    apart = ["disagreement"] if ensemble else []
    return ["image_id", *names, *readout.said_columns, *apart, "unreadable"]
