"""Readers beside the ROC curves of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medcnn.pages.facts import Facts, Statement
from medcnn.pages.format import estimate, p_text, percent
from medcnn.statistics.curves import OneLabel
from medcnn.statistics.reader_calls import FEWEST_WITHOUT
from medcnn.statistics.reader_points import Beside, beside, kept_points

READERS: dict[str, Statement[Facts]] = {
    "readers: test": Statement(
        "p is the probability that a model with the readers' sensitivity would find at least as "
        "many of these images (one-sided, exact binomial). A small p means that this model is more "
        "sensitive at equally few false alarms. The readers' sensitivity is taken as exact, and "
        "the threshold is the one that gives their specificity on these same images.",
        lambda f: f.readers > f.readers_paired,
    ),
    "readers: paired": Statement(
        lambda f: (
            f"{'These' if f.readers_paired == f.readers else 'Some'} readers were compared with "
            "the model image by image."
        ),
        lambda f: f.readers_paired > 0,
    ),
    "readers: resamples": Statement(
        lambda f: (
            f"p is the share of 1,000 resamples of {f.group_noun}s in which the model, with as few "
            "false alarms as the reader, finds no more than the reader does."
        ),
        lambda f: f.readers_paired > f.readers_untested,
    ),
    "readers: too few": Statement(
        lambda f: (
            f"p is not given for readers of fewer than {FEWEST_WITHOUT} {f.group_noun}s without "
            "the finding: the model's threshold would be fitted to them."
        ),
        lambda f: f.readers_untested > 0,
    ),
    "readers: part": Statement(
        "Some readers read only part of the images. Their points describe that part, while the "
        "curve describes all.",
        lambda f: f.readers_partly,
    ),
    "readers: other images": Statement(
        lambda f: (
            f"{'The' if f.readers_elsewhere == f.readers else 'Some'} readers did not see the "
            "model's images. Another set has another mix of cases, so a difference may lie in the "
            "images."
        ),
        lambda f: f.readers_elsewhere > 0,
    ),
    "readers: several images": Statement(
        lambda f: (
            f"Images of one {f.group_noun} are alike, but the test treats them as independent, so "
            "p is too small."
        ),
        lambda f: f.readers > f.readers_paired and f.grouped and f.several_each,
    ),
    "readers: boxes": Statement(
        lambda f: (
            "In the ROC curves, readers are dots in dashed boxes: 95 % intervals, "
            + (
                f"by {f.group_noun}."
                if f.readers_paired
                else "from the number of images they read."
            )
        ),
        lambda f: f.readers > 0 and f.readers_boxed,
    ),
}


def compared(labels: Sequence[OneLabel], stored: Sequence[Mapping[str, Any]]) -> list[Beside]:
    """Each reader in `run.json` whose class was judged here, compared with the model."""
    points = kept_points(stored)
    known = {label.name: label for label in labels if label.both_classes}
    return [beside(known[point.label], point) for point in points if point.label in known]


def partly(found: Sequence[Beside], labels: Sequence[OneLabel]) -> bool:
    """Whether a reader compared with the model image by image read only part of the images."""
    judged = {label.name: len(label.target) for label in labels}
    points = [one.point for one in found if one.point.paired]
    return any((p.positives or 0) + (p.negatives or 0) < judged[p.label] for p in points)


def rows(found: Sequence[Beside]) -> list[tuple[str, ...]]:
    """Reader, class, their sensitivity and specificity, the model's sensitivity, p, and source."""
    return [
        (
            one.point.who,
            one.point.label,
            _share(one.point.sensitivity, one.point.box and one.point.box[0]),
            _share(one.point.specificity, one.point.box and one.point.box[1]),
            f"{percent(one.sensitivity)} % ({one.found:,} of {one.positives:,})",
            p_text(one.p),
            "; ".join(filter(None, (one.point.images, one.point.source))),
        )
        for one in found
    ]


def _share(value: float, interval: tuple[float, float] | None) -> str:
    share, ends = estimate(value, *(interval or (math.nan, math.nan)), percent)
    return f"{share} % ({ends})" if ends else f"{share} %"
