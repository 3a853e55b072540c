"""Differences between two models, and p values adjusted for many differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

SURE = 0.05
"""Two models differ if the adjusted p is below this."""


WITHIN = "worse, not inferior"
"""Significantly worse, but significantly by less than the margin: both must be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A score of another model minus that of the reference, on the same images.

    Attributes:
        label: the class or cut; None for their mean, or the whole table.
        better: 1 if a higher score is better, -1 if a lower one is, 0 if neither is.
        low, high: 95 % interval of the difference; nan if there is none (`note` says why).
        p: two-sided, for no difference, from the same variance as the interval.
        p_permuted: two-sided, by exchanging the models' answers patient by patient.
        p_holm: `p` adjusted for all differences on the page.
        margin: how much worse the other model may be; None if this score has no margin.
        p_inferior: one-sided, for the other model being worse by `margin` or more.
        p_inferior_holm: adjusted for all differences with a margin on the page.
        error, freedom: standard error and degrees of freedom (Student's t) of interval and p.
        method: `delong`, `linearised` or `bootstrap`.
    """

    score: str
    label: str | None
    better: int
    reference: float
    other: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_permuted: float = math.nan
    p_holm: float = math.nan
    margin: float | None = None
    p_inferior: float = math.nan
    p_inferior_holm: float = math.nan
    freedom: float = math.nan
    error: float = math.nan
    method: str
    count: int
    groups: int
    note: str = ""

    @property
    def difference(self) -> float:
        """The other model minus the reference."""
        return self.other - self.reference

    @property
    def not_inferior(self) -> bool | None:
        """Whether it is significantly not worse by `margin` or more.

        One-sided at 2.5 % and `adjusted`; None without a margin, or if nothing was tested.

        Source: Piaggio et al. 2012, JAMA 308(24), CONSORT for non-inferiority.
        """
        if self.margin is None or math.isnan(self.p_inferior_holm):
            return None
        return self.p_inferior_holm < SURE / 2

    def with_margin(self, margin: float) -> Difference:
        """Add the one-sided test for being worse by `margin` or more, with the variance of `p`."""
        if math.isnan(self.p) or not self.better:
            return self
        # the width of the interval before it was cut at the bounds of the score
        t = (self.difference * self.better + margin) / self.error
        one_sided = two_sided(t, self.freedom) / 2
        p = one_sided if t > 0 else 1 - one_sided
        return replace(self, margin=margin, p_inferior=p)

    @property
    def verdict(self) -> str:
        """The conclusion about the other model, adjusted for all tests.

        `better`, `worse` or `different`; with a margin, `not inferior` or `inferiority not
        excluded`; `WITHIN` if both are significant; or "".
        """
        said = ""
        if self.p_holm < SURE:
            good = self.difference * self.better > 0
            said = ("better" if good else "worse") if self.better else "different"
        if said == "worse" and self.not_inferior:
            return WITHIN
        if said or self.not_inferior is None:
            return said
        return "not inferior" if self.not_inferior else "inferiority not excluded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discordance:
    """Images that only one of two models decides correctly.

    Attributes:
        side: `answers` of all images, `positives` or `negatives` of a class.
        p: McNemar's exact test, by patient; p_holm: adjusted for all of them on the page.
    """

    side: str
    label: str | None
    count: int
    only_reference: int
    only_other: int
    p: float
    p_holm: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The reference against one other model."""

    differences: tuple[Difference, ...]
    discordances: tuple[Discordance, ...]


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p values for the chance of any false rejection; nan stays.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    known = sorted((p, i) for i, p in enumerate(ps) if not math.isnan(p))
    adjusted, most = list(ps), 0.0
    for rank, (p, i) in enumerate(known):
        most = adjusted[i] = max(most, min(1.0, (len(known) - rank) * p))
    return adjusted


def adjusted(
    pairings: Mapping[str, Pairing], margin: float | Mapping[str, float] | None = None
) -> dict[str, Pairing]:
    """All pairings with `p_holm`, and with `p_inferior_holm` if there is a margin.

    Differences, margins and discordances are one family each.

    Args:
        pairings: the other models, by name.
        margin: how much worse the other model may be, by score. A single number applies only to
            the first score: 0.02 of an AUROC and 0.02 of a Brier score are not comparable.
    """

    def given(d: Difference, first: str) -> Difference:
        margins = margin if isinstance(margin, Mapping) else {first: margin}
        own = margins.get(d.score)
        return d if own is None or d.label is not None else d.with_margin(own)

    tried = {
        name: [given(d, p.differences[0].score) for d in p.differences]
        for name, p in pairings.items()
    }
    every = [d for found in tried.values() for d in found]
    differences = iter(holm([d.p for d in every]))
    inferior = iter(holm([d.p_inferior for d in every]))
    discordances = iter(holm([d.p for p in pairings.values() for d in p.discordances]))
    return {
        name: Pairing(
            differences=tuple(
                replace(d, p_holm=next(differences), p_inferior_holm=next(inferior))
                for d in tried[name]
            ),
            discordances=tuple(replace(d, p_holm=next(discordances)) for d in p.discordances),
        )
        for name, p in pairings.items()
    }


def two_sided(t: float, freedom: float) -> float:
    """Two-sided p of Student's t."""
    from scipy.special import stdtr  # slow to import

    return float(2 * stdtr(max(1.0, freedom), -abs(t)))
